//! The native protocol: what is written is read back, what is wrong is named, and nothing panics.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use base64::Engine as _;
use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value, json};
use voxrelay_protocol::dialect::ClientDialect;
use voxrelay_protocol::reply::{Cancelled, Done, Limits, Ready, Started, Timing};
use voxrelay_protocol::request::{Credential, Framing, Pace};
use voxrelay_protocol::vendor::native::client::ClientMessage;
use voxrelay_protocol::vendor::native::dialect::{Native, TAG_BYTES, TAG_LAST};
use voxrelay_protocol::vendor::native::messages::ServerMessage;
use voxrelay_protocol::{
    AudioFormat, Container, Encoding, Fault, FaultCode, Frame, FrameRef, QuotaScope, Refusal, Reply, Request,
    Start, StreamName, Word,
};

#[test]
fn each_message_of_a_client_becomes_its_request() {
    let cases = [
        (json!({"type": "auth", "token": "t"}), Request::Auth(Credential::new("t"))),
        (json!({"type": "text", "text": " a "}), Request::Text(name("default"), " a ".into())),
        (json!({"type": "text", "stream": "s-1", "text": ""}), Request::Text(name("s-1"), String::new())),
        (json!({"type": "flush"}), Request::Flush(name("default"), None)),
        (json!({"type": "flush", "mark": "m"}), Request::Flush(name("default"), Some("m".into()))),
        (json!({"type": "end", "stream": null}), Request::End(name("default"))),
        (json!({"type": "cancel"}), Request::Cancel(name("default"), None)),
        (json!({"type": "cancel", "played_ms": 120.9}), Request::Cancel(name("default"), Some(120))),
        (json!({"type": "end", "unheard_of": [1]}), Request::End(name("default"))),
    ];
    for (message, request) in cases {
        assert_eq!(decode(&message.to_string()), Ok(request), "{message}");
    }
}

#[test]
fn a_start_says_everything_about_its_stream() {
    let plain = started(&json!({"type": "start", "voice": "v"}));
    assert_eq!((plain.format, plain.framing, plain.pace), (AudioFormat::default(), Framing::Raw, None));
    assert!(!plain.words && plain.options.is_empty());
    let full = started(&json!({
        "type": "start", "provider": "acme", "voice": "v", "model": "m", "language": "en", "words": true,
        "format": {"encoding": "mulaw", "sample_rate": 8e3, "container": "wav"}, "frames": "tagged",
        "pace": {"lead_ms": 100}, "options": {"speed": 1.5},
    }));
    let format = AudioFormat { encoding: Encoding::Mulaw, sample_rate: 8_000, container: Container::Wav };
    assert_eq!((full.format, full.framing), (format, Framing::Tagged));
    assert_eq!(full.pace, Some(Pace { lead_ms: 100, frame_ms: 20 }));
    assert_eq!((full.voice.provider.as_deref(), full.voice.model.as_deref()), (Some("acme"), Some("m")));
    assert_eq!((full.language.as_deref(), &full.options["speed"]), (Some("en"), &json!(1.5)));
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("{", "message: not JSON, at line 1 column 1"),
        ("[]", "message: must be a JSON object"),
        ("{}", "type: is missing"),
        (r#"{"type":7}"#, "type: must be a string"),
        (r#"{"type":"sing"}"#, "type: is not one of auth, start, text, flush, end, cancel"),
        (r#"{"type":"auth"}"#, "token: is missing"),
        (r#"{"type":"text"}"#, "text: is missing"),
        (r#"{"type":"text","text":{}}"#, "text: must be a string"),
        (r#"{"type":"end","stream":"a b"}"#, "stream: must be 1 to 64 characters of A-Z a-z 0-9 _ . -"),
        (r#"{"type":"end","stream":""}"#, "stream: must be 1 to 64 characters of A-Z a-z 0-9 _ . -"),
        (r#"{"type":"cancel","played_ms":-1}"#, "played_ms: must be a number, not negative"),
        (r#"{"type":"cancel","played_ms":"9"}"#, "played_ms: must be a number, not negative"),
    ];
    for (message, detail) in cases {
        let fault = decode(message).unwrap_err();
        assert_eq!((fault.code, &*fault.detail), (FaultCode::InvalidRequest, detail), "{message}");
    }
    let long = json!({"type": "flush", "mark": "m".repeat(257)}).to_string();
    assert_eq!(decode(&long).unwrap_err().detail, "mark: is longer than 256 bytes");
    let binary = Native::new("r").decode(FrameRef::Binary(&Bytes::from_static(b"{}"))).unwrap_err();
    assert_eq!(binary.detail, "message: must be a text frame");
}

#[test]
fn a_bad_start_names_its_stream_and_the_field() {
    let cases = [
        (json!({}), "voice: is missing"),
        (json!({"voice": "v", "words": "yes"}), "words: must be true or false"),
        (json!({"voice": "v", "frames": "wavy"}), "frames: must be raw, tagged or json"),
        (json!({"voice": "v", "options": []}), "options: must be an object"),
        (json!({"voice": "v", "format": 24000}), "format: must be an object"),
        (
            json!({"voice": "v", "format": {"sample_rate": 8000.5}}),
            "format.sample_rate: must be a whole number, not negative",
        ),
        (json!({"voice": "v", "format": {"encoding": 1}}), "format.encoding: must be a string"),
        (json!({"voice": "v", "pace": {"lead_ms": 5_000_000_000_u64}}), "pace.lead_ms: is too large"),
        (
            json!({"voice": "v", "pace": {"frame_ms": "x"}}),
            "pace.frame_ms: must be a whole number, not negative",
        ),
    ];
    for (mut message, detail) in cases {
        message["type"] = json!("start");
        message["stream"] = json!("s");
        let Ok(Request::BadStart(stream, fault)) = decode(&message.to_string()) else {
            panic!("{message} is no bad start");
        };
        assert_eq!((stream.as_str(), fault.code, &*fault.detail), ("s", FaultCode::InvalidRequest, detail));
    }
    for field in ["encoding", "container"] {
        let message = json!({"type": "start", "voice": "v", "format": {field: "flac"}});
        let Ok(Request::BadStart(_, fault)) = decode(&message.to_string()) else { panic!("{message}") };
        assert_eq!(fault.code, FaultCode::UnsupportedFormat);
        assert!(fault.detail.contains(field) && fault.detail.contains("pcm_s16le"), "{}", fault.detail);
    }
}

#[test]
fn what_a_client_of_ours_writes_is_understood() {
    let start = ClientMessage::Start {
        stream: "s",
        voice: "v",
        provider: None,
        format: Some(AudioFormat::default()),
        language: Some("en"),
        words: true,
        frames: "json",
    };
    let Ok(Request::Start(stream, start)) = read(&start.frame()) else { panic!("no start") };
    assert_eq!((stream.as_str(), start.framing, start.words), ("s", Framing::Json, true));
    let text = ClientMessage::Text { stream: "s", text: "\"quoted\"\n" };
    assert_eq!(read(&text.frame()), Ok(Request::Text(name("s"), "\"quoted\"\n".into())));
    let flush = ClientMessage::Flush { stream: "s", mark: Some("m") };
    assert_eq!(read(&flush.frame()), Ok(Request::Flush(name("s"), Some("m".into()))));
    assert_eq!(read(&ClientMessage::End { stream: "s" }.frame()), Ok(Request::End(name("s"))));
    let cancel = ClientMessage::Cancel { stream: "s", played_ms: Some(5) };
    assert_eq!(read(&cancel.frame()), Ok(Request::Cancel(name("s"), Some(5))));
    assert_eq!(read(&ClientMessage::Auth { token: "t" }.frame()), Ok(Request::Auth(Credential::new("t"))));
}

#[test]
fn every_message_in_the_specification_is_one() {
    let (mut asked, mut told) = (0, 0);
    for line in include_str!("../README.md").lines() {
        if let Some(message) = line.strip_prefix("> ") {
            let request = decode(message).unwrap();
            assert!(!matches!(request, Request::BadStart(..)), "{message}");
            asked += 1;
        }
        if let Some(message) = line.strip_prefix("< {").map(|rest| format!("{{{rest}")) {
            let read: ServerMessage = serde_json::from_str(&message).unwrap();
            let written = serde_json::to_value(&read).unwrap();
            assert_eq!(written, serde_json::from_str::<Value>(&message).unwrap());
            told += 1;
        }
    }
    assert!(asked > 10 && told > 10);
}

#[test]
fn an_error_carries_the_members_of_a_problem() {
    let refusal = Refusal { limit: 3, used: 3, scope: QuotaScope::Session };
    let fault = Fault::new(FaultCode::QuotaExceeded, "no more").with_quota(refusal).retry_after(250);
    let reply = Reply::Error { stream: Some(name("s")), fault, ended: true };
    assert_eq!(
        message(&reply),
        json!({
            "type": "error", "stream": "s", "ended": true, "problem": "urn:voxrelay:problem:quota_exceeded",
            "title": "Quota exceeded", "status": 429, "detail": "no more", "code": "quota_exceeded",
            "request_id": "req_1", "retryable": true, "retry_after_ms": 250,
            "limit": 3, "used": 3, "scope": "session",
        })
    );
    let fault = Fault::new(FaultCode::IdleTimeout, "quiet");
    let told = message(&Reply::Error { stream: None, fault, ended: false });
    assert_eq!((told.get("stream"), told.get("ended"), &told["status"]), (None, None, &json!(408)));
}

#[test]
fn a_tagged_frame_is_a_header_of_twelve_bytes_and_the_audio() {
    let frame = |audio: &'static [u8], last| Reply::Audio {
        stream: name("s"),
        index: 0x0102,
        audio: Bytes::from_static(audio),
        position: 0x0304_0506_0708_090a,
        last,
        framing: Framing::Tagged,
    };
    let binary = |bytes: &'static [u8]| vec![Frame::Binary(Bytes::from_static(bytes))];
    assert_eq!(encode(&frame(b"pcm!", false)), binary(b"\x01\x02\0\0\x03\x04\x05\x06\x07\x08\x09\x0apcm!"));
    assert_eq!(encode(&frame(b"", true)), binary(b"\x01\x02\0\x01\x03\x04\x05\x06\x07\x08\x09\x0a"));
}

#[test]
fn raw_audio_is_passed_on_without_a_copy() {
    let audio = Bytes::from(vec![1, 2, 3, 4]);
    let frames = encode(&audio_reply(audio.clone(), 0, false, Framing::Raw));
    let [Frame::Binary(sent)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((sent.as_ptr(), sent), (audio.as_ptr(), &audio));
    for framing in [Framing::Raw, Framing::Json] {
        assert!(
            encode(&audio_reply(Bytes::new(), 0, true, framing)).is_empty(),
            "an end mark is for tags only"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_text_of_a_client_makes_the_relay_panic(text in any::<String>()) {
        let _ = decode(&text);
    }

    #[test]
    fn no_value_in_any_field_makes_the_relay_panic(
        kind in prop::sample::select(vec!["auth", "start", "text", "flush", "end", "cancel"]),
        fields in prop::collection::hash_map(prop::sample::select(FIELDS.to_vec()), value(), 0..8),
    ) {
        let mut message = json!({"type": kind});
        for (field, value) in fields {
            message[field] = value;
        }
        let told = match decode(&message.to_string()) {
            Ok(Request::BadStart(_, fault)) | Err(fault) => Some(fault),
            Ok(_) => None,
        };
        if let Some(fault) = told {
            let field = fault.detail.split([':', '.']).next().unwrap().to_owned();
            prop_assert!(FIELDS.contains(&field.as_str()), "{}", fault.detail);
        }
    }

    #[test]
    fn every_reply_is_read_back_as_it_was_told(reply in reply()) {
        let frames = encode(&reply);
        prop_assert_eq!(frames.len(), 1);
        let Frame::Text(text) = &frames[0] else { panic!("{frames:?}") };
        let read: ServerMessage = serde_json::from_str(text).unwrap();
        prop_assert_eq!(read, ServerMessage::of(&reply, "req_1"));
    }

    #[test]
    fn audio_survives_every_framing(
        audio in prop::collection::vec(any::<u8>(), 1..500), position in any::<u64>(), last in any::<bool>(),
    ) {
        let audio = Bytes::from(audio);
        let frames = encode(&audio_reply(audio.clone(), position, last, Framing::Tagged));
        let [Frame::Binary(tagged)] = &frames[..] else { panic!("{frames:?}") };
        prop_assert_eq!(&tagged[..2], 7_u16.to_be_bytes());
        prop_assert_eq!(&tagged[2..4], (if last { TAG_LAST } else { 0 }).to_be_bytes());
        prop_assert_eq!(&tagged[4..TAG_BYTES], position.to_be_bytes());
        prop_assert_eq!(&tagged[TAG_BYTES..], &audio);

        let told = message(&audio_reply(audio.clone(), position, last, Framing::Json));
        prop_assert_eq!((&told["type"], &told["stream"]), (&json!("audio"), &json!("s")));
        prop_assert_eq!(&told["position"], &json!(position));
        let bytes = base64::engine::general_purpose::STANDARD.decode(told["audio"].as_str().unwrap());
        prop_assert_eq!(bytes.unwrap(), audio);
    }
}

const FIELDS: [&str; 16] = [
    "type",
    "token",
    "stream",
    "voice",
    "provider",
    "model",
    "format",
    "language",
    "words",
    "frames",
    "pace",
    "options",
    "text",
    "mark",
    "played_ms",
    "message",
];

/// Anything JSON can say, not deeper than a client would.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec!["s", "raw", "json", "mulaw", "wav"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        let key = prop::sample::select(vec!["encoding", "sample_rate", "container", "lead_ms", "frame_ms"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map(key.prop_map(str::to_owned), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn reply() -> impl Strategy<Value = Reply> {
    let text = any::<String>;
    let maybe = || prop::option::of(any::<String>());
    let stream = || "[A-Za-z0-9_.-]{1,64}".prop_map(|text| name(&text));
    let ms = || (0..u64::from(u32::MAX)).prop_map(|micros| micros as f64 / 1e3);
    let limits = (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(streams, session_streams, most)| {
        Limits { streams, session_streams, characters_per_stream: most }
    });
    let ready = (text(), text(), maybe(), text(), limits, text()).prop_map(
        |(session, request_id, key, org, limits, version)| {
            Reply::Ready(Box::new(Ready { session, request_id, key, org, limits, version }))
        },
    );
    let started = (stream(), any::<u16>(), text(), text(), maybe(), any::<u64>()).prop_map(
        |(stream, index, provider, voice, model, queued_ms)| {
            let format = AudioFormat::default();
            Reply::Started(stream, Box::new(Started { index, provider, voice, model, format, queued_ms }))
        },
    );
    let word = (text(), any::<u64>(), any::<u64>()).prop_map(|(text, start_ms, end_ms)| Word {
        text,
        start_ms,
        end_ms,
    });
    let words = (stream(), prop::collection::vec(word, 0..5), any::<bool>())
        .prop_map(|(stream, words, estimated)| Reply::Words { stream, words, estimated });
    let flushed = (stream(), maybe(), any::<u64>()).prop_map(|(stream, mark, audio_ms)| Reply::Flushed {
        stream,
        mark,
        audio_ms,
    });
    let timing =
        (ms(), ms(), ms(), ms(), ms()).prop_map(|(auth_ms, queue_ms, connect_ms, upstream_ms, relay_ms)| {
            Timing { auth_ms, queue_ms, connect_ms, upstream_ms, relay_ms }
        });
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>());
    let done = (stream(), numbers, prop::option::of(ms()), timing, text()).prop_map(
        |(stream, (characters, audio_ms, bytes, resumed), first_audio_ms, timing, provider)| {
            let done = Done { characters, audio_ms, bytes, first_audio_ms, timing, provider, resumed };
            Reply::Done(stream, Box::new(done))
        },
    );
    let cancelled = (stream(), any::<u64>(), prop::option::of(any::<u64>()), maybe(), maybe()).prop_map(
        |(stream, sent_ms, heard_ms, heard_text, unheard_text)| {
            Reply::Cancelled(stream, Box::new(Cancelled { sent_ms, heard_ms, heard_text, unheard_text }))
        },
    );
    let code = prop::sample::select(FaultCode::ALL.to_vec());
    let error = (prop::option::of(stream()), code, text(), any::<bool>(), prop::option::of(any::<u64>()))
        .prop_map(|(stream, code, detail, ended, sent_ms)| {
            let fault = Fault::new(code, detail);
            let fault = sent_ms.map_or(fault.clone(), |ms| fault.after_audio(ms));
            Reply::Error { stream, fault, ended }
        });
    let draining = any::<u64>().prop_map(Reply::Draining);
    prop_oneof![ready, started, words, flushed, done, cancelled, error, draining]
}

fn audio_reply(audio: Bytes, position: u64, last: bool, framing: Framing) -> Reply {
    Reply::Audio { stream: name("s"), index: 7, audio, position, last, framing }
}

fn started(message: &Value) -> Start {
    match decode(&message.to_string()) {
        Ok(Request::Start(_, start)) => *start,
        other => panic!("no start: {other:?}"),
    }
}

fn decode(text: &str) -> Result<Request, Fault> {
    Native::new("req_1").decode(FrameRef::Text(text))
}

fn read(frame: &Frame) -> Result<Request, Fault> {
    Native::new("req_1").decode(frame.as_ref())
}

fn encode(reply: &Reply) -> Vec<Frame> {
    let mut frames = Vec::new();
    Native::new("req_1").encode(reply, &mut frames);
    frames
}

fn message(reply: &Reply) -> Value {
    match &encode(reply)[..] {
        [Frame::Text(text)] => serde_json::from_str(text).unwrap(),
        other => panic!("not one message: {other:?}"),
    }
}

fn name(name: &str) -> StreamName {
    StreamName::parse(name).unwrap()
}
