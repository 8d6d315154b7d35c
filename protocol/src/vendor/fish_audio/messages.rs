//! What travels on Fish Audio's live socket, for whichever end reads or writes it: each binary frame is
//! one MessagePack map.
//!
//! Sources: <https://docs.fish.audio/api-reference/endpoint/websocket/tts-live> and, for the socket with
//! word times,
//! <https://docs.fish.audio/api-reference/endpoint/openapi-v1/text-to-speech-live-with-timestamps>.
//! Unknown events and members are ignored.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Anything a client sends.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum ClientEvent<'a> {
    /// Begin a run.
    Start {
        /// How it is to sound.
        request: Request<'a>,
    },
    /// Append text, joined verbatim to what came before.
    Text {
        /// The text.
        text: &'a str,
    },
    /// Speak what is buffered now. Not answered.
    Flush,
    /// No more text: what is left is spoken, then `finish` comes.
    Stop,
}

/// How a run is to sound: the same as the body of the vendor's HTTP request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request<'a> {
    /// Empty: the text comes in events of its own.
    pub text: &'a str,
    /// The voice.
    pub reference_id: &'a str,
    /// `pcm`: 16-bit little-endian, mono.
    pub format: &'static str,
    /// In Hz.
    pub sample_rate: u32,
    /// `normal`, `balanced` or `low`.
    pub latency: &'a str,
    /// Speed and loudness.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prosody: Option<Map<String, Value>>,
    /// Everything else a client may set.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// Anything the server sends; [`ServerEvent::event`] says which members to look at.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ServerEvent<'a> {
    /// `audio`, `finish`, `error`, `log`.
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    /// Audio bytes of `audio`; may be empty.
    #[serde(borrow, default)]
    pub audio: Option<&'a serde_bytes::Bytes>,
    /// Of `finish`: `stop` or `error`.
    #[serde(borrow, default)]
    pub reason: Cow<'a, str>,
    /// The vendor's words about an `error`.
    #[serde(default)]
    pub error: Option<String>,
    /// Of an `error` for too many runs at once: how many there may be.
    #[serde(default)]
    pub max_concurrency: Option<f64>,
    /// Word times of the chunk so far; takes the place of what was told of it before.
    #[serde(default)]
    pub alignment: Option<Alignment>,
    /// Which chunk the alignment is of; never decreases.
    #[serde(default)]
    pub chunk_seq: Option<u64>,
    /// Where that chunk begins in the run, in seconds.
    #[serde(default)]
    pub chunk_audio_offset_sec: Option<f64>,
}

/// Word times of one chunk.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Alignment {
    /// The words, in order.
    #[serde(default)]
    pub segments: Vec<Segment>,
}

/// One word; times in seconds from the start of its chunk.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Segment {
    /// The word, without punctuation.
    pub text: String,
    /// Start, in seconds.
    pub start: f64,
    /// End, in seconds.
    pub end: f64,
}

/// A message as a frame; `None` only for what has no MessagePack form.
#[must_use]
pub fn pack(message: &impl Serialize) -> Option<Bytes> {
    rmp_serde::to_vec_named(message).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_is_bin_and_an_array_is_none() {
        // {"event": "audio", "audio": bin(2)} and the same with an array of two numbers.
        let head = b"\x82\xa5event\xa5audio\xa5audio";
        let bin = [&head[..], b"\xc4\x02\x01\x02"].concat();
        let event: ServerEvent<'_> = rmp_serde::from_slice(&bin).unwrap();
        assert_eq!(event.audio.map(|audio| audio.to_vec()), Some(vec![1, 2]));
        let array = [&head[..], b"\x92\x01\x02"].concat();
        assert!(rmp_serde::from_slice::<ServerEvent<'_>>(&array).is_err());
    }

    #[test]
    fn events_are_maps_with_names() {
        assert_eq!(pack(&ClientEvent::Stop).unwrap(), &b"\x81\xa5event\xa4stop"[..]);
        let text = pack(&ClientEvent::Text { text: "a" }).unwrap();
        assert_eq!(text, &b"\x82\xa5event\xa4text\xa4text\xa1a"[..]);
    }
}
