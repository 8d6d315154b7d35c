//! ElevenLabs' wire, translated for one link.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::engine::Simd;
use base64::engine::general_purpose::PAD;
use serde_json::Value;

use super::messages::{ClientMessage, ServerMessage};
use super::turn::{Turn, audio, bad};
use crate::provider::{KeepAlive, ProviderCodec};
use crate::{Command, ContextId, Event, FaultKind, Frame, FrameRef, SynthesisSpec, UpstreamFault};

/// Well within the shortest inactivity limit of the vendor, 20 s.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Which of the two sockets is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `multi-stream-input`: contexts with names.
    Multi,
    /// `stream-input`: one stream without a name.
    Single,
}

/// The state of one connection: what each open context was started with.
pub struct ElevenLabsCodec {
    api: Api,
    prefix: String,
    base64: Simd,
    turns: BTreeMap<ContextId, Turn>,
    /// On `stream-input`, whose answers these are.
    only: ContextId,
}

impl ElevenLabsCodec {
    /// A codec whose context names are `vr-<seed>-<number>`.
    #[must_use]
    pub fn new(api: Api, seed: u64) -> Self {
        Self {
            api,
            prefix: format!("vr-{seed:016x}-"),
            base64: Simd::standard(PAD),
            turns: BTreeMap::new(),
            only: ContextId::FOREIGN,
        }
    }

    fn start(&mut self, context: ContextId, spec: &SynthesisSpec) {
        self.turns.insert(context, Turn::new(spec));
        self.only = context;
    }

    fn text(&mut self, context: ContextId, text: &str, out: &mut Vec<Frame>) {
        let Some(text) = self.turns.get_mut(&context).and_then(|turn| turn.text(text)) else { return };
        self.open(context, out);
        out.extend(self.frame(context, ClientMessage { text: Some(&text), ..ClientMessage::default() }));
    }

    /// Opens the context where that has not been done: only before there is something to say, because
    /// it takes one of the vendor's five places.
    fn open(&mut self, context: ContextId, out: &mut Vec<Frame>) {
        let Some(turn) = self.turns.get(&context).filter(|turn| !turn.opened) else { return };
        out.extend(self.frame(context, turn.opening()));
        if let Some(turn) = self.turns.get_mut(&context) {
            turn.opened = true;
        }
    }

    fn flush(&mut self, context: ContextId, out: &mut Vec<Frame>) {
        self.open(context, out);
        if let Some(turn) = self.turns.get_mut(&context) {
            turn.flush();
        }
        // On `stream-input` a message needs text, and empty text would end the stream.
        let text = if self.api == Api::Single { Some(" ") } else { None };
        out.extend(self.frame(context, ClientMessage { text, flush: true, ..ClientMessage::default() }));
    }

    /// On `multi-stream-input` what is buffered is spoken only when flushed before the context is
    /// closed.
    fn end(&mut self, context: ContextId, out: &mut Vec<Frame>) {
        self.open(context, out);
        if let Some(turn) = self.turns.get_mut(&context) {
            turn.ended = true;
        }
        if self.api == Api::Single {
            return out
                .extend(self.frame(context, ClientMessage { text: Some(""), ..ClientMessage::default() }));
        }
        out.extend(self.frame(context, ClientMessage { flush: true, ..ClientMessage::default() }));
        out.extend(self.close(context));
    }

    fn close(&self, context: ContextId) -> Option<Frame> {
        self.frame(context, ClientMessage { close_context: true, ..ClientMessage::default() })
    }

    fn frame(&self, context: ContextId, message: ClientMessage<'_>) -> Option<Frame> {
        let name = (self.api == Api::Multi).then(|| format!("{}{}", self.prefix, context.0));
        let message = ClientMessage { context_id: name.as_deref(), ..message };
        serde_json::to_string(&message).ok().map(Frame::Text)
    }

    fn context(&self, message: &ServerMessage<'_>) -> Option<ContextId> {
        if self.api == Api::Single {
            return Some(self.only);
        }
        let number = message.context()?.strip_prefix(self.prefix.as_str()).and_then(|n| n.parse().ok());
        Some(number.map_or(ContextId::FOREIGN, ContextId))
    }
}

impl ProviderCodec for ElevenLabsCodec {
    fn encode(&mut self, context: ContextId, command: &Command, out: &mut Vec<Frame>) {
        match command {
            Command::Start(spec) => self.start(context, spec),
            Command::Text(text) => self.text(context, text, out),
            Command::Flush => self.flush(context, out),
            Command::End => self.end(context, out),
            Command::Cancel => {
                let turn = self.turns.remove(&context);
                // `stream-input` has no word for it: its link is closed. After an end too, since that may
                // not have been sent yet; that a second close does nothing is assumed.
                if self.api == Api::Multi && turn.is_some_and(|turn| turn.opened) {
                    out.extend(self.close(context));
                }
            }
        }
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
        let context = self.context(&message);
        if message.is_error() {
            let named = context.filter(|_| self.api == Api::Multi);
            let fault = error_fault(&message, named.is_some());
            // Without a context the error is the socket's own, and a close follows.
            let context = named.ok_or_else(|| fault.clone())?;
            self.turns.remove(&context);
            out.push((context, Event::Failed(fault)));
            return Ok(());
        }
        if message.audio.is_none()
            && !message.is_last()
            && message.kind.is_none()
            && message.alignment.is_none()
        {
            // Messages of later versions.
            return Ok(());
        }
        let context = context.ok_or_else(|| bad("a message without a context"))?;
        let mut events = Vec::new();
        match self.turns.get_mut(&context) {
            Some(turn) => turn.hear(&message, &self.base64, &mut events)?,
            None => {
                let late = audio(&message, &self.base64)?;
                events.extend((!late.is_empty()).then_some(Event::Audio(late)));
                events.extend(message.is_last().then_some(Event::Done));
            }
        }
        if message.is_last() {
            self.turns.remove(&context);
        }
        out.extend(events.into_iter().map(|event| (context, event)));
        Ok(())
    }

    /// On `multi-stream-input` empty text, for each open context or for the socket; on `stream-input`
    /// a space, once the stream is open. Never for a context that was not opened or has ended: it would
    /// open one.
    fn keep_alive(&self) -> Option<KeepAlive> {
        let open = self.turns.iter().filter(|(_, turn)| turn.opened && !turn.ended);
        let text = Some(if self.api == Api::Multi { "" } else { " " });
        let said = ClientMessage { text, ..ClientMessage::default() };
        let mut frames: Vec<_> =
            open.filter_map(|(context, _)| Some((*context, self.frame(*context, said.clone())?))).collect();
        if self.api == Api::Multi && frames.is_empty() {
            frames.extend(
                serde_json::to_string(&said).ok().map(|text| (ContextId::FOREIGN, Frame::Text(text))),
            );
        }
        Some(KeepAlive { every: KEEP_ALIVE, frames })
    }
}

/// Sorts an error by its name (<https://elevenlabs.io/docs/eleven-api/resources/errors>; that the
/// names of HTTP errors also come on sockets is assumed). The vendor's words are not kept: they may
/// repeat the text.
fn error_fault(message: &ServerMessage<'_>, of_a_context: bool) -> UpstreamFault {
    let name = message.error.as_ref().and_then(Value::as_str).unwrap_or_default();
    let kind = match name {
        "invalid_api_key"
        | "missing_api_key"
        | "needs_authorization"
        | "missing_permissions"
        | "detected_unusual_activity" => FaultKind::Auth,
        "quota_exceeded" | "only_for_creator+" | "payment_required" => FaultKind::Payment,
        "max_active_conversations"
        | "too_many_concurrent_requests"
        | "concurrent_limit_exceeded"
        | "rate_limit_exceeded" => FaultKind::Throttled,
        "max_character_limit_exceeded" | "voice_not_found" | "model_not_found" | "validation_error" => {
            FaultKind::Rejected
        }
        // The socket slept too long: it is as if it had been closed.
        "input_timeout_exceeded" if !of_a_context => FaultKind::Reset,
        _ => FaultKind::ContextError,
    };
    UpstreamFault::new(kind, format!("error {}", printable(name)))
}

/// At most 64 characters of a name, and only such as cannot carry text or break a log line.
fn printable(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || "_+".contains(*c)).take(64).collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::AudioFormat;

    const NAME: &str = "vr-0000000000000000-1";

    fn started(api: Api) -> ElevenLabsCodec {
        let mut codec = ElevenLabsCodec::new(api, 0);
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

    fn encode(codec: &mut ElevenLabsCodec, command: &Command) -> Vec<Value> {
        let mut out = Vec::new();
        codec.encode(ContextId(1), command, &mut out);
        out.iter().map(value).collect()
    }

    fn value(frame: &Frame) -> Value {
        let Frame::Text(text) = frame else { panic!("binary") };
        serde_json::from_str(text).unwrap()
    }

    fn decode(codec: &mut ElevenLabsCodec, message: &Value) -> Result<Vec<(ContextId, Event)>, FaultKind> {
        let mut out = Vec::new();
        let text = message.to_string();
        codec.decode(FrameRef::Text(&text), &mut out).map(|()| out).map_err(|fault| fault.kind)
    }

    #[test]
    fn a_name_of_another_link_belongs_to_no_context() {
        for name in ["", "vr-", "vr-0000000000000000-x", "vr-0000000000000008-1", "vr-0000000000000000--1"] {
            let message = json!({"isFinal": true, "contextId": name});
            let events = decode(&mut started(Api::Multi), &message).unwrap();
            assert_eq!(events, [(ContextId::FOREIGN, Event::Done)], "{name}");
        }
    }

    #[test]
    fn every_spelling_of_a_message_is_read() {
        for (id, last) in [("contextId", "isFinal"), ("context_id", "is_final")] {
            for (starts, durations) in
                [("charStartTimesMs", "charDurationsMs"), ("charsStartTimesMs", "charsDurationsMs")]
            {
                let message = json!({"audio": "AAA=", "alignment": {"chars": ["H", "i"], starts: [0, 5.4], durations: [5, 5]},
                    "normalizedAlignment": null, id: NAME, last: true});
                let events = decode(&mut started(Api::Multi), &message).unwrap();
                let word = crate::Word { text: "Hi".into(), start_ms: 0, end_ms: 10 };
                assert_eq!(
                    events.into_iter().map(|(_, event)| event).collect::<Vec<_>>(),
                    [
                        Event::Words { words: vec![word], estimated: false },
                        Event::Audio(Bytes::from_static(b"\0\0")),
                        Event::Done
                    ]
                );
            }
        }
    }

    #[test]
    fn both_spellings_in_one_message_are_no_fault() {
        let message = json!({"isFinal": true, "is_final": true, "contextId": NAME, "context_id": NAME});
        assert_eq!(decode(&mut started(Api::Multi), &message), Ok(vec![(ContextId(1), Event::Done)]));
    }

    #[test]
    fn every_error_is_sorted_by_who_is_to_blame() {
        for (error, of_context, of_socket) in [
            ("invalid_api_key", FaultKind::Auth, FaultKind::Auth),
            ("detected_unusual_activity", FaultKind::Auth, FaultKind::Auth),
            ("quota_exceeded", FaultKind::Payment, FaultKind::Payment),
            ("only_for_creator+", FaultKind::Payment, FaultKind::Payment),
            ("max_active_conversations", FaultKind::Throttled, FaultKind::Throttled),
            ("too_many_concurrent_requests", FaultKind::Throttled, FaultKind::Throttled),
            ("concurrent_limit_exceeded", FaultKind::Throttled, FaultKind::Throttled),
            ("rate_limit_exceeded", FaultKind::Throttled, FaultKind::Throttled),
            ("system_busy", FaultKind::ContextError, FaultKind::ContextError),
            ("max_character_limit_exceeded", FaultKind::Rejected, FaultKind::Rejected),
            ("voice_not_found", FaultKind::Rejected, FaultKind::Rejected),
            ("input_timeout_exceeded", FaultKind::ContextError, FaultKind::Reset),
            ("anything_else", FaultKind::ContextError, FaultKind::ContextError),
        ] {
            let message = json!({"message": "some words", "error": error, "code": 1008});
            for api in [Api::Multi, Api::Single] {
                assert_eq!(decode(&mut started(api), &message), Err(of_socket), "{error}");
            }
            let mut named = message;
            named["context_id"] = json!(NAME);
            let events = decode(&mut started(Api::Multi), &named).unwrap();
            let [(ContextId(1), Event::Failed(fault))] = &events[..] else { panic!("{events:?}") };
            assert_eq!(fault.kind, of_context, "{error}");
        }
    }

    #[test]
    fn the_vendors_words_never_reach_the_note() {
        let message = json!({"message": "canary", "error": "bad\ncanary words", "code": 1008});
        let fault = started(Api::Multi).decode(FrameRef::Text(&message.to_string()), &mut Vec::new());
        assert_eq!(fault.unwrap_err().note, "error badcanarywords");
    }

    #[test]
    fn frames_that_break_the_protocol_are_bad_frames() {
        for message in [
            json!({"audio": "AAA="}),
            json!({"isFinal": true}),
            json!({"audio": "AA=A", "contextId": NAME}),
            json!({"audio": "AAAA", "contextId": NAME}),
            json!({"audio": 7, "contextId": NAME}),
            json!({"audio": "AAA=", "contextId": 7}),
            json!({"alignment": {"chars": ["a"], "charStartTimesMs": []}, "contextId": NAME}),
            json!({"alignment": {"chars": ["a"], "charStartTimesMs": [-1], "charDurationsMs": [1]}, "contextId": NAME}),
            json!({"alignment": {"chars": ["a"], "charStartTimesMs": [0], "charDurationsMs": [1e300]}, "contextId": NAME}),
            json!([1]),
        ] {
            assert_eq!(decode(&mut started(Api::Multi), &message), Err(FaultKind::BadFrame), "{message}");
        }
        let binary = Bytes::from_static(b"\0\0");
        let fault = started(Api::Single).decode(FrameRef::Binary(&binary), &mut Vec::new()).unwrap_err();
        assert_eq!(fault.kind, FaultKind::BadFrame);
    }

    #[test]
    fn space_between_words_is_sent_with_the_next_word() {
        let mut codec = started(Api::Single);
        let mut sent = String::new();
        for text in ["Hello", " ", "\n", "world"] {
            for frame in encode(&mut codec, &Command::Text(text.into())) {
                sent += frame["text"].as_str().unwrap();
            }
        }
        // The first space opens the stream.
        assert_eq!(sent, " Hello \nworld");
        for _ in 0..1000 {
            assert_eq!(encode(&mut codec, &Command::Text("  ".into())), [] as [Value; 0]);
        }
        assert!(encode(&mut codec, &Command::Text("x".into()))[0]["text"].as_str().unwrap().len() < 100);
    }

    #[test]
    fn signs_of_life_are_given_for_open_contexts_only() {
        let alive = |codec: &ElevenLabsCodec| {
            let KeepAlive { frames, .. } = codec.keep_alive().unwrap();
            frames.iter().map(|(context, frame)| (*context, value(frame))).collect::<Vec<_>>()
        };
        let mut codec = started(Api::Multi);
        let of_the_socket = (ContextId::FOREIGN, json!({"text": ""}));
        assert_eq!(alive(&codec), [of_the_socket.clone()]);
        encode(&mut codec, &Command::Text("a".into()));
        assert_eq!(alive(&codec), [(ContextId(1), json!({"text": "", "context_id": NAME}))]);
        encode(&mut codec, &Command::End);
        assert_eq!(alive(&codec), [of_the_socket]);
        let mut codec = started(Api::Single);
        assert_eq!(alive(&codec), []);
        encode(&mut codec, &Command::Text("a".into()));
        assert_eq!(alive(&codec), [(ContextId(1), json!({"text": " "}))]);
        encode(&mut codec, &Command::End);
        assert_eq!(alive(&codec), []);
    }

    #[test]
    fn a_context_leaves_nothing_behind() {
        let mut codec = started(Api::Multi);
        decode(&mut codec, &json!({"isFinal": true, "contextId": NAME})).unwrap();
        assert!(codec.turns.is_empty());
        let mut codec = started(Api::Multi);
        assert_eq!(encode(&mut codec, &Command::Cancel), [] as [Value; 0]);
        assert!(codec.turns.is_empty());
    }

    fn told() -> impl Strategy<Value = String> {
        let frames: Vec<String> = [
            include_str!("../../../transcripts/elevenlabs/words.jsonl"),
            include_str!("../../../transcripts/elevenlabs/errors_of_a_context.jsonl"),
        ]
        .iter()
        .flat_map(|file| file.lines())
        .filter_map(|line| {
            serde_json::from_str::<Value>(line).ok()?.get("receive").map(|r| r["json"].to_string())
        })
        .collect();
        (proptest::sample::select(frames), any::<prop::sample::Index>(), any::<char>()).prop_map(
            |(frame, place, letter)| {
                let place = frame.floor_char_boundary(place.index(frame.len()));
                let rest = &frame[place..];
                let skipped = rest.chars().next().map_or(0, char::len_utf8);
                format!("{}{letter}{}", &frame[..place], &rest[skipped..])
            },
        )
    }

    proptest! {
        #[test]
        fn no_frame_panics(text in prop_oneof![".{0,200}", told()], binary in any::<Vec<u8>>()) {
            for api in [Api::Multi, Api::Single] {
                let _ = started(api).decode(FrameRef::Text(&text), &mut Vec::new());
                let _ = started(api).decode(FrameRef::Binary(&Bytes::from(binary.clone())), &mut Vec::new());
            }
        }

        #[test]
        fn text_arrives_verbatim(pieces in proptest::collection::vec("[a-z \n]{0,5}", 1..20)) {
            let mut codec = started(Api::Multi);
            let mut sent = String::new();
            for piece in &pieces {
                for frame in encode(&mut codec, &Command::Text(piece.clone())) {
                    sent += frame["text"].as_str().unwrap();
                }
            }
            let whole = pieces.concat();
            prop_assert_eq!(sent.get(1..).unwrap_or("").trim_end(), whole.trim_end());
        }

        #[test]
        fn audio_arrives_exactly(samples in proptest::collection::vec(any::<i16>(), 1..2000)) {
            let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            let message = json!({"audio": BASE64_STANDARD.encode(&bytes), "contextId": NAME});
            let events = decode(&mut started(Api::Multi), &message).unwrap();
            prop_assert_eq!(events, [(ContextId(1), Event::Audio(Bytes::from(bytes)))]);
        }
    }
}
