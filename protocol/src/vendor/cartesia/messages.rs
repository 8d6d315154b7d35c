//! What travels on Cartesia's socket, for whichever end reads or writes it.
//!
//! Sources: <https://docs.cartesia.ai/api-reference/tts/websocket> and the pages on contexts,
//! flushing and errors beside it. Unknown members are ignored and absent ones tolerated, because the
//! members differ between API versions.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One generation request: everything a client sends except a cancel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Generation<'a> {
    /// The model.
    pub model_id: &'a str,
    /// Text, joined verbatim to what came before.
    pub transcript: &'a str,
    /// The voice.
    pub voice: VoiceRef<'a>,
    /// The audio wanted.
    pub output_format: OutputFormat,
    /// Two-letter language code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<&'a str>,
    /// Names the context.
    pub context_id: &'a str,
    /// False ends the context.
    #[serde(rename = "continue")]
    pub more: bool,
    /// Speak what is buffered now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub flush: bool,
    /// How long the vendor may hold text back, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_buffer_delay_ms: Option<u64>,
    /// Whether word times are wanted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub add_timestamps: bool,
    /// Speed, volume, emotion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation_config: Option<&'a Value>,
    /// A pronunciation dictionary of the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pronunciation_dict_id: Option<&'a str>,
}

/// A voice by its id.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VoiceRef<'a> {
    /// Always `id`.
    pub mode: &'static str,
    /// The voice's id.
    pub id: &'a str,
}

/// The audio wanted. The socket speaks the `raw` container only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OutputFormat {
    /// Always `raw`.
    pub container: &'static str,
    /// `pcm_f32le`, `pcm_s16le`, `pcm_mulaw`, `pcm_alaw`.
    pub encoding: &'static str,
    /// Samples per second, in Hz.
    pub sample_rate: u32,
}

/// Stop a context: pieces that have not begun are dropped, the one being made still arrives.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cancel<'a> {
    /// Names the context.
    pub context_id: &'a str,
    /// Always true.
    pub cancel: bool,
}

/// Text that borrows from the frame unless it holds escapes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// Anything the server sends; [`ServerMessage::kind`] says which members to look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerMessage<'a> {
    /// `chunk`, `timestamps`, `phoneme_timestamps`, `flush_done`, `done`, `error`.
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    /// The context it is about; absent on errors of the socket itself.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub context_id: Option<Text<'a>>,
    /// 206 while all is well, else an HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// Base64 audio of a `chunk`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Text<'a>>,
    /// Word times of `timestamps`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub word_timestamps: Option<WordTimestamps<'a>>,
    /// Errors from version 2026-03-01 on: a name of the closed kind, for example
    /// `concurrency_limited`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<Text<'a>>,
}

/// Three arrays of equal length; times in seconds from the start of the context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WordTimestamps<'a> {
    /// The words.
    #[serde(borrow, default)]
    pub words: Vec<Text<'a>>,
    /// Starts, in seconds.
    #[serde(default)]
    pub start: Vec<f64>,
    /// Ends, in seconds.
    #[serde(default)]
    pub end: Vec<f64>,
}
