//! What the relay and its voice worker say to each other over the worker's standard input and
//! output, shared by both ends.
//!
//! A frame on the pipe is one byte of kind (0 text, 1 audio), a big-endian u32 of payload length in
//! bytes, and the payload. Text is one JSON message; audio is `pcm_s16le` at 16,000 Hz, mono, of the
//! context named by the last [`FromWorker::Started`]. A worker speaks one context at a time.

use serde::{Deserialize, Serialize};

use crate::{Frame, Word};

/// Bytes before each payload.
pub const HEADER: usize = 5;

/// The longest payload, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// The longest text of one message, in bytes: JSON may write each as six.
pub const MAX_TEXT: usize = 8 * 1024;

/// Samples per second, in Hz.
pub const SAMPLE_RATE: u32 = 16_000;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One JSON message.
    Text,
    /// Samples.
    Audio,
}

/// The bytes before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// How much of it, in bytes.
    pub len: usize,
}

/// The other end does not keep to the framing; nothing after it can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PipeError {
    /// Neither text nor audio.
    #[error("unknown kind of frame")]
    Kind,
    /// Longer than [`MAX_PAYLOAD`].
    #[error("frame too long")]
    Oversize,
}

impl Header {
    /// The header of a frame.
    ///
    /// # Errors
    /// The frame is too long.
    pub fn of(frame: &Frame) -> Result<Self, PipeError> {
        let kind = match frame {
            Frame::Text(_) => Kind::Text,
            Frame::Binary(_) => Kind::Audio,
        };
        if frame.len() > MAX_PAYLOAD { Err(PipeError::Oversize) } else { Ok(Self { kind, len: frame.len() }) }
    }

    /// As written.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER] {
        let [a, b, c, d] = u32::try_from(self.len).unwrap_or(u32::MAX).to_be_bytes();
        [u8::from(self.kind == Kind::Audio), a, b, c, d]
    }

    /// As read.
    ///
    /// # Errors
    /// The kind is unknown or the payload too long.
    pub fn parse([kind, a, b, c, d]: [u8; HEADER]) -> Result<Self, PipeError> {
        let kind = match kind {
            0 => Kind::Text,
            1 => Kind::Audio,
            _ => return Err(PipeError::Kind),
        };
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if len > MAX_PAYLOAD { Err(PipeError::Oversize) } else { Ok(Self { kind, len }) }
    }
}

/// From the relay to the worker. Messages for a context that is not open are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToWorker {
    /// Open a context. Answered by `started` or `error`.
    Start {
        /// Its number.
        context: u64,
        /// One of the engine's voices.
        voice: String,
        /// Whether word times are wanted.
        words: bool,
        /// Speaking rate in per cent.
        speed: u16,
        /// Pitch in per cent.
        pitch: u16,
    },
    /// Append text.
    Text {
        /// The context.
        context: u64,
        /// The text, at most [`MAX_TEXT`] bytes.
        text: String,
    },
    /// Speak what is buffered. Answered by `flushed`.
    Flush {
        /// The context.
        context: u64,
    },
    /// No more text. Answered by `done`.
    End {
        /// The context.
        context: u64,
    },
    /// Stop at once. Answered by `cancelled`.
    Cancel {
        /// The context.
        context: u64,
    },
}

impl ToWorker {
    /// The context it is about.
    #[must_use]
    pub const fn context(&self) -> u64 {
        match self {
            Self::Start { context, .. }
            | Self::Text { context, .. }
            | Self::Flush { context }
            | Self::End { context }
            | Self::Cancel { context } => *context,
        }
    }
}

/// Why a context could not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerError {
    /// The text has letters, and the engine has no sound for them.
    Unspeakable,
    /// No such voice.
    UnknownVoice,
    /// The engine failed.
    Engine,
}

/// From the worker to the relay. Each context that was started ends with exactly one of `done`,
/// `cancelled` and `error`, and nothing of it follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromWorker {
    /// A context is open: audio from here on is its.
    Started {
        /// The context.
        context: u64,
    },
    /// Estimated word times of the audio just sent.
    Words {
        /// The context.
        context: u64,
        /// The words, in ms from the first audio of the context.
        words: Vec<Word>,
    },
    /// A flush is complete.
    Flushed {
        /// The context.
        context: u64,
    },
    /// All audio has been sent.
    Done {
        /// The context.
        context: u64,
    },
    /// The context was stopped; the worker is clean.
    Cancelled {
        /// The context.
        context: u64,
    },
    /// The context cannot go on; the worker is clean.
    Error {
        /// The context.
        context: u64,
        /// Why.
        kind: WorkerError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_as_it_was_written() {
        for frame in [Frame::Text("{}".into()), Frame::Binary(vec![0; MAX_PAYLOAD].into())] {
            let header = Header::of(&frame).unwrap();
            assert_eq!(Header::parse(header.to_bytes()), Ok(header));
            assert_eq!(header.len, frame.len());
        }
        assert_eq!(Header { kind: Kind::Audio, len: 0x0102 }.to_bytes(), [1, 0, 0, 1, 2]);
    }

    #[test]
    fn what_is_too_long_or_unknown_is_refused() {
        assert_eq!(Header::of(&Frame::Binary(vec![0; MAX_PAYLOAD + 1].into())), Err(PipeError::Oversize));
        assert_eq!(Header::parse([0, 0, 1, 0, 1]), Err(PipeError::Oversize));
        assert_eq!(Header::parse([2, 0, 0, 0, 0]), Err(PipeError::Kind));
    }
}
