//! Recorded conversations with a vendor: what was commanded, what was sent, what came back, what it
//! meant. One file is a pure test of a codec, the script of a fake vendor, and the load of a bench.
//!
//! A transcript is a file of lines, each one JSON object; blank lines are skipped.
//!
//! | line | meaning |
//! |---|---|
//! | `{"about": "…", "source": "…", "api": "…"}` | first line: what it shows, where the facts come from, and which of the vendor's protocols it is (left out where there is one) |
//! | `{"context": 1, "command": …}` | the relay wants this: `{"start": {…}}`, `{"text": "…"}`, `"flush"`, `"end"`, `"cancel"` |
//! | `{"send": …}` | the frame that goes to the vendor because of it |
//! | `{"receive": …, "after_ms": 40}` | a frame from the vendor, so many ms after the line before |
//! | `{"context": 1, "event": …}` | what that means: `{"audio": "<base64>"}`, `{"words": […], "estimated": false}`, `"flushed"`, `"done"`, `{"failed": "<kind>"}`; `"context": null` for a stranger's |
//! | `{"close": {"code": 1008, "reason": "…"}}` | the vendor closes (1005: without a code); without a fault behind it, a closing like any other |
//! | `{"fault": "<kind>"}` | the frame is refused, or the whole connection is in error |
//!
//! A frame is `{"json": <value>}` (text; compared as JSON), `{"text": "…"}` (text, byte for byte) or
//! `{"binary": "<base64>"}`. `send` lines follow the command they come from, in order and with nothing
//! missing; so do `event` and `fault` lines after a `receive`. An answer may also set
//! frames free that waited for it, a command be answered without a frame, and a close be an end: then `send`
//! lines follow a `receive`, and `event` lines a command or a close. Context names are those of a codec with
//! seed 0.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{AudioFormat, Command, ContextId, Event, FaultKind, Frame, SynthesisSpec, UpstreamFault, Word};

/// A recorded conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Transcript {
    /// What it shows.
    pub about: String,
    /// Where its facts come from.
    pub source: String,
    /// Which of the vendor's wire protocols, see [`crate::provider::Provider::apis`]; empty for the default.
    pub api: String,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One line of a transcript.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The relay wants something of a context.
    Command(ContextId, Command),
    /// A frame goes to the vendor.
    Send(Payload),
    /// A frame comes from the vendor, so many ms after the step before.
    Receive(Payload, u64),
    /// What the frame before means. A failure's note is empty.
    Event(ContextId, Event),
    /// The vendor closes, with this code and reason.
    Close(u16, String),
    /// The frame before is refused, or the connection is in error.
    Fault(FaultKind),
}

/// A frame as a transcript writes it.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// A text frame holding this JSON.
    Json(Value),
    /// Any other frame.
    Exact(Frame),
}

impl Payload {
    /// The frame to put on the wire.
    #[must_use]
    pub fn frame(&self) -> Frame {
        match self {
            Self::Json(value) => Frame::Text(value.to_string()),
            Self::Exact(frame) => frame.clone(),
        }
    }

    /// Whether `frame` says the same; JSON may be written in any order and spacing.
    #[must_use]
    pub fn matches(&self, frame: &Frame) -> bool {
        match (self, frame) {
            (Self::Json(value), Frame::Text(text)) => serde_json::from_str(text).ok().as_ref() == Some(value),
            (Self::Json(_), Frame::Binary(_)) => false,
            (Self::Exact(exact), frame) => exact == frame,
        }
    }
}

/// Why a transcript cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct TranscriptError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

impl Transcript {
    /// Reads a whole file.
    ///
    /// # Errors
    /// The first line that is not of the form described at the head of this module.
    pub fn parse(text: &str) -> Result<Self, TranscriptError> {
        let mut lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(i, line)| (i + 1, line));
        let (first, head) = lines.next().unwrap_or((1, ""));
        let Head { about, source, api } = read(first, head)?;
        let steps = lines
            .map(|(line, text)| {
                let raw: Line = read(line, text)?;
                raw.step().ok_or_else(|| error(line, "not a step"))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { about, source, api, steps })
    }
}

fn read<'a, T: Deserialize<'a>>(line: usize, text: &'a str) -> Result<T, TranscriptError> {
    serde_json::from_str(text).map_err(|problem| error(line, &problem.to_string()))
}

fn error(line: usize, problem: &str) -> TranscriptError {
    TranscriptError { line, problem: problem.to_owned() }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    about: String,
    source: String,
    #[serde(default)]
    api: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    context: Option<u64>,
    command: Option<RawCommand>,
    send: Option<RawPayload>,
    receive: Option<RawPayload>,
    #[serde(default)]
    after_ms: u64,
    event: Option<RawEvent>,
    close: Option<RawClose>,
    fault: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClose {
    code: u16,
    reason: String,
}

impl Line {
    fn step(self) -> Option<Step> {
        let context = self.context.map_or(ContextId::FOREIGN, ContextId);
        if let Some(close) = self.close {
            return Some(Step::Close(close.code, close.reason));
        }
        match (self.command, self.send, self.receive, self.event, self.fault) {
            (Some(command), None, None, None, None) => Some(Step::Command(context, command.command())),
            (None, Some(payload), None, None, None) => Some(Step::Send(payload.payload()?)),
            (None, None, Some(payload), None, None) => Some(Step::Receive(payload.payload()?, self.after_ms)),
            (None, None, None, Some(event), None) => Some(Step::Event(context, event.event()?)),
            (None, None, None, None, Some(name)) => Some(Step::Fault(kind(&name)?)),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawCommand {
    Start(RawSpec),
    Text(String),
    Flush,
    End,
    Cancel,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSpec {
    voice: String,
    model: Option<String>,
    language: Option<String>,
    #[serde(default)]
    format: AudioFormat,
    #[serde(default)]
    words: bool,
    #[serde(default)]
    options: Map<String, Value>,
}

impl RawCommand {
    fn command(self) -> Command {
        match self {
            Self::Start(RawSpec { voice, model, language, format, words, options }) => {
                Command::Start(Box::new(SynthesisSpec { voice, model, language, format, words, options }))
            }
            Self::Text(text) => Command::Text(text),
            Self::Flush => Command::Flush,
            Self::End => Command::End,
            Self::Cancel => Command::Cancel,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawPayload {
    Json(Value),
    Text(String),
    Binary(String),
}

impl RawPayload {
    fn payload(self) -> Option<Payload> {
        Some(match self {
            Self::Json(value) => Payload::Json(value),
            Self::Text(text) => Payload::Exact(Frame::Text(text)),
            Self::Binary(base64) => Payload::Exact(Frame::Binary(bytes(&base64)?)),
        })
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawEvent {
    Name(String),
    Audio { audio: String },
    Words { words: Vec<Word>, estimated: bool },
    Failed { failed: String },
}

impl RawEvent {
    fn event(self) -> Option<Event> {
        Some(match self {
            Self::Name(name) if name == "flushed" => Event::Flushed,
            Self::Name(name) if name == "done" => Event::Done,
            Self::Name(_) => return None,
            Self::Audio { audio } => Event::Audio(bytes(&audio)?),
            Self::Words { words, estimated } => Event::Words { words, estimated },
            Self::Failed { failed } => Event::Failed(UpstreamFault::new(kind(&failed)?, "")),
        })
    }
}

fn bytes(base64: &str) -> Option<Bytes> {
    BASE64_STANDARD.decode(base64).ok().map(Bytes::from)
}

fn kind(name: &str) -> Option<FaultKind> {
    FaultKind::ALL.into_iter().find(|kind| kind.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_a_step_is_named() {
        let head = r#"{"about": "a", "source": "s"}"#;
        for (line, text) in [
            (1, String::new()),
            (1, "{}".to_owned()),
            (2, format!("{head}\n{{\"context\": 1}}")),
            (3, format!("{head}\n\n{{\"fault\": \"no_such_kind\"}}")),
            (2, format!("{head}\n{{\"sned\": {{\"text\": \"\"}}}}")),
        ] {
            assert_eq!(Transcript::parse(&text).unwrap_err().line, line, "{text}");
        }
    }

    #[test]
    fn json_frames_are_compared_as_json() {
        let payload = Payload::Json(serde_json::json!({"a": 1, "b": 2}));
        assert!(payload.matches(&Frame::Text(r#"{ "b":2, "a":1 }"#.into())));
        assert!(!payload.matches(&Frame::Text(r#"{"a":1}"#.into())));
    }
}
