//! The relay's messages, shared by both ends.

use serde::{Deserialize, Serialize};

use crate::{AudioFormat, Fault, Reply, Word};

/// What the relay says. Audio in `raw` and `tagged` frames is binary and not a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs)] // the fields are the contract's; the README of this crate tells them all
pub enum ServerMessage {
    /// The caller is known.
    Ready {
        session: String,
        request_id: String,
        key: Option<String>,
        org: String,
        limits: LimitsMessage,
        version: String,
    },
    /// A stream has begun.
    Started {
        stream: String,
        index: u16,
        provider: String,
        voice: String,
        model: Option<String>,
        format: AudioFormat,
        queued_ms: u64,
    },
    /// Audio of a stream with `json` frames.
    Audio { stream: String, audio: String, position: u64 },
    /// Word times.
    Words { stream: String, words: Vec<Word>, estimated: bool },
    /// A flush is complete.
    Flushed {
        stream: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mark: Option<String>,
        audio_ms: u64,
    },
    /// A stream has ended well.
    Done {
        stream: String,
        characters: u64,
        audio_ms: u64,
        bytes: u64,
        first_audio_ms: Option<f64>,
        timing: TimingMessage,
        provider: String,
        resumed: u32,
    },
    /// A stream was interrupted.
    Cancelled {
        stream: String,
        sent_ms: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        heard_ms: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        heard_text: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unheard_text: Option<String>,
    },
    /// Something was refused or went wrong.
    Error {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stream: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended: Option<bool>,
        #[serde(flatten)]
        problem: Problem,
    },
    /// The relay is going away.
    Draining { deadline_ms: u64 },
}

/// The caller's limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct LimitsMessage {
    pub streams: u64,
    pub session_streams: u64,
    pub characters_per_stream: u64,
}

/// Where the milliseconds went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct TimingMessage {
    pub auth_ms: f64,
    pub queue_ms: f64,
    pub connect_ms: f64,
    pub upstream_ms: f64,
    pub relay_ms: f64,
}

/// The members of an error (RFC 9457). Over HTTP the URI is the member `type`; in a WebSocket
/// message `type` is taken, and the URI is `problem`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Problem {
    #[serde(rename = "problem")]
    pub uri: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    pub code: String,
    pub request_id: String,
    pub retryable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_ms: Option<u64>,
}

impl Problem {
    /// A fault as told to a client.
    #[must_use]
    pub fn of(fault: &Fault, request_id: &str) -> Self {
        Self {
            uri: format!("urn:voxrelay:problem:{}", fault.code.as_str()),
            title: fault.code.title().to_owned(),
            status: fault.code.status(),
            detail: fault.detail.to_string(),
            code: fault.code.as_str().to_owned(),
            request_id: request_id.to_owned(),
            retryable: fault.retryable,
            retry_after_ms: fault.retry_after_ms,
            limit: fault.quota.map(|quota| quota.limit),
            used: fault.quota.map(|quota| quota.used),
            scope: fault.quota.map(|quota| quota.scope.as_str().to_owned()),
            sent_ms: fault.sent_ms,
        }
    }

    /// The same as an `application/problem+json` body.
    #[must_use]
    pub fn http_body(&self) -> String {
        let mut members = match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(members)) => members,
            _ => serde_json::Map::new(),
        };
        if let Some(uri) = members.remove("problem") {
            members.insert("type".to_owned(), uri);
        }
        serde_json::Value::Object(members).to_string()
    }
}

impl ServerMessage {
    /// A reply as a message.
    #[must_use]
    pub fn of(reply: &Reply, request_id: &str) -> Self {
        match reply {
            Reply::Ready(ready) => Self::Ready {
                session: ready.session.clone(),
                request_id: ready.request_id.clone(),
                key: ready.key.clone(),
                org: ready.org.clone(),
                limits: LimitsMessage {
                    streams: ready.limits.streams,
                    session_streams: ready.limits.session_streams,
                    characters_per_stream: ready.limits.characters_per_stream,
                },
                version: ready.version.clone(),
            },
            Reply::Started(stream, started) => Self::Started {
                stream: stream.to_string(),
                index: started.index,
                provider: started.provider.clone(),
                voice: started.voice.clone(),
                model: started.model.clone(),
                format: started.format,
                queued_ms: started.queued_ms,
            },
            Reply::Audio { stream, position, audio, .. } => {
                use base64::Engine as _;
                let audio = base64::engine::general_purpose::STANDARD.encode(audio);
                Self::Audio { stream: stream.to_string(), audio, position: *position }
            }
            Reply::Words { stream, words, estimated } => {
                Self::Words { stream: stream.to_string(), words: words.clone(), estimated: *estimated }
            }
            Reply::Flushed { stream, mark, audio_ms } => {
                Self::Flushed { stream: stream.to_string(), mark: mark.clone(), audio_ms: *audio_ms }
            }
            Reply::Done(stream, done) => Self::Done {
                stream: stream.to_string(),
                characters: done.characters,
                audio_ms: done.audio_ms,
                bytes: done.bytes,
                first_audio_ms: done.first_audio_ms,
                timing: TimingMessage {
                    auth_ms: done.timing.auth_ms,
                    queue_ms: done.timing.queue_ms,
                    connect_ms: done.timing.connect_ms,
                    upstream_ms: done.timing.upstream_ms,
                    relay_ms: done.timing.relay_ms,
                },
                provider: done.provider.clone(),
                resumed: done.resumed,
            },
            Reply::Cancelled(stream, cancelled) => Self::Cancelled {
                stream: stream.to_string(),
                sent_ms: cancelled.sent_ms,
                heard_ms: cancelled.heard_ms,
                heard_text: cancelled.heard_text.clone(),
                unheard_text: cancelled.unheard_text.clone(),
            },
            Reply::Error { stream, fault, ended } => Self::Error {
                stream: stream.as_ref().map(ToString::to_string),
                ended: stream.as_ref().map(|_| *ended),
                problem: Problem::of(fault, request_id),
            },
            Reply::Draining(deadline_ms) => Self::Draining { deadline_ms: *deadline_ms },
        }
    }
}
