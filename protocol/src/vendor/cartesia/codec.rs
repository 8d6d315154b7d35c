//! Cartesia's wire, translated for one link.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::Simd;
use base64::engine::general_purpose::PAD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::messages::{Cancel, Generation, OutputFormat, ServerMessage, VoiceRef, WordTimestamps};
use super::options;
use crate::provider::ProviderCodec;
use crate::{
    Command, ContextId, Encoding, Event, FaultKind, Frame, FrameRef, SynthesisSpec, UpstreamFault, Word,
};

/// The model when a voice names none.
const DEFAULT_MODEL: &str = "sonic-3";
/// No context lasts longer than this; a later word time is nonsense.
const LATEST_WORD_MS: f64 = 24.0 * 3_600_000.0;

/// The state of one connection: what each open context was started with.
pub struct CartesiaCodec {
    prefix: String,
    base64: Simd,
    contexts: HashMap<ContextId, Open>,
}

struct Open {
    spec: Box<SynthesisSpec>,
    generation: Option<Value>,
    sample_bytes: usize,
    flushes: u32,
    last_word_ms: u64,
}

impl CartesiaCodec {
    /// A codec whose context names are `vr-<seed>-<number>`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { prefix: format!("vr-{seed:016x}-"), base64: Simd::standard(PAD), contexts: HashMap::new() }
    }

    fn name(&self, context: ContextId) -> String {
        format!("{}{}", self.prefix, context.0)
    }

    fn parse(&self, name: &str) -> ContextId {
        let number = name.strip_prefix(self.prefix.as_str()).and_then(|number| number.parse().ok());
        number.map_or(ContextId::FOREIGN, ContextId)
    }

    fn generation(&self, context: ContextId, text: &str, more: bool, flush: bool) -> Option<Frame> {
        let open = self.contexts.get(&context)?;
        let spec = &open.spec;
        json(&Generation {
            model_id: spec.model.as_deref().unwrap_or(DEFAULT_MODEL),
            transcript: text,
            voice: VoiceRef { mode: "id", id: &spec.voice },
            output_format: OutputFormat {
                container: "raw",
                encoding: encoding_name(spec.format.encoding),
                sample_rate: spec.format.sample_rate,
            },
            language: spec.language.as_deref(),
            context_id: &self.name(context),
            more,
            flush,
            max_buffer_delay_ms: spec.options.get("max_buffer_delay_ms").and_then(Value::as_u64),
            add_timestamps: spec.words,
            generation_config: open.generation.as_ref(),
            pronunciation_dict_id: spec.options.get("pronunciation_dict_id").and_then(Value::as_str),
        })
    }

    fn audio(&self, context: ContextId, message: &ServerMessage<'_>) -> Result<Event, UpstreamFault> {
        let data = message.data.as_ref().ok_or_else(|| bad("a chunk without data"))?;
        let audio = self.base64.decode(data.0.as_bytes()).map_err(|_| bad("audio is not base64"))?;
        let sample = self.contexts.get(&context).map_or(1, |open| open.sample_bytes);
        if audio.len() % sample != 0 {
            return Err(bad("audio ends within a sample"));
        }
        Ok(Event::Audio(Bytes::from(audio)))
    }

    fn words(&mut self, context: ContextId, times: &WordTimestamps<'_>) -> Result<Event, UpstreamFault> {
        if times.words.len() != times.start.len() || times.words.len() != times.end.len() {
            return Err(bad("word times of unequal length"));
        }
        let mut last = self.contexts.get(&context).map_or(0, |open| open.last_word_ms);
        let mut words = Vec::with_capacity(times.words.len());
        for (index, text) in times.words.iter().enumerate() {
            let start_ms = ms(times.start[index])?.max(last);
            let end_ms = ms(times.end[index])?.max(start_ms);
            last = start_ms;
            words.push(Word { text: text.0.as_ref().to_owned(), start_ms, end_ms });
        }
        if let Some(open) = self.contexts.get_mut(&context) {
            open.last_word_ms = last;
        }
        Ok(Event::Words { words, estimated: false })
    }

    /// A `flush_done` that answers no flush of ours is not an event.
    fn flushed(&mut self, context: ContextId) -> Option<Event> {
        let open = self.contexts.get_mut(&context)?;
        open.flushes = open.flushes.checked_sub(1)?;
        Some(Event::Flushed)
    }
}

impl ProviderCodec for CartesiaCodec {
    fn encode(&mut self, context: ContextId, command: &Command, out: &mut Vec<Frame>) {
        let frame = match command {
            Command::Start(spec) => {
                self.contexts.insert(context, Open::new(spec));
                None
            }
            Command::Text(text) if text.is_empty() => None,
            Command::Text(text) => self.generation(context, text, true, false),
            Command::Flush => {
                if let Some(open) = self.contexts.get_mut(&context) {
                    open.flushes += 1;
                }
                self.generation(context, "", true, true)
            }
            Command::End => self.generation(context, "", false, false),
            Command::Cancel => {
                self.contexts.remove(&context);
                json(&Cancel { context_id: &self.name(context), cancel: true })
            }
        };
        out.extend(frame);
    }

    fn decode(
        &mut self,
        frame: FrameRef<'_>,
        out: &mut Vec<(ContextId, Event)>,
    ) -> Result<(), UpstreamFault> {
        let FrameRef::Text(text) = frame else {
            return Err(bad("binary where text is due"));
        };
        let message: ServerMessage<'_> = serde_json::from_str(text).map_err(|_| bad("not a message"))?;
        let context = message.context_id.as_ref().map(|name| self.parse(&name.0));
        if message.kind == "error" {
            let fault = error_fault(&message);
            // Without a context the error is the socket's own.
            let context = context.ok_or_else(|| fault.clone())?;
            self.contexts.remove(&context);
            out.push((context, Event::Failed(fault)));
            return Ok(());
        }
        let context = context.ok_or_else(|| bad("a message without a context"))?;
        let event = match &*message.kind {
            "chunk" => Some(self.audio(context, &message)?),
            "timestamps" => match &message.word_timestamps {
                Some(times) => Some(self.words(context, times)?),
                None => None,
            },
            "flush_done" => self.flushed(context),
            "done" => {
                self.contexts.remove(&context);
                Some(Event::Done)
            }
            // Types of later versions, and phoneme times nobody asked for.
            _ => None,
        };
        out.extend(event.map(|event| (context, event)));
        Ok(())
    }
}

impl Open {
    fn new(spec: &SynthesisSpec) -> Self {
        Self {
            spec: Box::new(spec.clone()),
            generation: options::generation_config(&spec.options),
            sample_bytes: spec.format.encoding.sample_bytes().unwrap_or(1),
            flushes: 0,
            last_word_ms: 0,
        }
    }
}

fn json(message: &impl Serialize) -> Option<Frame> {
    serde_json::to_string(message).ok().map(Frame::Text)
}

const fn encoding_name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::PcmF32le => "pcm_f32le",
        Encoding::Mulaw => "pcm_mulaw",
        Encoding::Alaw => "pcm_alaw",
        Encoding::PcmS16le | Encoding::Mp3 | Encoding::Opus => "pcm_s16le",
    }
}

fn ms(seconds: f64) -> Result<u64, UpstreamFault> {
    let ms = (seconds * 1000.0).round();
    if (0.0..=LATEST_WORD_MS).contains(&ms) { Ok(ms as u64) } else { Err(bad("a word time out of range")) }
}

fn bad(note: &'static str) -> UpstreamFault {
    UpstreamFault::new(FaultKind::BadFrame, note)
}

/// Sorts an error by its status and code (<https://docs.cartesia.ai/use-the-api/api-errors>). The
/// vendor's words are not kept: they may repeat the text.
fn error_fault(message: &ServerMessage<'_>) -> UpstreamFault {
    let code = message.error_code.as_ref().map_or("", |code| &*code.0);
    let status = message.status_code.unwrap_or(0);
    let kind = match (status, code) {
        (_, "concurrency_limited") | (429, _) => FaultKind::Throttled,
        (401 | 403, _) => FaultKind::Auth,
        (402, _) => FaultKind::Payment,
        // A time-out of the vendor's own is not the text's fault.
        (408, _) => FaultKind::ContextError,
        (400..=499, _) => FaultKind::Rejected,
        _ => FaultKind::ContextError,
    };
    UpstreamFault::new(kind, format!("status {status} {}", printable(code)))
}

/// At most 64 characters of a name, and only such as cannot carry text or break a log line.
fn printable(code: &str) -> String {
    code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::AudioFormat;

    fn started(seed: u64) -> CartesiaCodec {
        let mut codec = CartesiaCodec::new(seed);
        let spec = SynthesisSpec {
            voice: "v".into(),
            model: None,
            language: None,
            format: AudioFormat::default(),
            words: true,
            options: serde_json::Map::new(),
        };
        codec.encode(ContextId(1), &Command::Start(Box::new(spec)), &mut Vec::new());
        codec
    }

    fn decode(codec: &mut CartesiaCodec, message: Value) -> Result<Vec<(ContextId, Event)>, FaultKind> {
        let mut out = Vec::new();
        let text = message.to_string();
        codec.decode(FrameRef::Text(&text), &mut out).map(|()| out).map_err(|fault| fault.kind)
    }

    #[test]
    fn a_name_of_another_link_belongs_to_no_context() {
        let mut codec = started(7);
        for name in ["", "vr-", "vr-0000000000000007-x", "vr-0000000000000008-1", "vr-0000000000000007--1"] {
            let events = decode(&mut codec, json!({"type": "done", "context_id": name})).unwrap();
            assert_eq!(events, [(ContextId::FOREIGN, Event::Done)], "{name}");
        }
    }

    #[test]
    fn every_error_is_sorted_by_who_is_to_blame() {
        for (status, code, kind) in [
            (400, "model_not_found", FaultKind::Rejected),
            (401, "", FaultKind::Auth),
            (403, "", FaultKind::Auth),
            (402, "", FaultKind::Payment),
            (404, "", FaultKind::Rejected),
            (408, "", FaultKind::ContextError),
            (422, "", FaultKind::Rejected),
            (429, "", FaultKind::Throttled),
            (400, "concurrency_limited", FaultKind::Throttled),
            (500, "", FaultKind::ContextError),
            (503, "", FaultKind::ContextError),
        ] {
            let error = json!({"type": "error", "status_code": status, "error_code": code, "message": "m"});
            assert_eq!(decode(&mut started(0), error.clone()), Err(kind), "without a context");
            let mut with = error;
            with["context_id"] = json!("vr-0000000000000000-1");
            let events = decode(&mut started(0), with).unwrap();
            let [(ContextId(1), Event::Failed(fault))] = &events[..] else { panic!("{events:?}") };
            assert_eq!(fault.kind, kind);
        }
    }

    #[test]
    fn the_vendors_words_never_reach_the_note() {
        let error = json!({"type": "error", "status_code": 400, "error_code": "bad\ncanary words",
            "error": "canary", "message": "canary", "context_id": "vr-0000000000000000-1"});
        let events = decode(&mut started(0), error).unwrap();
        let [(_, Event::Failed(fault))] = &events[..] else { panic!("{events:?}") };
        assert_eq!(fault.note, "status 400 badcanarywords");
    }

    #[test]
    fn frames_that_break_the_protocol_are_bad_frames() {
        let context = "vr-0000000000000000-1";
        for message in [
            json!({"type": "chunk", "context_id": context}),
            json!({"type": "chunk", "context_id": context, "data": "AA=A"}),
            json!({"type": "chunk", "context_id": context, "data": "AAAA"}),
            json!({"type": "chunk", "data": "AAA="}),
            json!({"type": "chunk", "context_id": 7, "data": "AAA="}),
            json!({"type": "timestamps", "context_id": context,
                "word_timestamps": {"words": ["a"], "start": [], "end": [0.1]}}),
            json!({"type": "timestamps", "context_id": context,
                "word_timestamps": {"words": ["a"], "start": [-1.0], "end": [0.1]}}),
            json!({"type": "timestamps", "context_id": context,
                "word_timestamps": {"words": ["a"], "start": [1e300], "end": [0.1]}}),
            json!({"context_id": context}),
            json!([1, 2]),
        ] {
            assert_eq!(decode(&mut started(0), message.clone()), Err(FaultKind::BadFrame), "{message}");
        }
        let binary = Bytes::from_static(b"\0\0");
        let fault = started(0).decode(FrameRef::Binary(&binary), &mut Vec::new()).unwrap_err();
        assert_eq!(fault.kind, FaultKind::BadFrame);
    }

    #[test]
    fn word_times_never_go_back() {
        let mut codec = started(0);
        let mut starts = Vec::new();
        for (start, end) in [(0.5, 0.7), (0.2, 0.3), (0.9, 0.8)] {
            let message = json!({"type": "timestamps", "context_id": "vr-0000000000000000-1",
                "word_timestamps": {"words": ["w"], "start": [start], "end": [end]}});
            let events = decode(&mut codec, message).unwrap();
            let [(_, Event::Words { words, estimated: false })] = &events[..] else { panic!("{events:?}") };
            starts.push((words[0].start_ms, words[0].end_ms));
        }
        assert_eq!(starts, [(500, 700), (500, 500), (900, 900)]);
    }

    #[test]
    fn a_context_leaves_nothing_behind() {
        let mut codec = started(0);
        decode(&mut codec, json!({"type": "done", "context_id": "vr-0000000000000000-1"})).unwrap();
        assert!(codec.contexts.is_empty());
        let mut codec = started(0);
        codec.encode(ContextId(1), &Command::Cancel, &mut Vec::new());
        assert!(codec.contexts.is_empty());
    }

    proptest! {
        #[test]
        fn no_text_frame_panics(text in ".{0,200}") {
            let _ = started(0).decode(FrameRef::Text(&text), &mut Vec::new());
        }

        #[test]
        fn text_arrives_verbatim(text in ".{1,200}") {
            let mut out = Vec::new();
            started(0).encode(ContextId(1), &Command::Text(text.clone()), &mut out);
            let Frame::Text(frame) = &out[0] else { panic!("binary") };
            let value: Value = serde_json::from_str(frame).unwrap();
            prop_assert_eq!(value["transcript"].as_str(), Some(text.as_str()));
        }

        #[test]
        fn audio_arrives_exactly(samples in proptest::collection::vec(any::<i16>(), 0..2000)) {
            let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            let data = base64::prelude::BASE64_STANDARD.encode(&bytes);
            let message = json!({"type": "chunk", "context_id": "vr-0000000000000000-1", "data": data});
            let events = decode(&mut started(0), message).unwrap();
            prop_assert_eq!(events, [(ContextId(1), Event::Audio(Bytes::from(bytes)))]);
        }
    }
}
