//! Client text as the engine may have it: words to be spoken and nothing the engine obeys.
//!
//! The engine reads `<play file=".."/>`, `<genfile ..>`, `<speed ..>` and more in its input, and a
//! zero byte ends a sentence. None of it may come from a client. Nor may words without end: past 54
//! digits or 255 bytes in one word the engine falls silent, fails, or never returns.

/// The longest word the engine gets, in characters.
const MAX_WORD: usize = 40;

/// The text without markup and control characters, and with the punctuation the engine knows.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut word = 0;
    for letter in text.chars() {
        word = if letter.is_whitespace() { 0 } else { word + 1 };
        if word > MAX_WORD {
            out.push(' ');
            word = 1;
        }
        match letter {
            // Every markup begins with `<`; without one, nothing else is special.
            '<' | '>' => out.push(' '),
            // The engine reads the typewriter's marks; model output is full of the printer's.
            '\u{2018}' | '\u{2019}' | '\u{02bc}' => out.push('\''),
            '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{ab}' | '\u{bb}' => out.push('"'),
            '\u{2010}' | '\u{2011}' => out.push('-'),
            '\u{2013}' | '\u{2014}' => out.push_str(" - "),
            '\u{2026}' => out.push_str("..."),
            _ if letter.is_control() || letter.is_whitespace() => out.push(' '),
            _ => out.push(letter),
        }
    }
    out
}

/// Whether there is anything in the text that ought to be heard.
pub fn has_letters(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_control_characters_do_not_reach_the_engine() {
        let hostile = "a<play file=\"/etc/passwd\"/>b\0c\u{1b}[1m\u{7f}\r\nd</speed>";
        let safe = plain(hostile);
        assert!(!safe.contains(['<', '>']) && !safe.chars().any(char::is_control), "{safe:?}");
    }

    #[test]
    fn endless_words_are_cut() {
        let cut = plain(&"\u{e9}1".repeat(200));
        assert!(cut.split(' ').all(|word| word.chars().count() <= MAX_WORD), "{cut:?}");
        assert_eq!(cut.replace(' ', "").chars().count(), 400);
    }

    #[test]
    fn printed_punctuation_becomes_what_the_engine_knows() {
        assert_eq!(plain("don\u{2019}t \u{201c}stop\u{201d}\u{2026}"), "don't \"stop\"...");
    }
}
