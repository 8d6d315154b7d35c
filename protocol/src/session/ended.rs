//! How a stream ended: the one record that usage, metrics and logs are made from.

use crate::reply::Timing;
use crate::{FaultCode, StreamName};

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// All of it was spoken.
    Done,
    /// The client stopped it or went away.
    Cancelled,
    /// The relay or an upstream could not go on.
    Failed,
    /// It was never allowed to begin.
    Refused,
}

impl Outcome {
    /// As written in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// What a stream was when it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamEnd {
    /// The stream's number.
    pub index: u16,
    /// The stream's name.
    pub name: StreamName,
    /// How it ended.
    pub outcome: Outcome,
    /// The error the client was told, if any.
    pub code: Option<FaultCode>,
    /// The upstream that held it last, if any did.
    pub provider: Option<String>,
    /// Characters handed to the upstream.
    pub characters: u64,
    /// Audio sent to the client, in ms.
    pub audio_ms: u64,
    /// Audio sent to the client, in bytes of the client's format.
    pub bytes: u64,
    /// From the first text to the first audio, in ms.
    pub first_audio_ms: Option<f64>,
    /// Where those milliseconds went.
    pub timing: Timing,
    /// Times a paced stream had nothing to release when its clock said so.
    pub underruns: u64,
}
