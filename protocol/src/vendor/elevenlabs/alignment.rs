//! From times of characters to times of words.

use super::messages::Alignment;
use crate::Word;
use crate::words::is_ideograph;

/// No context lasts longer than this, in ms; a later time is nonsense.
const LATEST_MS: f64 = 24.0 * 3_600_000.0;
/// A word longer than this, in bytes, is cut.
const WORD_MAX: usize = 256;

/// The words of one context, as their characters come in. A word may begin in one message and end in
/// the next.
#[derive(Debug, Default)]
pub struct Spelling {
    word: String,
    start_ms: u64,
    end_ms: u64,
    last_start_ms: u64,
}

impl Spelling {
    /// Reads the characters of one message whose audio begins `offset_ms` into the context, and
    /// appends the words that are whole. `None` when the times make no sense.
    pub fn read(&mut self, alignment: &Alignment<'_>, offset_ms: u64, out: &mut Vec<Word>) -> Option<()> {
        let (starts, durations) = alignment.times()?;
        for (index, entry) in alignment.chars.iter().enumerate() {
            let start = ms(starts[index])?;
            let end = ms(starts[index] + durations[index])?.max(start);
            for letter in entry.0.chars() {
                self.letter(letter, offset_ms + start, offset_ms + end, out);
            }
        }
        Some(())
    }

    fn letter(&mut self, letter: char, start_ms: u64, end_ms: u64, out: &mut Vec<Word>) {
        if letter.is_whitespace() {
            return out.extend(self.finish());
        }
        // Scripts without spaces: a word a sign.
        let alone = is_ideograph(letter);
        if alone || self.word.len() >= WORD_MAX {
            out.extend(self.finish());
        }
        if self.word.is_empty() {
            self.start_ms = start_ms.max(self.last_start_ms);
            self.end_ms = self.start_ms;
        }
        self.word.push(letter);
        self.end_ms = self.end_ms.max(end_ms);
        if alone {
            out.extend(self.finish());
        }
    }

    /// The word that is still open: nothing more comes to it.
    pub fn finish(&mut self) -> Option<Word> {
        if self.word.is_empty() {
            return None;
        }
        self.last_start_ms = self.start_ms;
        let text = std::mem::take(&mut self.word);
        Some(Word { text, start_ms: self.start_ms, end_ms: self.end_ms })
    }
}

fn ms(time: f64) -> Option<u64> {
    let time = time.round();
    (0.0..=LATEST_MS).contains(&time).then_some(time as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(messages: &[(&str, u64)]) -> Vec<(String, u64, u64)> {
        let mut spelling = Spelling::default();
        let mut words = Vec::new();
        for (text, offset) in messages {
            let count = text.chars().count();
            let chars: Vec<_> = text.chars().map(String::from).collect();
            let starts: Vec<_> = (0..count).map(|place| place * 10).collect();
            let json = serde_json::json!({"chars": chars, "charStartTimesMs": starts,
                "charDurationsMs": vec![10; count]})
            .to_string();
            spelling.read(&serde_json::from_str(&json).unwrap(), *offset, &mut words).unwrap();
        }
        words.extend(spelling.finish());
        words.into_iter().map(|word| (word.text, word.start_ms, word.end_ms)).collect()
    }

    #[test]
    fn a_word_may_be_spread_over_messages() {
        let words = read(&[("  Good d", 0), ("ay ", 80)]);
        assert_eq!(words, [("Good".into(), 20, 60), ("day".into(), 70, 100)]);
    }

    #[test]
    fn signs_of_scripts_without_spaces_are_words() {
        assert_eq!(
            read(&[("你好 a", 0)]).iter().map(|word| word.0.as_str()).collect::<Vec<_>>(),
            ["你", "好", "a"]
        );
    }

    #[test]
    fn a_word_without_an_end_is_cut() {
        let words = read(&[(&"x".repeat(1000), 0)]);
        assert!(words.iter().all(|word| word.0.len() <= WORD_MAX));
        assert_eq!(words.iter().map(|word| word.0.len()).sum::<usize>(), 1000);
    }

    #[test]
    fn words_never_go_back() {
        let words = read(&[("a b ", 500), ("c ", 0)]);
        assert_eq!(words, [("a".into(), 500, 510), ("b".into(), 520, 530), ("c".into(), 520, 520)]);
    }
}
