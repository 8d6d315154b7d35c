//! A client's end of the native protocol, for `voxrelay say`, load generators and client code.

use serde::Serialize;

use crate::{AudioFormat, Frame};

/// What a client says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs)] // the fields are the contract's; the README of this crate tells them all
pub enum ClientMessage<'a> {
    /// Who is calling, when no header said it.
    Auth { token: &'a str },
    /// Open a stream.
    Start {
        stream: &'a str,
        voice: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        provider: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        format: Option<AudioFormat>,
        #[serde(skip_serializing_if = "Option::is_none")]
        language: Option<&'a str>,
        words: bool,
        frames: &'static str,
    },
    /// Append text exactly as given.
    Text { stream: &'a str, text: &'a str },
    /// Speak what is buffered now.
    Flush {
        stream: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        mark: Option<&'a str>,
    },
    /// No more text.
    End { stream: &'a str },
    /// Stop now.
    Cancel {
        stream: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        played_ms: Option<u64>,
    },
}

impl ClientMessage<'_> {
    /// The message as a frame.
    #[must_use]
    pub fn frame(&self) -> Frame {
        // Nothing here can fail to serialise: string keys and plain values.
        Frame::Text(serde_json::to_string(self).unwrap_or_default())
    }
}
