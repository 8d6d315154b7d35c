//! The word times of one stream, and which of them the client has been told.

use crate::Word;

#[derive(Debug)]
pub(super) struct WordTimes {
    all: Vec<Word>,
    told: usize,
    /// How the newest ones were come by.
    estimated: bool,
    /// Whether the client asked for them; a cancel needs them in any case.
    wanted: bool,
}

impl WordTimes {
    pub(super) fn new(wanted: bool) -> Self {
        Self { all: Vec::new(), told: 0, estimated: false, wanted }
    }

    /// Takes words as they come. One that begins before the word ahead of it is dropped: times never
    /// go back. No more than `most` are kept, as a vendor cannot have more words to tell than
    /// characters it was given.
    pub(super) fn push(&mut self, words: Vec<Word>, estimated: bool, most: u64) {
        self.estimated = estimated;
        for word in words {
            let from = self.all.last().map_or(0, |before| before.start_ms);
            if word.start_ms >= from && (self.all.len() as u64) < most {
                self.all.push(word);
            }
        }
    }

    /// The words the client has still to be told, counted as told.
    pub(super) fn untold(&mut self) -> Option<(Vec<Word>, bool)> {
        let words = self.all.get(self.told..).filter(|words| !words.is_empty() && self.wanted)?.to_vec();
        self.told = self.all.len();
        Some((words, self.estimated))
    }

    /// Another upstream tells its own.
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.told = 0;
    }

    pub(super) fn all(&self) -> &[Word] {
        &self.all
    }
}
