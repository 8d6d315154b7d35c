//! What the relay can tell a client, whatever dialect it speaks.

use bytes::Bytes;

use crate::{AudioFormat, Fault, StreamName, Word};

/// The limits a client is told on `ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Streams the key may run at once.
    pub streams: u64,
    /// Streams this session may run at once.
    pub session_streams: u64,
    /// Characters one stream may carry.
    pub characters_per_stream: u64,
}

/// Who the relay took the caller for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The session's id.
    pub session: String,
    /// The id of the upgrade request, to find the session in the logs.
    pub request_id: String,
    /// The key's id, never its secret; absent in open mode.
    pub key: Option<String>,
    /// The organisation's name.
    pub org: String,
    /// What the caller may run.
    pub limits: Limits,
    /// The relay's version.
    pub version: String,
}

/// Where the milliseconds to the first audio went. All but `auth_ms` lie within the stream's
/// `first_audio_ms` and add up to it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Timing {
    /// Checking the key, once per session.
    pub auth_ms: f64,
    /// Waiting for a slot.
    pub queue_ms: f64,
    /// Waiting for a connection to the upstream.
    pub connect_ms: f64,
    /// From the text sent upstream to its first audio.
    pub upstream_ms: f64,
    /// The rest: what the relay itself cost.
    pub relay_ms: f64,
}

/// A stream that has begun.
#[derive(Debug, Clone, PartialEq)]
pub struct Started {
    /// The stream's number on this session, as in tagged frames.
    pub index: u16,
    /// The upstream that speaks.
    pub provider: String,
    /// The voice.
    pub voice: String,
    /// The model, if the upstream has models.
    pub model: Option<String>,
    /// The format the client hears.
    pub format: AudioFormat,
    /// How long the stream waited for a slot, in ms.
    pub queued_ms: u64,
}

/// A stream that has ended well.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// Characters spoken (Unicode scalar values).
    pub characters: u64,
    /// Audio sent, in ms.
    pub audio_ms: u64,
    /// Audio sent, in bytes as the client hears it.
    pub bytes: u64,
    /// From the first text to the first audio, in ms; absent when there was none.
    pub first_audio_ms: Option<f64>,
    /// Where those milliseconds went.
    pub timing: Timing,
    /// The upstream that spoke last.
    pub provider: String,
    /// Times the stream moved to another link or provider after audio had gone out.
    pub resumed: u32,
}

/// A stream that was interrupted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cancelled {
    /// Audio sent, in ms.
    pub sent_ms: u64,
    /// Audio heard, in ms, where it is known.
    pub heard_ms: Option<u64>,
    /// The words heard, where it is known.
    pub heard_text: Option<String>,
    /// The text not heard, where it is known.
    pub unheard_text: Option<String>,
}

/// What the relay can tell a client.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The caller is known.
    Ready(Box<Ready>),
    /// A stream has begun.
    Started(StreamName, Box<Started>),
    /// Audio of a stream.
    Audio {
        /// The stream.
        stream: StreamName,
        /// Its number on this session.
        index: u16,
        /// The audio, in the client's format; may be empty when `last`.
        audio: Bytes,
        /// Audio bytes of this stream before this frame.
        position: u64,
        /// Whether no audio follows.
        last: bool,
        /// How the client wants it framed.
        framing: crate::request::Framing,
    },
    /// Word times.
    Words {
        /// The stream.
        stream: StreamName,
        /// The words.
        words: Vec<Word>,
        /// True when not told by the engine.
        estimated: bool,
    },
    /// A flush is complete.
    Flushed {
        /// The stream.
        stream: StreamName,
        /// The client's mark.
        mark: Option<String>,
        /// Audio sent so far, in ms.
        audio_ms: u64,
    },
    /// A stream has ended well.
    Done(StreamName, Box<Done>),
    /// A stream was interrupted.
    Cancelled(StreamName, Box<Cancelled>),
    /// Something was refused or went wrong.
    Error {
        /// The stream it is about; absent when it is about the session.
        stream: Option<StreamName>,
        /// What.
        fault: Fault,
        /// Whether no stream of that name is open any more.
        ended: bool,
    },
    /// The relay is going away; streams may run this many ms.
    Draining(u64),
}
