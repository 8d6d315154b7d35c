//! The text side of a stream: what the client has given, and how much of it an upstream has taken.
//!
//! The whole text is kept, bounded by the characters a stream may carry: it is spoken again from its
//! start on another route as long as nothing was heard, and a cancel tells what of it was not heard.

use std::collections::VecDeque;

use crate::{Command, Fault, FaultCode};

/// Most flushes of one stream that may be unanswered.
pub(super) const FLUSHES: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Script {
    text: String,
    characters: u64,
    /// Whether the text is more than white space.
    speakable: bool,
    /// Whether there is something to speak since the last flush.
    fresh: bool,
    /// Flushes the upstream must answer or has still to be asked for, in order.
    flushes: VecDeque<Flush>,
    ended: bool,
    sent: Sent,
    /// The most bytes of text that any lease has taken.
    most: usize,
}

/// A flush behind that many bytes of text, and the marks that its answer answers.
#[derive(Debug)]
struct Flush {
    at: usize,
    marks: Vec<Option<String>>,
}

/// What the present lease has taken.
#[derive(Debug, Default)]
struct Sent {
    text: usize,
    /// Of the unanswered flushes.
    flushes: usize,
    end: bool,
    /// Bytes of text whose flush was answered.
    answered: usize,
}

impl Script {
    /// Appends text. What is refused is not taken, and nothing else changes.
    ///
    /// # Errors
    /// `text_too_long`, `rate_limited`, or `invalid_request` after the end.
    pub(super) fn append(&mut self, text: &str, characters: u64, waiting: usize) -> Result<(), Fault> {
        self.refuse_after_end("text")?;
        let more = text.chars().count() as u64;
        if self.characters + more > characters {
            let detail = format!("a stream carries at most {characters} characters");
            return Err(Fault::new(FaultCode::TextTooLong, detail));
        }
        if self.text.len() - self.sent.text + text.len() > waiting {
            let detail = "too much text is waiting for the upstream; this piece was not taken";
            return Err(Fault::new(FaultCode::RateLimited, detail).retry_after(1000));
        }
        self.characters += more;
        self.text.push_str(text);
        if !text.trim().is_empty() {
            self.speakable = true;
            self.fresh = true;
        }
        Ok(())
    }

    /// Asks for what is buffered to be spoken. With nothing new to speak it shares the answer of
    /// the flush before it; without one before it, the mark comes back to be answered now.
    ///
    /// # Errors
    /// `rate_limited`, or `invalid_request` after the end.
    pub(super) fn flush(&mut self, mark: Option<String>, held: usize) -> Result<Option<Mark>, Fault> {
        self.refuse_after_end("flush")?;
        if self.flushes.iter().map(|flush| flush.marks.len()).sum::<usize>() + held >= FLUSHES {
            let detail = "too many flushes are unanswered";
            return Err(Fault::new(FaultCode::RateLimited, detail).retry_after(1000));
        }
        if std::mem::take(&mut self.fresh) {
            self.flushes.push_back(Flush { at: self.text.len(), marks: vec![mark] });
        } else if let Some(before) = self.flushes.back_mut() {
            before.marks.push(mark);
        } else {
            return Ok(Some(Mark(mark)));
        }
        Ok(None)
    }

    /// No more text.
    ///
    /// # Errors
    /// `invalid_request` when it has had its end.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.refuse_after_end("end")?;
        self.ended = true;
        Ok(())
    }

    fn refuse_after_end(&self, what: &str) -> Result<(), Fault> {
        if self.ended { Err(Fault::invalid(what, "the stream has had its end")) } else { Ok(()) }
    }

    /// The next command for the lease, counted as taken. Text of white space only is success at no
    /// cost: the upstream never hears of it.
    pub(super) fn next(&mut self) -> Option<Command> {
        if !self.speakable {
            return None;
        }
        let flush = self.flushes.get(self.sent.flushes).map(|flush| flush.at);
        let upto = flush.unwrap_or(self.text.len());
        if self.sent.text < upto {
            let text = self.text[self.sent.text..upto].to_owned();
            self.sent.text = upto;
            return Some(Command::Text(text));
        }
        if flush.is_some() {
            self.sent.flushes += 1;
            return Some(Command::Flush);
        }
        let end = self.ended && !self.sent.end;
        self.sent.end |= end;
        end.then_some(Command::End)
    }

    /// The lease has no room for this, one of the last commands that it was given.
    pub(super) fn take_back(&mut self, command: &Command) {
        match command {
            Command::Text(text) => self.sent.text = self.sent.text.saturating_sub(text.len()),
            Command::Flush => self.sent.flushes = self.sent.flushes.saturating_sub(1),
            Command::End => self.sent.end = false,
            Command::Start(_) | Command::Cancel => {}
        }
    }

    /// Another lease takes over from the beginning.
    pub(super) fn rewind(&mut self) {
        self.most = self.most.max(self.sent.text);
        self.sent = Sent::default();
    }

    /// The upstream has answered its oldest flush: the marks that are answered by it.
    pub(super) fn flushed(&mut self) -> Vec<Option<String>> {
        if self.sent.flushes == 0 {
            return Vec::new();
        }
        self.sent.flushes -= 1;
        let Some(flush) = self.flushes.pop_front() else { return Vec::new() };
        self.sent.answered = flush.at;
        flush.marks
    }

    /// Everything has been spoken: all marks that wait.
    pub(super) fn flushed_all(&mut self) -> Vec<Option<String>> {
        self.sent.flushes = 0;
        self.flushes.drain(..).flat_map(|flush| flush.marks).collect()
    }

    /// Whether the lease has been asked for something that it has to answer.
    pub(super) fn is_owed(&self) -> bool {
        self.sent.flushes > 0 || self.sent.end
    }

    /// Whether everything has been spoken, so that the end is all that is owed.
    pub(super) fn is_all_spoken(&self) -> bool {
        self.sent.end && self.sent.answered == self.text.len()
    }

    /// Whether there is something the lease has not taken.
    pub(super) fn has_unsent(&self) -> bool {
        let flushes = self.sent.flushes < self.flushes.len();
        self.speakable && (self.sent.text < self.text.len() || flushes || self.ended && !self.sent.end)
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Characters given so far.
    pub(super) fn characters(&self) -> u64 {
        self.characters
    }

    /// Characters an upstream has taken; those taken by two count once.
    pub(super) fn characters_sent(&self) -> u64 {
        self.text[..self.most.max(self.sent.text)].chars().count() as u64
    }

    pub(super) fn is_speakable(&self) -> bool {
        self.speakable
    }

    pub(super) fn has_letters(&self) -> bool {
        self.text.chars().any(char::is_alphanumeric)
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether the lease has taken the end.
    pub(super) fn end_sent(&self) -> bool {
        self.sent.end
    }
}

/// A client's mark of a flush to be answered.
#[derive(Debug)]
pub(super) struct Mark(pub(super) Option<String>);
