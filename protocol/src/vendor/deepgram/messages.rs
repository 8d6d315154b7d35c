//! What travels on Deepgram's sockets, for whichever end reads or writes it.
//!
//! Sources: <https://developers.deepgram.com/docs/streaming-text-to-speech> and the pages on `Flush`,
//! `Clear` and `Close` beside it; <https://developers.deepgram.com/docs/flux-tts/client-messages> and
//! `…/server-messages`. Unknown members are ignored.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Anything a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "type")]
pub enum ClientMessage<'a> {
    /// Text, joined verbatim to what came before.
    Speak {
        /// At most 2000 characters.
        text: &'a str,
    },
    /// Speak what is buffered now.
    Flush,
    /// `v1`: forget text and audio.
    Clear,
}

/// Anything the server sends as text; [`ServerMessage::kind`] says which members to look at.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ServerMessage<'a> {
    /// `v1`: `Metadata`, `Flushed`, `Cleared`, `Warning`. `v2`: `Connected`, `SpeechStarted`,
    /// `Flushed`, `SpeechMetadata`, `SpeechInterrupted`, `SessionMetadata`, `Warning`, `Error`.
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    /// The name of a warning or error.
    #[serde(borrow, default)]
    pub code: Option<Cow<'a, str>>,
    /// A warning or error in words.
    #[serde(borrow, default)]
    pub description: Option<Cow<'a, str>>,
    /// A warning in words, in another spelling.
    #[serde(borrow, default)]
    pub warn_msg: Option<Cow<'a, str>>,
}
