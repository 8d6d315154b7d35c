//! Cuts a stream of tokens into sentences, for voices that speak whole sentences.
//!
//! Unicode's sentence rules (UAX 29) propose the ends; this module knows what those rules do not:
//! abbreviations, initials, numbered lists, addresses, lines that were wrapped by hand, and that a
//! stream has no end to look at. An end is given out only when what follows can no longer undo it.

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};

/// The state of one stream. It never holds more than `max_chars` characters and one more.
#[derive(Debug)]
pub struct Segmenter {
    max_chars: usize,
    held: String,
    held_chars: usize,
}

impl Segmenter {
    /// A segmenter whose pieces have at most `max_chars` characters (Unicode scalar values; at least 1).
    #[must_use]
    pub fn new(max_chars: usize) -> Self {
        Self { max_chars: max_chars.max(1), held: String::new(), held_chars: 0 }
    }

    /// Takes text, cut anywhere, and gives the sentences that are certain by now, spaces and all:
    /// all pieces joined are the text.
    #[must_use]
    pub fn push(&mut self, mut text: &str) -> Vec<String> {
        let mut pieces = Vec::new();
        while !text.is_empty() {
            // One more than a piece may have shows whether a piece may end there.
            let room = self.max_chars + 1 - self.held_chars;
            let end = text.char_indices().nth(room).map_or(text.len(), |(at, _)| at);
            let (now, later) = text.split_at(end);
            self.held.push_str(now);
            self.held_chars += now.chars().count();
            text = later;
            self.take_sentences(&mut pieces);
            if self.held_chars > self.max_chars {
                let end = cut(&self.held, self.max_chars);
                self.take(end, &mut pieces);
            }
        }
        pieces
    }

    /// Gives the rest, if there is any: nothing more comes, or it shall not be waited for.
    #[must_use]
    pub fn flush(&mut self) -> Option<String> {
        self.held_chars = 0;
        Some(std::mem::take(&mut self.held)).filter(|rest| !rest.is_empty())
    }

    fn take_sentences(&mut self, pieces: &mut Vec<String>) {
        while let Some(end) = first_end(&self.held) {
            if end == self.held.len() && self.held_chars > self.max_chars {
                return;
            }
            self.take(end, pieces);
        }
    }

    fn take(&mut self, end: usize, pieces: &mut Vec<String>) {
        let rest = self.held.split_off(end);
        let piece = std::mem::replace(&mut self.held, rest);
        self.held_chars -= piece.chars().count();
        pieces.push(piece);
    }
}

/// The end of the first sentence, if it is certain.
fn first_end(text: &str) -> Option<usize> {
    for (start, sentence) in text.split_sentence_bound_indices() {
        let end = start + sentence.len();
        let (piece, rest) = text.split_at(end);
        if rest.is_empty() && !piece.ends_with('\n') {
            return None;
        }
        match judge(piece, rest) {
            Verdict::End if is_grapheme_end(text, end) => return Some(end),
            Verdict::End | Verdict::No => {}
            Verdict::Unsure => return None,
        }
    }
    None
}

enum Verdict {
    End,
    No,
    /// It depends on what follows.
    Unsure,
}

/// Whether a sentence proposed by Unicode's rules ends between `piece` and `rest`.
fn judge(piece: &str, rest: &str) -> Verdict {
    if !piece.contains(char::is_alphanumeric) {
        return Verdict::No;
    }
    let spoken = piece.trim_end();
    let space = &piece[spoken.len()..];
    // Without closing quotes and brackets.
    let bare = spoken.trim_end_matches(|c: char| !c.is_alphanumeric() && !is_terminator(c));
    let last = bare.chars().next_back().unwrap_or(' ');
    if space.contains(is_line_end) {
        return judge_line(bare, spoken, rest);
    }
    match last {
        '.' => judge_full_stop(bare, space, rest),
        '?' | '!' => judge_mark(bare.len() < spoken.len(), space, rest),
        _ => Verdict::End,
    }
}

/// Lines of at least so many characters may have been wrapped by hand.
const WRAPPED_LINE: usize = 45;

/// Unicode ends a sentence with every line. A line without a full stop is a heading or an item of a
/// list, unless it goes on with a small letter, or was long enough to be wrapped before a word.
fn judge_line(bare: &str, spoken: &str, rest: &str) -> Verdict {
    let abbreviated = is_abbreviation(bare, rest);
    if bare.ends_with(is_terminator) && !abbreviated {
        return Verdict::End;
    }
    let line = spoken.rsplit(is_line_end).next().unwrap_or(spoken);
    match rest.chars().find(|c| !c.is_whitespace() || is_line_end(*c)) {
        None => Verdict::Unsure,
        Some(next) if next.is_lowercase() => Verdict::No,
        Some(next) if next.is_alphabetic() && (abbreviated || line.chars().count() >= WRAPPED_LINE) => {
            Verdict::No
        }
        Some(_) => Verdict::End,
    }
}

/// After a full stop Unicode's rules look for the next letter: a small one says that the sentence goes on.
fn judge_full_stop(bare: &str, space: &str, rest: &str) -> Verdict {
    if space.is_empty() || is_abbreviation(bare, rest) {
        Verdict::No
    } else if rest
        .contains(|c: char| c.is_alphabetic() || is_line_end(c) || is_terminator(c) && c != ELLIPSIS)
    {
        Verdict::End
    } else {
        Verdict::Unsure
    }
}

/// No space after it: an address with a query. A small letter after a quote: `"What?" he said.`
fn judge_mark(quoted: bool, space: &str, rest: &str) -> Verdict {
    let next = rest.chars().next().unwrap_or(' ');
    if (space.is_empty() && next.is_ascii()) || (quoted && next.is_lowercase()) {
        Verdict::No
    } else {
        Verdict::End
    }
}

/// Never the last word of a sentence. ("etc.", "Inc." and their like may be; a small letter tells.)
const ABBREVIATIONS: [&str; 40] = [
    "mr", "mrs", "ms", "mx", "dr", "prof", "st", "messrs", "mme", "mlle", "sr", "sra", "srta", "hr", "fr",
    "gen", "col", "maj", "capt", "lt", "cmdr", "sgt", "cpl", "pvt", "adm", "gov", "sen", "rep", "pres",
    "hon", "rev", "supt", "mt", "vs", "viz", "cf", "approx", "ca", "bzw", "ph.d",
];

/// Abbreviations before a number; words, or the end of a sentence, elsewhere.
const BEFORE_NUMBER: [&str; 23] = [
    "no", "nos", "nr", "p", "pp", "vol", "fig", "figs", "ch", "chap", "sec", "art", "eq", "jan", "feb",
    "apr", "aug", "sept", "sep", "oct", "nov", "dec", "ext",
];

/// Whether the full stop at the end of `bare` belongs to its word.
fn is_abbreviation(bare: &str, rest: &str) -> bool {
    let Some(text) = bare.strip_suffix('.') else { return false };
    let starts_word =
        |c: char| c.is_whitespace() || "([{<\"'\u{2018}\u{201c}\u{ab}\u{2013}\u{2014}-/".contains(c);
    let word = text.rsplit(starts_word).next().unwrap_or(text);
    let lower = word.to_ascii_lowercase();
    is_initial(word)
        || has_inner_stops(word)
        || is_list_number(text.trim_start())
        || ABBREVIATIONS.contains(&lower.as_str())
        || (rest.starts_with(|c: char| c.is_ascii_digit()) && BEFORE_NUMBER.contains(&lower.as_str()))
}

/// "J." but not "I.", which ends sentences more often than names.
fn is_initial(word: &str) -> bool {
    is_single(word, char::is_uppercase) && word != "I"
}

fn is_single(word: &str, kind: fn(char) -> bool) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(kind) && chars.next().is_none()
}

/// "e.g.", "U.S.", "p.m.": single letters between the stops.
fn has_inner_stops(word: &str) -> bool {
    word.contains('.') && word.split('.').all(|part| is_single(part, char::is_alphabetic))
}

/// "1." before anything else is said.
fn is_list_number(text: &str) -> bool {
    (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// To Unicode's rules a mark like any other, which ends nothing.
const ELLIPSIS: char = '\u{2026}';

fn is_terminator(c: char) -> bool {
    c == ELLIPSIS || ".?!\u{3002}\u{ff01}\u{ff1f}\u{ff0e}\u{ff61}\u{61f}\u{6d4}\u{964}\u{965}".contains(c)
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_clause_mark(c: char) -> bool {
    ",;:\u{2013}\u{2014}".contains(c) || is_wide_clause_mark(c)
}

/// Marks that are followed by no space.
fn is_wide_clause_mark(c: char) -> bool {
    "\u{3001}\u{ff0c}\u{ff1b}\u{ff1a}".contains(c)
}

fn is_grapheme_end(text: &str, at: usize) -> bool {
    GraphemeCursor::new(at, text.len(), true).is_boundary(text, 0).unwrap_or(true)
}

/// Where to cut text that is longer than `max_chars` and has no end: after the last clause mark if
/// that leaves a piece of at least half the length, else after the last space, else between
/// graphemes. A single grapheme longer than all that is room for is cut, for the sake of memory.
fn cut(text: &str, max_chars: usize) -> usize {
    let limit = text.char_indices().nth(max_chars).map_or(text.len(), |(at, _)| at);
    let (mut clause, mut space, mut any) = (0, 0, 0);
    let mut before = ' ';
    let mut after_mark = false;
    for (start, grapheme) in text.grapheme_indices(true) {
        let end = start + grapheme.len();
        if end > limit {
            break;
        }
        any = end;
        let last = grapheme.chars().next_back().unwrap_or(' ');
        after_mark = last.is_whitespace() && (after_mark || is_clause_mark(before));
        if last.is_whitespace() {
            space = end;
        }
        if after_mark || is_wide_clause_mark(last) {
            clause = end;
        }
        before = last;
    }
    let fallback = if any == 0 { limit } else { any };
    [(clause, limit / 2), (space, 0)]
        .into_iter()
        .find(|(at, least)| at > least)
        .map_or(fallback, |(at, _)| at)
}
