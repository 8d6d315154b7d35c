//! What conversion, segmenting and pacing cost per 20 ms of audio or per text.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench may panic, and its group needs no docs")]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use voxrelay_protocol::audio::Converter;
use voxrelay_protocol::pace::Pacer;
use voxrelay_protocol::request::Pace;
use voxrelay_protocol::segment::Segmenter;
use voxrelay_protocol::{AudioFormat, Encoding};

const TEXT: &str = "The relay takes text as it is written, token by token, and gives speech as it is made. \
    Mr. Smith paid $3.50 for it, e.g. in cash! Did he? \"Yes,\" said the clerk; then everybody went home.\n";

fn convert(c: &mut Criterion) {
    let mut group = c.benchmark_group("convert_20ms");
    let s16 = |rate| AudioFormat::raw(Encoding::PcmS16le, rate);
    let cases = [
        ("identity_24k", s16(24_000), s16(24_000)),
        ("mulaw_8k", s16(8_000), AudioFormat::raw(Encoding::Mulaw, 8_000)),
        ("alaw_8k", s16(8_000), AudioFormat::raw(Encoding::Alaw, 8_000)),
        ("16k_to_24k", s16(16_000), s16(24_000)),
        ("24k_to_8k_mulaw", s16(24_000), AudioFormat::raw(Encoding::Mulaw, 8_000)),
        ("44k1_to_24k", s16(44_100), s16(24_000)),
    ];
    for (name, from, to) in cases {
        let frame = tone(from.sample_rate);
        group.throughput(Throughput::Bytes(frame.len() as u64));
        let mut converter = Converter::new(from, to).unwrap();
        group.bench_function(name, |b| b.iter(|| converter.push(black_box(frame.clone()))));
    }
    group.finish();
    c.bench_function("converter_new_16k_to_24k", |b| b.iter(|| Converter::new(s16(16_000), s16(24_000))));
    c.bench_function("converter_new_44k1_to_24k", |b| b.iter(|| Converter::new(s16(44_100), s16(24_000))));
}

fn segment(c: &mut Criterion) {
    let text = TEXT.repeat(20);
    let tokens: Vec<&str> = text.split_inclusive(' ').collect();
    let mut group = c.benchmark_group("segment");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("by_word", |b| {
        b.iter(|| {
            let mut segmenter = Segmenter::new(400);
            tokens.iter().map(|token| segmenter.push(token).len()).sum::<usize>()
        });
    });
    group.bench_function("at_once", |b| b.iter(|| Segmenter::new(400).push(black_box(&text)).len()));
    group.finish();
}

fn pace(c: &mut Criterion) {
    let frame = tone(24_000);
    let format = AudioFormat::raw(Encoding::PcmS16le, 24_000);
    let mut pacer = Pacer::new(Pace { lead_ms: 200, frame_ms: 20 }, format).unwrap();
    #[allow(clippy::disallowed_methods, reason = "there is no other way to an instant to count from")]
    let mut now = std::time::Instant::now();
    c.bench_function("pace_20ms", |b| {
        b.iter(|| {
            pacer.push(frame.clone());
            now += Duration::from_millis(20);
            pacer.pop(now)
        });
    });
}

/// 20 ms of a tone in 16-bit PCM.
fn tone(rate: u32) -> Bytes {
    let samples = (0..rate / 50).map(|n| (f64::from(n) * 0.3).sin() * 12_000.0);
    samples.flat_map(|s| (s as i16).to_le_bytes()).collect()
}

criterion_group!(benches, convert, segment, pace);
criterion_main!(benches);
