//! Sentences out of tokens.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};
use voxrelay_protocol::segment::Segmenter;

const MAX: usize = 200;

#[test]
fn sentences_end_where_a_reader_would_pause() {
    let table: &[&[&str]] = &[
        &["Hello there. ", "How are you? ", "Fine!"],
        &["Mr. and Mrs. Smith met Dr. Jones at St. Mary's. ", "They spoke."],
        &["Bring fruit, e.g. Apples or i.e. Pears. ", "Then go."],
        &["Apples, pears, etc. are here. ", "Plums, etc. ", "All gone."],
        &["Pi is 3.14 or so. ", "It costs $2.50 today."],
        &["See www.example.com/a.b?q=1&r=2!x for more. ", "Go to https://a.io. ", "Now."],
        &["J. R. R. Tolkien wrote it. ", "So did I. ", "Really."],
        &["The U.S. Government said so at 5 p.m. Eastern. ", "Yes."],
        &["今日は。", "元気ですか？", "はい！", "そう"],
        &["Wait... what? ", "Well... ", "That was it."],
        &["He said \"Stop.\" ", "Then he left."],
        &["\"What?\" he asked. ", "\"Nothing.\" ", "(Really.) ", "She went."],
        &["No. ", "That is wrong. ", "See No. 5 there."],
        &["1. First do this. ", "2. Then do that."],
        &["Really?! ", "Yes."],
        &["A heading\n", "A line that was\nwrapped by hand. ", "End."],
        &[
            "It was the best of times, it was the worst of\nTimes that anybody had seen, said old Mr.\nSmith. ",
            "Yes.\n",
            "\nA new paragraph that is long enough to be wrapped\n",
            "\nThe last.",
        ],
        &["- one item\n", "- another item\n", "\nA paragraph."],
        &["क्या हाल है। ", "ठीक है। ", "अच्छा"],
        &["ما اسمك؟ ", "أنا"],
        &["ok! ", "sure? ", "Done."],
    ];
    for expected in table {
        assert_eq!(by_tokens(&expected.concat(), 1), expected.to_vec(), "one character at a time");
        assert_eq!(by_tokens(&expected.concat(), 1_000), expected.to_vec(), "all at once");
    }
}

#[test]
fn a_sentence_is_given_out_as_soon_as_nothing_can_undo_it() {
    let mut segmenter = Segmenter::new(MAX);
    assert!(segmenter.push("One fish").is_empty());
    assert!(segmenter.push(".").is_empty(), "it may be a number, an address or an abbreviation");
    assert!(segmenter.push(" ").is_empty(), "a small letter may follow");
    assert_eq!(segmenter.push("T"), ["One fish. "]);
    assert_eq!(segmenter.push("wo.\n"), ["Two.\n"]);
    assert!(segmenter.push("Red? ").is_empty());
    assert_eq!(segmenter.push("B"), ["Red? "]);
    assert_eq!(segmenter.flush().as_deref(), Some("B"));
    assert_eq!(segmenter.flush(), None);
}

#[test]
fn long_text_without_an_end_is_cut_at_a_clause_then_at_a_space() {
    assert_eq!(pieces("aaaa bbb, ccc ddd", 12, 99), ["aaaa bbb, ", "ccc ddd"]);
    assert_eq!(pieces("a, bbbb cccc dddd", 12, 99), ["a, bbbb ", "cccc dddd"]);
    assert_eq!(pieces("1,000,000 and more", 12, 99), ["1,000,000 ", "and more"]);
    assert_eq!(pieces("一二三、四五六七八", 6, 99), ["一二三、", "四五六七八"]);
    assert_eq!(pieces("abcdefghij", 4, 99), ["abcd", "efgh", "ij"]);
}

#[test]
fn a_family_is_not_torn_apart() {
    let family = "👨‍👩‍👧‍👦";
    assert_eq!(pieces(&family.repeat(3), 10, 1), [family; 3]);
}

#[test]
fn even_one_endless_grapheme_is_held_within_bounds() {
    let zalgo = format!("a{}", "\u{301}".repeat(1_000));
    let pieces = pieces(&zalgo, 50, 7);
    assert!(pieces.iter().all(|p| p.chars().count() <= 50));
    assert_eq!(pieces.concat(), zalgo);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_pieces_joined_are_the_text(
        text in prop_oneof![any::<String>(), prose(), "[a-c.?! \n\u{301}\u{200d}\u{600}\u{1f468}\r\u{3002}]{0,60}"],
        max in 1_usize..60,
        token in 1_usize..9,
    ) {
        let pieces = pieces(&text, max, token);
        prop_assert_eq!(pieces.concat(), text.as_str());
        prop_assert!(pieces.iter().all(|p| !p.is_empty() && p.chars().count() <= max));
        if text.graphemes(true).all(|g| g.chars().count() <= max) {
            let ends = pieces.iter().scan(0, |at, piece| {
                *at += piece.len();
                Some(*at)
            });
            for end in ends {
                let between = GraphemeCursor::new(end, text.len(), true).is_boundary(&text, 0).unwrap();
                prop_assert!(between, "cut inside a grapheme at byte {}", end);
            }
        }
    }

    #[test]
    fn the_sentences_do_not_depend_on_the_tokens(text in prose(), one in 1_usize..9, other in 1_usize..9) {
        prop_assert_eq!(by_tokens(&text, one), by_tokens(&text, other));
    }
}

/// Words, marks, abbreviations and spaces in any order.
fn prose() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "Word",
        "word",
        "Dr",
        "e.g",
        "U.S",
        "I",
        "J",
        "No",
        "3",
        "14",
        ".",
        ".",
        "?",
        "!",
        "...",
        ",",
        " ",
        " ",
        " ",
        "\n",
        "\"",
        ")",
        "。",
        "日本",
        "é",
        "\r\n",
        "…",
        "🙂",
        "http://a.b/c?d",
    ]);
    prop::collection::vec(parts, 0..40).prop_map(|parts| parts.concat())
}

fn by_tokens(text: &str, token: usize) -> Vec<String> {
    pieces(text, MAX, token)
}

/// The pieces of a text that comes in tokens of so many characters.
fn pieces(text: &str, max: usize, token: usize) -> Vec<String> {
    let mut segmenter = Segmenter::new(max);
    let chars: Vec<char> = text.chars().collect();
    let mut pieces = Vec::new();
    for token in chars.chunks(token) {
        pieces.extend(segmenter.push(&token.iter().collect::<String>()));
    }
    pieces.extend(segmenter.flush());
    pieces
}
