//! What travels on Rime's sockets, for whichever end reads or writes it.
//!
//! Sources: <https://docs.rime.ai/docs/websockets> and the reference pages beside it for `/ws3`, `/ws2`
//! and `/ws`; <https://docs.rime.ai/api-reference/coda/websocket-v1> and the schema in
//! <https://github.com/rimelabs/rime-api> for v1. Unknown members are ignored.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Text for `/ws3` and `/ws2`, joined verbatim to what came before.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Say<'a> {
    /// The text.
    pub text: &'a str,
    /// Names what is said from here on; it sticks until another comes.
    #[serde(rename = "contextId")]
    pub context_id: &'a str,
}

/// An operation on `/ws3` and `/ws2`: `flush`, `clear`, `eos`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Operation {
    /// Which.
    pub operation: &'static str,
}

/// Commands on `/ws`: frames of their own among those of text.
pub mod plain {
    /// Drop what has not been synthesised.
    pub const CLEAR: &str = "<CLEAR>";
    /// Synthesise what is buffered.
    pub const FLUSH: &str = "<FLUSH>";
    /// Synthesise what is buffered, then close.
    pub const EOS: &str = "<EOS>";
}

/// Anything the server sends on `/ws3` and `/ws2`; [`ServerMessage::kind`] says which members to look
/// at.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ServerMessage<'a> {
    /// `chunk`, `timestamps`, `done`, `error`.
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    /// What it is about; `null` before any name was given, absent on errors.
    #[serde(rename = "contextId", default)]
    pub context_id: Option<String>,
    /// Base64 audio of a `chunk`.
    #[serde(borrow, default)]
    pub data: Cow<'a, str>,
    /// Word times of `timestamps`.
    #[serde(default)]
    pub word_timestamps: Option<WordTimestamps>,
    /// The vendor's words about an `error`.
    #[serde(borrow, default)]
    pub message: Cow<'a, str>,
}

/// Three arrays of equal length; times in seconds from the start of the current synthesis.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct WordTimestamps {
    /// The words.
    pub words: Vec<String>,
    /// Starts, in seconds.
    pub start: Vec<f64>,
    /// Ends, in seconds.
    pub end: Vec<f64>,
}

/// What a client sends on v1: one member beside the name of the context.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct V1Request<'a> {
    /// At most 128 bytes.
    pub context_id: &'a str,
    /// What is asked.
    #[serde(flatten)]
    pub ask: V1Ask<'a>,
}

/// What a client asks on v1.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum V1Ask<'a> {
    /// Open the context.
    Start(V1Start<'a>),
    /// Append text.
    Text(&'a str),
    /// End of input.
    End {},
    /// Abort at once.
    Cancel {},
}

/// How a context of v1 is to sound.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct V1Start<'a> {
    /// The voice.
    pub speaker: &'a str,
    /// Its language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<&'a str>,
    /// Empty: the text streams.
    pub text: &'a str,
    /// The audio wanted.
    pub audio_parameters: V1Audio<'a>,
    /// When synthesis begins.
    pub split_strategy: &'a str,
    /// Whether word times are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamps: Option<V1Timestamps>,
    /// Settings of the Mist models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mist_parameters: Option<Map<String, Value>>,
}

/// The audio of a v1 context.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct V1Audio<'a> {
    /// `audio/pcm` (16-bit little-endian) or `audio/pcmu`.
    pub audio_format: &'a str,
    /// In Hz.
    pub sampling_rate: u32,
    /// Above 1 is slower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_scale_factor: Option<f64>,
}

/// The wish for word times.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct V1Timestamps {
    /// Always true.
    pub enable: bool,
}

/// Anything the server sends on v1; one member beside the name of the context.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct V1Message<'a> {
    /// What it is about; empty for the connection itself.
    #[serde(borrow, default)]
    pub context_id: Cow<'a, str>,
    /// The first frame: contexts may be opened.
    #[serde(default)]
    pub ready: Option<IgnoredAny>,
    /// Base64 audio.
    #[serde(borrow, default)]
    pub audio: Cow<'a, str>,
    /// The context has ended.
    #[serde(default)]
    pub done: Option<V1Done>,
    /// The context has been aborted.
    #[serde(default)]
    pub cancelled: Option<IgnoredAny>,
    /// The context, or the connection, cannot go on.
    #[serde(default)]
    pub error: Option<V1Error>,
}

/// The end of a v1 context.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct V1Done {
    /// Word times of the whole context, if they were wanted and could be had.
    #[serde(default)]
    pub timestamps: Option<V1Spans>,
}

/// Word times of a v1 context.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct V1Spans {
    /// The words, in order.
    #[serde(default)]
    pub spans: Vec<V1Span>,
}

/// One word of a v1 context; times like `0.4s`, before `timeScaleFactor` is applied.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct V1Span {
    /// The word.
    #[serde(default)]
    pub text: String,
    /// From the start of the context.
    #[serde(default)]
    pub start: String,
    /// From the start of the context.
    #[serde(default)]
    pub end: String,
}

/// An error on v1.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct V1Error {
    /// For example `invalid_input`.
    #[serde(default)]
    pub kind: String,
}
