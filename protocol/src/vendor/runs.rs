//! A stream as a row of runs, for vendors who mark the end of a whole run and of nothing smaller: a
//! flush ends a run, and the text after it waits until the vendor has said that the run is over.
//!
//! One run at a time, because only then the vendor's mark says exactly what it is the end of, also
//! after a cancel.

use std::collections::VecDeque;

use crate::{Event, FaultKind, UpstreamFault};

/// What the end of a run answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nobody: a piece the relay cut by itself.
    Piece,
    /// A flush.
    Flush,
    /// The end of the stream.
    End,
}

impl Mark {
    const fn answer(self) -> Option<Event> {
        match self {
            Self::Piece => None,
            Self::Flush => Some(Event::Flushed),
            Self::End => Some(Event::Done),
        }
    }
}

/// The next thing to do.
#[derive(Debug, PartialEq)]
pub(super) enum Act {
    /// Begin a run.
    Open,
    /// Say this in it.
    Text(String),
    /// Ask for its end.
    Close,
    /// Tell the stream; the vendor has no part in it.
    Answer(Event),
}

#[derive(Debug)]
enum Kept {
    Text(String),
    Close(Mark),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Rest,
    Open,
    Closing(Mark),
}

/// The runs of one stream. Holds at most the text of the stream.
#[derive(Debug)]
pub(super) struct Runs {
    kept: VecDeque<Kept>,
    state: State,
}

impl Runs {
    pub(super) const fn new() -> Self {
        Self { kept: VecDeque::new(), state: State::Rest }
    }

    /// Text of the run, joined to what came before.
    pub(super) fn text(&mut self, text: &str) {
        match self.kept.back_mut() {
            _ if text.is_empty() => {}
            Some(Kept::Text(kept)) => kept.push_str(text),
            _ => self.kept.push_back(Kept::Text(text.to_owned())),
        }
    }

    /// The run ends here.
    pub(super) fn close(&mut self, mark: Mark) {
        self.kept.push_back(Kept::Close(mark));
    }

    /// What can be done now.
    pub(super) fn next(&mut self) -> Option<Act> {
        loop {
            match (self.state, self.kept.front()?) {
                (State::Closing(_), _) => return None,
                (State::Rest, Kept::Text(_)) => {
                    self.state = State::Open;
                    return Some(Act::Open);
                }
                _ => {}
            }
            match self.kept.pop_front()? {
                Kept::Text(text) => return Some(Act::Text(text)),
                Kept::Close(mark) if self.state == State::Open => {
                    self.state = State::Closing(mark);
                    return Some(Act::Close);
                }
                Kept::Close(mark) => {
                    if let Some(event) = mark.answer() {
                        return Some(Act::Answer(event));
                    }
                }
            }
        }
    }

    /// The vendor says that the run is over.
    ///
    /// # Errors
    /// `bad_frame` when it was not asked to end.
    pub(super) fn ended(&mut self) -> Result<Option<Event>, UpstreamFault> {
        let State::Closing(mark) = self.state else {
            return Err(UpstreamFault::new(FaultKind::BadFrame, "an end nobody asked for"));
        };
        self.state = State::Rest;
        Ok(mark.answer())
    }

    /// Says no more. True when the vendor still works on a run; its end is that of the stream.
    pub(super) fn cancel(&mut self) -> bool {
        self.kept.clear();
        if self.is_running() {
            self.state = State::Closing(Mark::End);
        }
        self.is_running()
    }

    /// Whether the vendor works on a run.
    pub(super) fn is_running(&self) -> bool {
        self.state != State::Rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(runs: &mut Runs) -> Vec<Act> {
        std::iter::from_fn(|| runs.next()).collect()
    }

    #[test]
    fn text_after_a_flush_waits_for_the_end_of_the_run() {
        let mut runs = Runs::new();
        runs.text("a");
        runs.close(Mark::Flush);
        runs.text("b");
        runs.text("c");
        runs.close(Mark::End);
        assert_eq!(all(&mut runs), [Act::Open, Act::Text("a".into()), Act::Close]);
        assert_eq!(runs.ended(), Ok(Some(Event::Flushed)));
        assert_eq!(all(&mut runs), [Act::Open, Act::Text("bc".into()), Act::Close]);
        assert_eq!(runs.ended(), Ok(Some(Event::Done)));
        assert!(!runs.is_running());
    }

    #[test]
    fn what_has_no_text_is_answered_without_the_vendor() {
        let mut runs = Runs::new();
        runs.close(Mark::Piece);
        runs.text("");
        runs.close(Mark::Flush);
        runs.close(Mark::End);
        assert_eq!(all(&mut runs), [Act::Answer(Event::Flushed), Act::Answer(Event::Done)]);
    }

    #[test]
    fn a_cancel_leaves_only_the_end_of_the_run_to_wait_for() {
        let mut runs = Runs::new();
        assert!(!runs.cancel());
        runs.text("a");
        runs.close(Mark::Flush);
        runs.text("b");
        assert_eq!(all(&mut runs).len(), 3);
        assert!(runs.cancel());
        assert_eq!(all(&mut runs), []);
        assert_eq!(runs.ended(), Ok(Some(Event::Done)));
    }

    #[test]
    fn an_end_nobody_asked_for_is_a_broken_frame() {
        let mut runs = Runs::new();
        assert_eq!(runs.ended().unwrap_err().kind, FaultKind::BadFrame);
        runs.text("a");
        assert_eq!(all(&mut runs).len(), 2);
        assert_eq!(runs.ended().unwrap_err().kind, FaultKind::BadFrame);
    }
}
