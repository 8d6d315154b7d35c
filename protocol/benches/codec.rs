//! What a 20 ms chunk costs to read from a vendor and to write to a client.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may panic, and its group needs no docs")]

use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use voxrelay_protocol::dialect::ClientDialect;
use voxrelay_protocol::provider::{Account, provider};
use voxrelay_protocol::request::Framing;
use voxrelay_protocol::vendor::native::dialect::Native;
use voxrelay_protocol::{AudioFormat, Command, ContextId, Frame, FrameRef, Reply, StreamName, SynthesisSpec};

/// 20 ms of 24 kHz 16-bit audio.
const CHUNK: usize = 960;

fn native(c: &mut Criterion) {
    let mut group = c.benchmark_group("native_encode_20ms");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    for (name, framing) in [("raw", Framing::Raw), ("tagged", Framing::Tagged), ("json", Framing::Json)] {
        let reply = Reply::Audio {
            stream: StreamName::default_name(),
            index: 0,
            audio: noise(),
            position: 4_800_000,
            last: false,
            framing,
        };
        let mut dialect = Native::new("req_1");
        let mut frames = Vec::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                frames.clear();
                dialect.encode(black_box(&reply), &mut frames);
            });
        });
    }
    group.finish();
    let text = r#"{"type":"text","stream":"turn-7","text":"token "}"#;
    let mut dialect = Native::new("req_1");
    c.bench_function("native_decode_text", |b| b.iter(|| dialect.decode(FrameRef::Text(black_box(text)))));
}

fn cartesia(c: &mut Criterion) {
    let account = Account { url: "wss://vendor.example".to_owned(), api_key: None, api: "" };
    let mut codec = provider("cartesia").unwrap().codec(&account, 7);
    let context = ContextId(1);
    let mut frames = Vec::new();
    codec.encode(context, &Command::Start(Box::new(spec())), &mut frames);
    codec.encode(context, &Command::Text("Hello.".to_owned()), &mut frames);
    let chunk = chunk(&frames[0]);
    let mut events = Vec::new();
    let mut group = c.benchmark_group("cartesia_decode_20ms");
    group.throughput(Throughput::Bytes(CHUNK as u64));
    group.bench_function("chunk", |b| {
        b.iter(|| {
            events.clear();
            codec.decode(FrameRef::Text(black_box(&chunk)), &mut events).unwrap();
        });
    });
    group.finish();
    assert_eq!(events[0].1.audio_len(), CHUNK);
}

/// The vendor's answer to a generation: its context's name is in there.
fn chunk(asked: &Frame) -> String {
    let Frame::Text(asked) = asked else { panic!("not text: {asked:?}") };
    let asked: Value = serde_json::from_str(asked).unwrap();
    json!({
        "type": "chunk", "data": STANDARD.encode(noise()), "done": false, "status_code": 206,
        "step_time": 12.5, "context_id": asked["context_id"],
    })
    .to_string()
}

fn spec() -> SynthesisSpec {
    SynthesisSpec {
        voice: "a0e99841-438c-4a64-b679-ae501e7d6091".to_owned(),
        model: None,
        language: None,
        format: AudioFormat::default(),
        words: false,
        options: serde_json::Map::new(),
    }
}

fn noise() -> Bytes {
    (0..CHUNK).map(|n| (n * 167 % 251) as u8).collect()
}

criterion_group!(benches, native, cartesia);
criterion_main!(benches);
