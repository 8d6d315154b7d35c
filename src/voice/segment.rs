//! Stand-in for `voxrelay_protocol::segment::Segmenter` and `words::estimate`, to be removed for them.

use voxrelay_protocol::Word;

pub struct Segmenter {
    max_chars: usize,
    buffer: String,
}

impl Segmenter {
    pub fn new(max_chars: usize) -> Self {
        Self { max_chars, buffer: String::new() }
    }

    pub fn push(&mut self, text: &str) -> Vec<String> {
        self.buffer.push_str(text);
        let mut out = Vec::new();
        while let Some(end) = self.end() {
            let rest = self.buffer.split_off(end);
            out.push(std::mem::replace(&mut self.buffer, rest));
        }
        out
    }

    pub fn flush(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.buffer);
        (!rest.trim().is_empty()).then_some(rest)
    }

    fn end(&self) -> Option<usize> {
        let mut stop = false;
        let mut space = None;
        for (count, (at, letter)) in self.buffer.char_indices().enumerate() {
            if letter.is_whitespace() {
                if stop {
                    return Some(at);
                }
                space = Some(at);
            }
            stop = matches!(letter, '.' | '!' | '?' | '\n');
            if count >= self.max_chars {
                return Some(space.filter(|&at| at > 0).unwrap_or(at));
            }
        }
        None
    }
}

pub fn estimate(text: &str, from_ms: u64, length_ms: u64) -> Vec<Word> {
    let letters = text.split_whitespace().map(|word| word.chars().count() as u64).sum::<u64>().max(1);
    let mut before = 0;
    text.split_whitespace()
        .map(|word| {
            let start_ms = from_ms + length_ms * before / letters;
            before += word.chars().count() as u64;
            Word { text: word.into(), start_ms, end_ms: from_ms + length_ms * before / letters }
        })
        .collect()
}
