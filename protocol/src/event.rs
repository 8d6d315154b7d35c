//! What a synthesis can yield, in words that no vendor owns.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::UpstreamFault;

/// One spoken word and where it lies in the stream's audio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The word as spoken.
    pub text: String,
    /// Start in milliseconds from the first audio of the context.
    pub start_ms: u64,
    /// End in milliseconds from the first audio of the context.
    pub end_ms: u64,
}

/// One step of a synthesis, from the upstream. `Done` or `Failed` is always last, and comes once.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Audio in the context's format; whole samples only.
    Audio(Bytes),
    /// Word times, in order, never going back within a context.
    Words {
        /// The words.
        words: Vec<Word>,
        /// True when the times were computed by us and not told by the engine.
        estimated: bool,
    },
    /// All audio of the text before the oldest unanswered [`crate::Command::Flush`] has been sent.
    Flushed,
    /// All audio of the context has been sent.
    Done,
    /// The context cannot go on.
    Failed(UpstreamFault),
}

impl Event {
    /// Whether nothing can follow this event in its context.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Done | Self::Failed(_))
    }

    /// Audio payload in bytes, 0 for everything else.
    #[must_use]
    pub fn audio_len(&self) -> usize {
        match self {
            Self::Audio(bytes) => bytes.len(),
            _ => 0,
        }
    }
}
