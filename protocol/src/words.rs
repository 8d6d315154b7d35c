//! Word times where the engine gives none, and what of a text was heard at a moment.

use unicode_segmentation::UnicodeSegmentation;

use crate::Word;

/// What a word costs beside its letters, and what a pause after it costs, in letters.
const WORD: u64 = 2;
const CLAUSE_PAUSE: u64 = 3;
const SENTENCE_PAUSE: u64 = 6;

/// Spreads the words of `text` over a span of audio that says just that text: by their letters
/// (digits and ideographs weigh more, as they are spoken longer), with the pause after a word's
/// marks counted to the word. The words follow each other without gap from `from_ms` to
/// `from_ms + length_ms`. None for text without words.
#[must_use]
pub fn estimate(text: &str, from_ms: u64, length_ms: u64) -> Vec<Word> {
    let mut words: Vec<(&str, u64)> = Vec::new();
    for token in text.split_word_bounds() {
        if is_word(token) {
            words.push((token, WORD + token.chars().map(weight).sum::<u64>()));
        } else if let Some((_, cost)) = words.last_mut() {
            *cost += token.chars().map(pause).sum::<u64>();
        }
    }
    let total: u64 = words.iter().map(|(_, cost)| cost).sum();
    let at = |cost: u64| {
        let share = u128::from(length_ms) * u128::from(cost) / u128::from(total.max(1));
        from_ms.saturating_add(u64::try_from(share).unwrap_or(length_ms))
    };
    let mut spent = 0;
    let word_times = words.into_iter().map(|(word, cost)| {
        let start_ms = at(spent);
        spent += cost;
        Word { text: word.to_owned(), start_ms, end_ms: at(spent) }
    });
    word_times.collect()
}

/// Cuts `text` into what a listener has heard after `heard_ms` of its audio and what not, at the
/// start of the first word not fully played. The two joined are the text. `words` are its words
/// in their order; one that is spelt differently in the text (a number read out) is passed over.
#[must_use]
pub fn split_heard(words: &[Word], text: &str, heard_ms: u64) -> (String, String) {
    let mut heard_end = 0;
    for word in words.iter().take_while(|word| word.end_ms <= heard_ms) {
        if let Some(start) = find(text, heard_end, bare(word)) {
            heard_end = start + bare(word).len();
        }
    }
    let pending = words.iter().find(|word| word.end_ms > heard_ms);
    let cut = match pending.and_then(|word| find(text, heard_end, bare(word))) {
        Some(start) => start,
        // Its words are not known, or spelt differently: what follows the last word heard is not heard.
        None if heard_end == 0 => 0,
        None => next_word(text, heard_end),
    };
    let (heard, unheard) = text.split_at(cut);
    (heard.to_owned(), unheard.to_owned())
}

/// Some engines tell a word with its marks.
fn bare(word: &Word) -> &str {
    word.text.trim_matches(|c: char| !c.is_alphanumeric())
}

/// How far ahead a word is looked for, in words: one that the voice changed must not be mistaken for
/// the same word in the next paragraph.
const LOOK_AHEAD: usize = 8;

/// Where `word` begins as a whole word, from the byte `from` on.
fn find(text: &str, from: usize, word: &str) -> Option<usize> {
    let mut at = from;
    for _ in 0..LOOK_AHEAD {
        at = next_word(text, at);
        let rest = &text[at..];
        if !word.is_empty() && rest.strip_prefix(word).is_some_and(|after| ends_word(word, after)) {
            return Some(at);
        }
        at += rest.split_word_bounds().next()?.len();
    }
    None
}

/// The start of the next word at or after the byte `from`; the end of the text if there is none.
fn next_word(text: &str, from: usize) -> usize {
    let rest = &text[from..];
    let word = rest.split_word_bound_indices().find(|(_, token)| is_word(token));
    word.map_or(text.len(), |(at, _)| from + at)
}

/// Whether a word that is followed by `after` ends there ("a" does not end in "ab").
fn ends_word(word: &str, after: &str) -> bool {
    let both = |c: char| c.is_alphabetic() && !is_ideograph(c);
    !(word.ends_with(both) && after.starts_with(both))
}

fn is_word(token: &str) -> bool {
    token.contains(char::is_alphanumeric)
}

fn weight(c: char) -> u64 {
    match c {
        '0'..='9' => 4,
        _ if is_ideograph(c) => 3,
        _ if c.is_alphanumeric() => 1,
        _ => 0,
    }
}

fn pause(mark: char) -> u64 {
    match mark {
        '.' | '?' | '!' | '\n' | '\u{2026}' | '\u{3002}' | '\u{ff1f}' | '\u{ff01}' => SENTENCE_PAUSE,
        ',' | ';' | ':' | '\u{2013}' | '\u{2014}' | '\u{3001}' | '\u{ff0c}' => CLAUSE_PAUSE,
        _ => 0,
    }
}

/// Han, kana and hangul: about a syllable each.
pub(crate) fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_share_the_span_by_what_they_take_to_say() {
        let words = estimate("Hi, extraordinary 2026!", 1_000, 900);
        let texts: Vec<_> = words.iter().map(|w| w.text.as_str()).collect();
        assert_eq!(texts, ["Hi", "extraordinary", "2026"]);
        let lengths: Vec<_> = words.iter().map(|w| w.end_ms - w.start_ms).collect();
        assert!(lengths[0] < lengths[1] && lengths[1] < lengths[2], "{lengths:?}");
    }

    #[test]
    fn text_without_words_has_no_word_times() {
        assert_eq!(estimate("... \n?!", 0, 500), []);
        assert_eq!(estimate("", 0, 500), []);
    }

    #[test]
    fn heard_ends_before_the_first_word_not_fully_played() {
        let text = "One, two (three) four.";
        let words = timed(&["One", "two", "three", "four"]);
        let heard = |ms| split_heard(&words, text, ms).0;
        assert_eq!(heard(0), "");
        assert_eq!(heard(99), "");
        assert_eq!(heard(100), "One, ");
        assert_eq!(heard(299), "One, two (");
        assert_eq!(heard(300), "One, two (three) ");
        assert_eq!(heard(400), text);
    }

    #[test]
    fn text_whose_words_are_not_known_yet_is_unheard() {
        let words = timed(&["One", "two"]);
        assert_eq!(split_heard(&words, "One two. Three", 900), ("One two. ".into(), "Three".into()));
        assert_eq!(split_heard(&[], "One two.", 900), (String::new(), "One two.".into()));
    }

    #[test]
    fn a_word_is_found_whole_and_in_its_order() {
        let words = timed(&["a", "cat", "a", "dog"]);
        assert_eq!(split_heard(&words, "A cab, a cat, a dog", 250).0, "A cab, a cat, ");
    }

    #[test]
    fn marks_that_an_engine_tells_with_a_word_do_no_harm() {
        let words = timed(&["\"Oh,", "no!\"", "he", "said."]);
        assert_eq!(split_heard(&words, "\"Oh, no!\" he said.", 200).0, "\"Oh, no!\" ");
    }

    #[test]
    fn a_word_spelt_differently_is_passed_over() {
        let words = timed(&["room", "twelve", "is", "free"]);
        let text = "room 12 is free, the room is free";
        assert_eq!(split_heard(&words, text, 150).0, "room ");
        assert_eq!(split_heard(&words, text, 350).0, "room 12 is ");
    }

    proptest! {
        #[test]
        fn estimated_words_cover_the_span_in_order(
            text in any::<String>(), from in 0_u64..1_000_000, length in 0_u64..1_000_000,
        ) {
            let words = estimate(&text, from, length);
            let mut at = from;
            for word in &words {
                prop_assert_eq!(word.start_ms, at);
                prop_assert!(word.end_ms >= word.start_ms && text.contains(&word.text));
                at = word.end_ms;
            }
            prop_assert_eq!(at, if words.is_empty() { from } else { from + length });
        }

        #[test]
        fn heard_and_unheard_joined_are_the_text(
            text in any::<String>(), other in any::<String>(), heard_ms in 0_u64..3_000,
        ) {
            for source in [&text, &other] {
                let (heard, unheard) = split_heard(&estimate(source, 0, 2_000), &text, heard_ms);
                prop_assert_eq!(heard + &unheard, text.as_str());
            }
        }

        #[test]
        fn a_later_moment_has_heard_no_less(text in "[a-c ,.]{0,40}", one in 0_u64..2_500, more in 0_u64..500) {
            let words = estimate(&text, 0, 2_000);
            let heard = |ms| split_heard(&words, &text, ms).0.len();
            prop_assert!(heard(one) <= heard(one + more));
        }
    }

    /// Words of 100 ms each.
    fn timed(words: &[&str]) -> Vec<Word> {
        let times = words.iter().zip((0..).step_by(100));
        times.map(|(word, at)| Word { text: (*word).to_owned(), start_ms: at, end_ms: at + 100 }).collect()
    }
}
