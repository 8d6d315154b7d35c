//! The codec, message by message.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{AudioFormat, FaultKind};

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
    let of_the_socket = [(ContextId::FOREIGN, json!({"text": ""}))];
    assert_eq!(alive(&codec), of_the_socket);
    encode(&mut codec, &Command::Text("a".into()));
    assert_eq!(alive(&codec), [(ContextId(1), json!({"text": "", "context_id": NAME}))]);
    encode(&mut codec, &Command::End);
    assert_eq!(alive(&codec), of_the_socket);
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
        include_str!("../../../../transcripts/elevenlabs/words.jsonl"),
        include_str!("../../../../transcripts/elevenlabs/errors_of_a_context.jsonl"),
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
