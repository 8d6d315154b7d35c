//! The stream that runs on a link: what was said to the vendor, and what its answers mean.

use bytes::{Bytes, BytesMut};

use super::messages::ClientMessage;
use crate::{ContextId, Event, FaultKind, Frame, UpstreamFault};

/// Characters of one `Speak`.
pub(super) const SPEAK_MAX: usize = 2_000;
/// Spaces kept for the next word, in bytes; more of them say no more.
const HELD_MAX: usize = 64;

pub(super) struct Turn {
    pub(super) context: ContextId,
    sample_bytes: usize,
    /// White space without a word behind it yet.
    held: String,
    /// Something was given to speak.
    pub(super) begun: bool,
    /// Something was given to speak since the last flush.
    pub(super) unflushed: bool,
    /// Flushes asked for and not answered.
    pub(super) flushes: u32,
    pub(super) ending: Ending,
    /// The beginning of a sample, at most three bytes.
    cut: BytesMut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// More may come.
    Open,
    /// With the answer to the last flush that was asked for.
    WithFlush,
    /// With the answer to a flush of its own, behind all others.
    OwnFlush,
    /// With the answer to a clear.
    Cleared,
}

impl Turn {
    pub(super) fn new(context: ContextId, sample_bytes: usize) -> Self {
        Self {
            context,
            sample_bytes,
            held: String::new(),
            begun: false,
            unflushed: false,
            flushes: 0,
            ending: Ending::Open,
            cut: BytesMut::new(),
        }
    }

    pub(super) fn text(&mut self, text: &str, out: &mut Vec<Frame>) {
        if text.trim().is_empty() {
            let room = HELD_MAX.saturating_sub(self.held.len());
            self.held.push_str(&text[..text.floor_char_boundary(room)]);
            return;
        }
        let text = std::mem::take(&mut self.held) + text;
        out.extend(pieces(&text).filter_map(|text| json(ClientMessage::Speak { text })));
        self.begun = true;
        self.unflushed = true;
    }

    pub(super) fn flush(&mut self, out: &mut Vec<Frame>) {
        self.unflushed = false;
        out.extend(json(ClientMessage::Flush));
    }

    /// Whether an answer to a flush is due.
    pub(super) fn waits(&self) -> bool {
        self.flushes > 0 || self.ending == Ending::OwnFlush
    }

    /// A flush is answered. That the vendor answers one with nothing to speak is assumed.
    pub(super) fn flushed(&mut self) -> Result<Vec<Event>, UpstreamFault> {
        if self.ending == Ending::Cleared {
            // One that was under way when the clear came.
            return Ok(Vec::new());
        }
        if self.flushes > 0 {
            self.flushes -= 1;
            let last = self.ending == Ending::WithFlush && self.flushes == 0;
            return Ok(if last { vec![Event::Flushed, Event::Done] } else { vec![Event::Flushed] });
        }
        if self.ending == Ending::OwnFlush {
            Ok(vec![Event::Done])
        } else {
            Err(bad("an answer to no flush"))
        }
    }

    /// `v1`: nothing of the old stream comes any more, and the link can be used again. Assumed: not even
    /// the answer to a flush that was under way.
    pub(super) fn cleared(&mut self) -> Result<Vec<Event>, UpstreamFault> {
        if self.ending == Ending::Cleared { Ok(vec![Event::Done]) } else { Err(bad("an answer to no clear")) }
    }

    /// Whole samples: the borders of frames mean nothing.
    pub(super) fn audio(&mut self, audio: &Bytes) -> Bytes {
        let mut whole = if self.cut.is_empty() {
            audio.clone()
        } else {
            self.cut.extend_from_slice(audio);
            self.cut.split().freeze()
        };
        let rest = whole.split_off(whole.len() - whole.len() % self.sample_bytes);
        self.cut.extend_from_slice(&rest);
        whole
    }
}

/// A text in parts that one `Speak` may hold; the vendor joins them again.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let end = text.char_indices().nth(SPEAK_MAX).map_or(text.len(), |(at, _)| at);
        let (piece, rest) = text.split_at(end);
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

pub(super) fn json(message: ClientMessage<'_>) -> Option<Frame> {
    serde_json::to_string(&message).ok().map(Frame::Text)
}

pub(super) fn bad(note: &'static str) -> UpstreamFault {
    UpstreamFault::new(FaultKind::BadFrame, note)
}
