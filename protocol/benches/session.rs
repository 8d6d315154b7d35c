//! What one event and one whole stream cost in a session.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may panic, and its group needs no docs")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use voxrelay_protocol::request::{Framing, Pace, VoiceChoice};
use voxrelay_protocol::session::{Action, Leased, RouteFacts, Session, Settings};
use voxrelay_protocol::{AudioFormat, Encoding, Event, Request, Start, StreamName};

/// 20 ms of 24 kHz 16-bit audio.
const CHUNK: usize = 960;
const TOKENS: [&str; 8] = ["The ", "relay ", "takes ", "text ", "as ", "it ", "comes", "."];

fn audio_event(c: &mut Criterion) {
    let chunk = Bytes::from(vec![1; CHUNK]);
    let pace = Some(Pace { lead_ms: 200, frame_ms: 20 });
    let mulaw = AudioFormat::raw(Encoding::Mulaw, 8_000);
    let mut group = c.benchmark_group("session_audio_event_20ms");
    for (name, start) in [
        ("unpaced", start()),
        ("paced", Start { pace, ..start() }),
        ("to_mulaw_8k", Start { format: mulaw, ..start() }),
    ] {
        let (mut session, mut now) = speaking(&start);
        group.bench_function(name, |b| {
            b.iter(|| {
                now += Duration::from_millis(20);
                session.on_event(now, 0, Event::Audio(black_box(chunk.clone())));
                drain(&mut session)
            });
        });
    }
    group.finish();
}

fn text_token(c: &mut Criterion) {
    let settings = Settings { characters_per_stream: u64::MAX, ..settings() };
    let token = || Request::Text(StreamName::default_name(), "token ".to_owned());
    c.bench_function("session_100_text_tokens", |b| {
        b.iter_batched_ref(
            || open(settings, &start()),
            |(session, now)| {
                for _ in 0..100 {
                    session.on_request(*now, Ok(token()));
                    drain(session);
                }
            },
            BatchSize::SmallInput,
        );
    });
}

fn whole_stream(c: &mut Criterion) {
    let chunk = Bytes::from(vec![1; CHUNK]);
    c.bench_function("session_start_to_done_8_tokens_50_chunks", |b| {
        b.iter(|| {
            let (mut session, mut now) = speaking(&start());
            for _ in 0..50 {
                now += Duration::from_millis(20);
                session.on_event(now, 0, Event::Audio(chunk.clone()));
                drain(&mut session);
            }
            session.on_request(now, Ok(Request::End(StreamName::default_name())));
            drain(&mut session);
            session.on_event(now, 0, Event::Done);
            drain(&mut session)
        });
    });
}

/// A session whose one stream has its lease and its first text.
fn speaking(start: &Start) -> (Session, Instant) {
    let (mut session, now) = open(settings(), start);
    for token in TOKENS {
        session.on_request(now, Ok(Request::Text(StreamName::default_name(), token.to_owned())));
        drain(&mut session);
    }
    (session, now)
}

#[allow(clippy::disallowed_methods, reason = "there is no other way to an instant to count from")]
fn open(settings: Settings, start: &Start) -> (Session, Instant) {
    let now = Instant::now();
    let mut session = Session::new(settings, now);
    session.on_request(now, Ok(Request::Start(StreamName::default_name(), Box::new(start.clone()))));
    drain(&mut session);
    session.on_admitted(now, 0, vec![route()]);
    session.on_leased(now, 0, Leased { queued: Duration::ZERO, connected: Duration::ZERO });
    drain(&mut session);
    (session, now)
}

fn drain(session: &mut Session) -> usize {
    std::iter::from_fn(|| session.poll_action()).map(|action: Action| drop(black_box(action))).count()
}

fn settings() -> Settings {
    Settings {
        streams: 16,
        characters_per_stream: 50_000,
        text_buffer: 64 * 1024,
        pace_buffer: 1024 * 1024,
        idle: Duration::from_secs(600),
        text_idle: Duration::from_secs(60),
        auth: Duration::ZERO,
        keyless: false,
    }
}

fn route() -> RouteFacts {
    RouteFacts {
        provider: "one".to_owned(),
        voice: "theirs".to_owned(),
        model: None,
        format: AudioFormat::default(),
        first_audio: Duration::from_secs(5),
        gap: Duration::from_secs(3),
        end: Duration::from_secs(5),
        audio: Duration::from_secs(1_800),
    }
}

fn start() -> Start {
    Start {
        voice: VoiceChoice { provider: None, voice: Some("narrator".to_owned()), model: None },
        format: AudioFormat::default(),
        language: None,
        words: false,
        framing: Framing::Raw,
        pace: None,
        options: serde_json::Map::new(),
    }
}

criterion_group!(benches, audio_event, text_token, whole_stream);
criterion_main!(benches);
