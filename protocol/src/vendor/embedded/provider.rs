//! The embedded voice as an upstream: no key, no network, one stream at a time on each worker.

use std::time::Duration;

use serde_json::{Map, Value};

use super::messages::{FromWorker, MAX_TEXT, SAMPLE_RATE, ToWorker, WorkerError};
use crate::provider::{Account, Capabilities, Dial, KnownVoice, Provider, ProviderCodec, Sharing};
use crate::{
    AudioFormat, Command, ContextId, Encoding, Event, Fault, FaultCode, FaultKind, Frame, FrameRef,
    SynthesisSpec, UpstreamFault,
};

/// The relay's own voice.
pub struct Embedded;

/// What `default` stands for.
const DEFAULT_VOICE: &str = "en-US";

const VOICES: &[KnownVoice] = &[
    KnownVoice { name: "default", language: "en-US" },
    KnownVoice { name: "en-US", language: "en-US" },
    KnownVoice { name: "en-GB", language: "en-GB" },
    KnownVoice { name: "de-DE", language: "de-DE" },
    KnownVoice { name: "es-ES", language: "es-ES" },
    KnownVoice { name: "fr-FR", language: "fr-FR" },
    KnownVoice { name: "it-IT", language: "it-IT" },
];

/// A setting in per cent of what is natural for the voice, with the range the engine takes.
struct Percentage {
    option: &'static str,
    least: u16,
    most: u16,
    range: &'static str,
}

const SPEED: Percentage =
    Percentage { option: "speed", least: 20, most: 500, range: "must be a whole number from 20 to 500" };
const PITCH: Percentage =
    Percentage { option: "pitch", least: 50, most: 200, range: "must be a whole number from 50 to 200" };

impl Percentage {
    fn read(&self, value: &Value) -> Result<u16, Fault> {
        value
            .as_u64()
            .and_then(|number| u16::try_from(number).ok())
            .filter(|number| (self.least..=self.most).contains(number))
            .ok_or_else(|| Fault::invalid(&format!("options.{}", self.option), self.range))
    }

    /// The setting, or the voice's own where there is none.
    fn of(&self, options: &Map<String, Value>) -> u16 {
        options.get(self.option).and_then(|value| self.read(value).ok()).unwrap_or(100)
    }
}

impl Provider for Embedded {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    fn default_url(&self) -> &'static str {
        ""
    }

    fn needs_key(&self) -> bool {
        false
    }

    fn capabilities(&self, _account: &Account) -> Capabilities {
        Capabilities {
            sharing: Sharing::Lease,
            words: false,
            // Nobody closes an idle pipe but us.
            idle: Duration::from_secs(24 * 60 * 60),
            cancel_grace: Duration::from_secs(2),
        }
    }

    fn voices(&self) -> &'static [KnownVoice] {
        VOICES
    }

    fn format(&self, _wanted: &AudioFormat) -> AudioFormat {
        AudioFormat::raw(Encoding::PcmS16le, SAMPLE_RATE)
    }

    fn validate(&self, voice: &str, options: &Map<String, Value>) -> Result<(), Fault> {
        if !VOICES.iter().any(|known| known.name == voice) {
            return Err(Fault::new(FaultCode::UnknownVoice, "the embedded engine has no voice of that name"));
        }
        for (option, value) in options {
            match option.as_str() {
                "speed" => SPEED.read(value)?,
                "pitch" => PITCH.read(value)?,
                _ => {
                    let field = format!("options.{}", shown(option));
                    return Err(Fault::invalid(&field, "not an option of the embedded voice"));
                }
            };
        }
        Ok(())
    }

    fn dial(&self, _account: &Account, _spec: &SynthesisSpec) -> Dial {
        Dial::VoiceWorker
    }

    fn codec(&self, _account: &Account, _seed: u64) -> Box<dyn ProviderCodec> {
        Box::new(EmbeddedCodec { speaking: None })
    }
}

/// The beginning of a name that a client made up.
fn shown(name: &str) -> &str {
    let end = name.char_indices().nth(40).map_or(name.len(), |(at, _)| at);
    &name[..end]
}

struct EmbeddedCodec {
    /// Whose audio the binary frames are.
    speaking: Option<ContextId>,
}

impl ProviderCodec for EmbeddedCodec {
    fn encode(&mut self, context: ContextId, command: &Command, out: &mut Vec<Frame>) {
        let ContextId(context) = context;
        match command {
            Command::Start(spec) => out.push(frame(&start(context, spec))),
            Command::Text(text) => {
                let parts = pieces(text).map(|text| frame(&ToWorker::Text { context, text: text.into() }));
                out.extend(parts);
            }
            Command::Flush => out.push(frame(&ToWorker::Flush { context })),
            Command::End => out.push(frame(&ToWorker::End { context })),
            Command::Cancel => out.push(frame(&ToWorker::Cancel { context })),
        }
    }

    fn decode(
        &mut self,
        frame: FrameRef<'_>,
        out: &mut Vec<(ContextId, Event)>,
    ) -> Result<(), UpstreamFault> {
        match frame {
            FrameRef::Binary(audio) => {
                let speaking = self.speaking.ok_or_else(|| bad("audio of no context"))?;
                if audio.len() % 2 != 0 {
                    return Err(bad("half a sample"));
                }
                out.push((speaking, Event::Audio(audio.clone())));
            }
            FrameRef::Text(text) => {
                // The parser's own message could quote text that is to be spoken.
                let message = serde_json::from_str(text).map_err(|_| bad("not a message of a worker"))?;
                out.extend(self.event(message));
            }
        }
        Ok(())
    }
}

impl EmbeddedCodec {
    fn event(&mut self, message: FromWorker) -> Option<(ContextId, Event)> {
        let (context, event) = match message {
            FromWorker::Started { context } => {
                self.speaking = Some(ContextId(context));
                return None;
            }
            FromWorker::Words { context, words } => (context, Event::Words { words, estimated: true }),
            FromWorker::Flushed { context } => (context, Event::Flushed),
            // Both say that nothing more comes and the worker can be used again.
            FromWorker::Done { context } | FromWorker::Cancelled { context } => (context, Event::Done),
            FromWorker::Error { context, kind } => (context, Event::Failed(fault(kind))),
        };
        let context = ContextId(context);
        if event.is_last() && self.speaking == Some(context) {
            self.speaking = None;
        }
        Some((context, event))
    }
}

fn start(context: u64, spec: &SynthesisSpec) -> ToWorker {
    let voice = if spec.voice == "default" { DEFAULT_VOICE } else { &spec.voice };
    ToWorker::Start {
        context,
        voice: voice.into(),
        words: spec.words,
        speed: SPEED.of(&spec.options),
        pitch: PITCH.of(&spec.options),
    }
}

/// A text in parts of at most [`MAX_TEXT`] bytes.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (piece, rest) = text.split_at(text.floor_char_boundary(MAX_TEXT));
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

fn frame(message: &ToWorker) -> Frame {
    // Numbers and strings always have a JSON form; an empty frame would be told apart by the worker.
    Frame::Text(serde_json::to_string(message).unwrap_or_default())
}

fn bad(note: &'static str) -> UpstreamFault {
    UpstreamFault::new(FaultKind::BadFrame, note)
}

fn fault(kind: WorkerError) -> UpstreamFault {
    match kind {
        WorkerError::Unspeakable => UpstreamFault::new(FaultKind::Rejected, "no sound for these letters"),
        WorkerError::UnknownVoice => UpstreamFault::new(FaultKind::Rejected, "no such voice"),
        WorkerError::Engine => UpstreamFault::new(FaultKind::ContextError, "the engine failed"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::vendor::embedded::messages::MAX_PAYLOAD;

    #[test]
    fn audio_belongs_to_the_context_last_started() {
        let mut codec = Embedded.codec(&Account::default(), 0);
        let mut out = Vec::new();
        let audio = Bytes::from_static(&[1, 2]);
        for line in [r#"{"type":"done","context":1}"#, r#"{"type":"started","context":2}"#] {
            codec.decode(FrameRef::Text(line), &mut out).unwrap();
        }
        codec.decode(FrameRef::Binary(&audio), &mut out).unwrap();
        assert_eq!(out, [(ContextId(1), Event::Done), (ContextId(2), Event::Audio(audio))]);
    }

    #[test]
    fn a_cancelled_context_is_done_and_has_no_audio_after_it() {
        let mut codec = Embedded.codec(&Account::default(), 0);
        let mut out = Vec::new();
        for line in [r#"{"type":"started","context":1}"#, r#"{"type":"cancelled","context":1}"#] {
            codec.decode(FrameRef::Text(line), &mut out).unwrap();
        }
        assert_eq!(out, [(ContextId(1), Event::Done)]);
        let late = codec.decode(FrameRef::Binary(&Bytes::from_static(&[1, 2])), &mut out).unwrap_err();
        assert_eq!(late.kind, FaultKind::BadFrame);
    }

    #[test]
    fn half_a_sample_and_unknown_messages_are_bad_frames() {
        let mut codec = Embedded.codec(&Account::default(), 0);
        let mut out = Vec::new();
        codec.decode(FrameRef::Text(r#"{"type":"started","context":1}"#), &mut out).unwrap();
        for frame in [FrameRef::Binary(&Bytes::from_static(&[1])), FrameRef::Text("{}"), FrameRef::Text("x")]
        {
            assert_eq!(codec.decode(frame, &mut out).unwrap_err().kind, FaultKind::BadFrame);
        }
        assert!(out.is_empty());
    }

    #[test]
    fn long_text_travels_whole_in_frames_that_fit() {
        let text = "\u{1}\u{20ac}".repeat(10_000);
        let mut frames = Vec::new();
        Embedded.codec(&Account::default(), 0).encode(
            ContextId(1),
            &Command::Text(text.clone()),
            &mut frames,
        );
        assert!(frames.iter().all(|frame| frame.len() <= MAX_PAYLOAD));
        let parts = frames.iter().map(|frame| match frame {
            Frame::Text(json) => match serde_json::from_str(json) {
                Ok(ToWorker::Text { context: 1, text }) => text,
                other => panic!("{other:?}"),
            },
            Frame::Binary(_) => panic!("audio for a worker"),
        });
        assert_eq!(parts.collect::<String>(), text);
    }

    #[test]
    fn a_start_names_an_engine_voice_and_carries_the_options() {
        let options = json!({"speed": 150}).as_object().cloned().unwrap();
        let spec = SynthesisSpec {
            voice: "default".into(),
            model: None,
            language: None,
            format: Embedded.format(&AudioFormat::default()),
            words: true,
            options,
        };
        let expected =
            ToWorker::Start { context: 9, voice: "en-US".into(), words: true, speed: 150, pitch: 100 };
        assert_eq!(start(9, &spec), expected);
    }

    #[test]
    fn unknown_voices_and_options_are_refused_by_name() {
        let check = |voice, options: Value| Embedded.validate(voice, options.as_object().unwrap());
        assert_eq!(check("nobody", json!({})).unwrap_err().code, FaultCode::UnknownVoice);
        for (options, field) in [
            (json!({"speed": 19}), "options.speed"),
            (json!({"speed": "fast"}), "options.speed"),
            (json!({"pitch": 100.5}), "options.pitch"),
            (json!({"volume": 1}), "options.volume"),
        ] {
            let fault = check("default", options).unwrap_err();
            assert_eq!(fault.code, FaultCode::InvalidRequest);
            assert!(fault.detail.starts_with(field), "{}", fault.detail);
        }
        check("de-DE", json!({"speed": 500, "pitch": 50})).unwrap();
    }
}
