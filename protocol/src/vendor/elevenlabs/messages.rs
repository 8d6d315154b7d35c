//! What travels on ElevenLabs' sockets, for whichever end reads or writes it.
//!
//! Sources: <https://elevenlabs.io/docs/api-reference/text-to-speech/v-1-text-to-speech-voice-id-stream-input>
//! and `…-multi-stream-input` beside it. The pages, the vendor's packages and real answers spell some
//! members differently; every spelling that is known of is read.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Anything a client sends; absent members are not written.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ClientMessage<'a> {
    /// Text, joined verbatim to what came before. One space opens; empty text keeps a context alive on
    /// `multi-stream-input` and ends the stream on `stream-input`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<&'a str>,
    /// Names the context; only on `multi-stream-input`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_id: Option<&'a str>,
    /// How the voice speaks; only in a context's first message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice_settings: Option<&'a Value>,
    /// When text is generated; only in a context's first message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation_config: Option<&'a Value>,
    /// Pronunciation dictionaries of the account; only in a context's first message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pronunciation_dictionary_locators: Option<&'a Value>,
    /// Speak what is buffered now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub flush: bool,
    /// No more of this context: what is buffered is dropped, what was flushed is still spoken.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub close_context: bool,
}

/// Text that borrows from the frame unless it holds escapes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// Anything the server sends: audio, the end of a context, the answer to a flush, or an error.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServerMessage<'a> {
    /// Absent on most messages; `flush_done` on the answer to a flush.
    #[serde(rename = "type", borrow)]
    pub kind: Option<Text<'a>>,
    /// Base64 audio.
    #[serde(borrow)]
    pub audio: Option<Text<'a>>,
    /// The context, as documented.
    #[serde(rename = "contextId", borrow)]
    pub context: Option<Text<'a>>,
    /// The context, as it also comes.
    #[serde(rename = "context_id", borrow)]
    pub context_too: Option<Text<'a>>,
    /// Nothing more comes for the context.
    #[serde(rename = "isFinal")]
    pub last: Option<bool>,
    /// The same, as an example of the documentation has it.
    #[serde(rename = "is_final")]
    pub last_too: Option<bool>,
    /// Times of the text as it was sent.
    #[serde(borrow)]
    pub alignment: Option<Alignment<'a>>,
    /// Times of the text as it is spoken, numbers written out.
    #[serde(rename = "normalizedAlignment", borrow)]
    pub normalized: Option<Alignment<'a>>,
    /// The name of an error.
    pub error: Option<Value>,
    /// An error in words.
    pub message: Option<Value>,
    /// The close code that follows an error.
    pub code: Option<Value>,
}

impl ServerMessage<'_> {
    /// The name of its context, however it is spelt.
    #[must_use]
    pub fn context(&self) -> Option<&str> {
        self.context.as_ref().or(self.context_too.as_ref()).map(|name| &*name.0)
    }

    /// Whether it ends its context.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.last == Some(true) || self.last_too == Some(true)
    }

    /// Whether it tells of an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        let told = self.message.is_some() && self.audio.is_none() && !self.is_last() && self.kind.is_none();
        self.error.is_some() || self.code.is_some() || told
    }
}

/// Three arrays of equal length; times in ms from the start of the audio they come with. An entry of
/// `chars` may hold more than one character.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Alignment<'a> {
    /// The characters.
    #[serde(borrow)]
    pub chars: Vec<Text<'a>>,
    /// Starts, in ms.
    #[serde(rename = "charStartTimesMs")]
    pub starts: Option<Vec<f64>>,
    /// Starts, in another spelling.
    #[serde(rename = "charsStartTimesMs")]
    pub starts_too: Option<Vec<f64>>,
    /// Durations, in ms.
    #[serde(rename = "charDurationsMs")]
    pub durations: Option<Vec<f64>>,
    /// Durations, as the documentation spells them.
    #[serde(rename = "charsDurationsMs")]
    pub durations_too: Option<Vec<f64>>,
}

impl Alignment<'_> {
    /// Starts and durations, in ms, where both are there and each character has its own.
    #[must_use]
    pub fn times(&self) -> Option<(&[f64], &[f64])> {
        let starts = self.starts.as_ref().or(self.starts_too.as_ref())?;
        let durations = self.durations.as_ref().or(self.durations_too.as_ref())?;
        let whole = starts.len() == self.chars.len() && durations.len() == self.chars.len();
        whole.then_some((starts, durations))
    }
}
