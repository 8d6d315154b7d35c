//! Conversion between audio formats, seen from outside.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use voxrelay_protocol::audio::{Converter, available};
use voxrelay_protocol::{AudioFormat, Container, Encoding, FaultCode};

const RATES: [u32; 8] = [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];

#[test]
fn audio_that_needs_no_change_is_not_copied() {
    let mut converter = Converter::new(s16(24_000), s16(24_000)).unwrap();
    let audio = Bytes::from(vec![7; 960]);
    let out = converter.push(audio.clone());
    assert_eq!((out.as_ptr(), out.len()), (audio.as_ptr(), audio.len()));
    assert!(converter.finish().is_empty());
}

#[test]
fn what_the_upstream_gives_as_it_is_passes_whatever_it_is() {
    let mp3 = AudioFormat::raw(Encoding::Mp3, 24_000);
    let ogg = AudioFormat { encoding: Encoding::Opus, sample_rate: 48_000, container: Container::Ogg };
    let wav = wav(Encoding::PcmS16le, 24_000);
    for format in [mp3, ogg, wav] {
        let mut converter = Converter::new(format, format).unwrap();
        assert_eq!(converter.push(Bytes::from_static(b"odd")).as_ref(), b"odd");
        assert!(converter.finish().is_empty());
    }
}

#[test]
fn formats_that_cannot_be_made_are_refused_with_what_can() {
    let refused = [
        AudioFormat::raw(Encoding::Mp3, 24_000),
        AudioFormat::raw(Encoding::Opus, 48_000),
        AudioFormat { encoding: Encoding::PcmS16le, sample_rate: 24_000, container: Container::Ogg },
        AudioFormat { encoding: Encoding::Mp3, sample_rate: 24_000, container: Container::Wav },
        s16(7_999),
        s16(48_001),
        s16(0),
        s16(u32::MAX),
    ];
    for to in refused {
        let fault = available(&to).unwrap_err();
        assert_eq!(fault.code, FaultCode::UnsupportedFormat);
        for word in ["pcm_s16le", "pcm_f32le", "mulaw", "alaw", "raw", "wav", "8000", "48000"] {
            assert!(fault.detail.contains(word), "{word} is missing in: {}", fault.detail);
        }
        assert_eq!(Converter::new(s16(16_000), to).unwrap_err(), fault);
    }
    for from in [AudioFormat::raw(Encoding::Mp3, 24_000), wav(Encoding::PcmS16le, 24_000), s16(0)] {
        let fault = Converter::new(from, s16(16_000)).unwrap_err();
        assert_eq!(fault.code, FaultCode::UnsupportedFormat);
    }
}

#[test]
fn every_mixture_of_available_formats_can_be_made() {
    for (from, to) in pairs() {
        available(&to).unwrap();
        Converter::new(from, to).unwrap();
    }
}

#[test]
fn mulaw_is_what_the_standard_says_for_every_sample() {
    check_g711(Encoding::Mulaw, &mulaw_decisions(), 4, |n| 0xFF - n);
}

#[test]
fn alaw_is_what_the_standard_says_for_every_sample() {
    check_g711(Encoding::Alaw, &alaw_decisions(), 8, |n| (n | 0x80) ^ 0x55);
}

#[test]
fn g711_codes_survive_a_round_trip() {
    for encoding in [Encoding::Mulaw, Encoding::Alaw] {
        let codes: Vec<u8> = (0..=255).collect();
        let samples = convert(AudioFormat::raw(encoding, 8_000), s16(8_000), &codes);
        let mut back = convert(s16(8_000), AudioFormat::raw(encoding, 8_000), &samples);
        if encoding == Encoding::Mulaw {
            // Mu-law writes zero in two ways and 16-bit PCM in one.
            assert_eq!(std::mem::replace(&mut back[0x7F], 0x7F), 0xFF);
        }
        assert_eq!(back, codes);
    }
}

#[test]
fn floats_become_the_nearest_sample_and_too_loud_is_clipped() {
    let floats = [0.0, 0.5, -0.5, 1.0, -1.0, 9.0, -9.0, f32::NAN, f32::INFINITY, 0.4 / 32_768.0];
    let bytes: Vec<u8> = floats.iter().flat_map(|f| f.to_le_bytes()).collect();
    let out = convert(AudioFormat::raw(Encoding::PcmF32le, 8_000), s16(8_000), &bytes);
    let expected = [0, 16_384, -16_384, 32_767, -32_768, 32_767, -32_768, 0, 0, 0];
    assert_eq!(to_samples(&out), expected);
}

#[test]
fn sixteen_bits_survive_a_round_trip_through_floats() {
    let all: Vec<u8> = (i16::MIN..=i16::MAX).flat_map(i16::to_le_bytes).collect();
    let float = AudioFormat::raw(Encoding::PcmF32le, 24_000);
    let there = convert(s16(24_000), float, &all);
    assert_eq!(convert(float, s16(24_000), &there), all);
}

#[test]
fn a_wav_header_says_what_follows_and_leaves_its_lengths_open() {
    let cases = [
        (Encoding::PcmS16le, 1_u16, 2_u16),
        (Encoding::PcmF32le, 3, 4),
        (Encoding::Alaw, 6, 1),
        (Encoding::Mulaw, 7, 1),
    ];
    for (encoding, tag, size) in cases {
        let to = wav(encoding, 16_000);
        let mut converter = Converter::new(s16(16_000), to).unwrap();
        let out = converter.push(Bytes::from_static(&[0; 4]));
        assert_eq!(out.len(), to.header_bytes() + 2 * usize::from(size));
        let chunks = wav_chunks(&out);
        let fmt = &chunks[0].1;
        assert_eq!(chunks[0].0, "fmt ");
        assert_eq!(u16_at(fmt, 0), tag);
        assert_eq!(u16_at(fmt, 2), 1);
        assert_eq!(u32_at(fmt, 4), 16_000);
        assert_eq!(u32_at(fmt, 8), 16_000 * u32::from(size));
        assert_eq!(u16_at(fmt, 12), size);
        assert_eq!(u16_at(fmt, 14), size * 8);
        let names: Vec<_> = chunks.iter().map(|(name, _)| name.as_str()).collect();
        let expected: &[&str] = if tag == 1 { &["fmt ", "data"] } else { &["fmt ", "fact", "data"] };
        assert_eq!(names, expected);
        assert_eq!(converter.push(Bytes::from_static(&[0; 4])).len(), 2 * usize::from(size));
        assert!(converter.finish().is_empty());
    }
}

#[test]
fn a_wav_stream_without_audio_is_still_a_header() {
    let to = wav(Encoding::PcmS16le, 24_000);
    let mut converter = Converter::new(s16(16_000), to).unwrap();
    assert!(converter.push(Bytes::new()).is_empty());
    assert!(converter.push(Bytes::from_static(&[1])).is_empty());
    assert_eq!(converter.finish().len(), to.header_bytes());
    assert!(converter.finish().is_empty());
}

#[test]
fn a_resampled_sine_keeps_60_db_above_its_noise() {
    for (from, to) in
        [(16_000, 24_000), (24_000, 8_000), (44_100, 24_000), (22_050, 24_000), (24_000, 47_999)]
    {
        let float = AudioFormat::raw(Encoding::PcmF32le, from);
        let out = convert(float, AudioFormat::raw(Encoding::PcmF32le, to), &sine(1_000.0, from, from));
        let (snr, gain, late_us) = against_sine(&to_floats(&out), 1_000.0, to);
        println!("{from} -> {to} Hz: SNR {snr:.1} dB, gain {gain:.5}, {late_us:.1} us late");
        assert!(snr > 60.0, "{from} -> {to}: {snr} dB");
        assert!((gain - 1.0).abs() < 0.01, "{from} -> {to}: gain {gain}");
        assert!(late_us.abs() < 1e6 / f64::from(to), "{from} -> {to}: {late_us} us");
    }
}

#[test]
fn what_the_lower_rate_cannot_carry_does_not_fold_back() {
    for (from, to, tone) in [(24_000, 8_000, 5_500.0), (44_100, 24_000, 15_000.0), (48_000, 16_000, 11_000.0)]
    {
        let float = AudioFormat::raw(Encoding::PcmF32le, from);
        let out = convert(float, AudioFormat::raw(Encoding::PcmF32le, to), &sine(tone, from, from));
        let level = level_db(&to_floats(&out)[200..][..to as usize - 400]);
        println!("{tone} Hz, {from} -> {to} Hz: {level:.1} dB");
        assert!(level < -60.0, "{from} -> {to}: {level} dB");
    }
}

#[test]
fn resampling_holds_back_only_milliseconds() {
    for (from, to, most_ms) in [(16_000, 24_000, 3.0), (24_000, 16_000, 3.0), (24_000, 8_000, 4.0)] {
        let mut converter = Converter::new(s16(from), s16(to)).unwrap();
        let out = converter.push(Bytes::from(vec![0; from as usize / 50 * 2]));
        let held = 20.0 - out.len() as f64 / 2.0 / f64::from(to) * 1000.0;
        println!("{from} -> {to} Hz holds back {held:.2} ms");
        assert!(held <= most_ms, "{from} -> {to}: {held} ms");
    }
}

#[test]
fn unusual_rates_keep_their_length_too() {
    for (from, to) in [(4_000, 48_000), (192_000, 8_000), (8_000, 47_999), (47_999, 8_001), (8_001, 8_000)] {
        let out = convert(s16(from), s16(to), &vec![0; from as usize * 2]);
        assert_eq!(out.len(), to as usize * 2, "one second from {from} to {to}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_result_does_not_depend_on_how_the_input_was_cut(
        pair in prop::sample::select(pairs()),
        bytes in prop::collection::vec(any::<u8>(), 0..6_000),
        cuts in prop::collection::vec(0_usize..1_500, 0..12),
    ) {
        let (from, to) = pair;
        let whole = convert(from, to, &bytes);
        let mut converter = Converter::new(from, to).unwrap();
        let mut rest = Bytes::from(bytes);
        let mut out = Vec::new();
        for cut in cuts {
            out.extend_from_slice(&converter.push(rest.split_to(cut.min(rest.len()))));
        }
        out.extend_from_slice(&converter.push(rest));
        out.extend_from_slice(&converter.finish());
        prop_assert!(out == whole);
    }

    #[test]
    fn speech_lasts_as_long_after_conversion_as_before(
        pair in prop::sample::select(pairs()),
        samples in 0_usize..5_000,
    ) {
        let (from, to) = pair;
        let out = convert(from, to, &vec![0; samples * from.encoding.sample_bytes().unwrap()]);
        let made = (out.len() - to.header_bytes()) / to.encoding.sample_bytes().unwrap();
        let exact = samples as f64 * f64::from(to.sample_rate) / f64::from(from.sample_rate);
        prop_assert!((made as f64 - exact).abs() <= 0.5 + 1e-9, "{made} samples, {exact} expected");
    }
}

fn s16(sample_rate: u32) -> AudioFormat {
    AudioFormat::raw(Encoding::PcmS16le, sample_rate)
}

fn wav(encoding: Encoding, sample_rate: u32) -> AudioFormat {
    AudioFormat { encoding, sample_rate, container: Container::Wav }
}

/// Every rate against every other, in all encodings, raw and as WAV.
fn pairs() -> Vec<(AudioFormat, AudioFormat)> {
    let encodings = [Encoding::PcmS16le, Encoding::PcmF32le, Encoding::Mulaw, Encoding::Alaw];
    let mut pairs = Vec::new();
    for (n, from) in RATES.into_iter().enumerate() {
        for (m, to) in RATES.into_iter().enumerate() {
            let (a, b) = (encodings[n % 4], encodings[(n / 4 + m) % 4]);
            pairs.push((AudioFormat::raw(a, from), AudioFormat::raw(b, to)));
            pairs.push((AudioFormat::raw(b, from), wav(a, to)));
        }
    }
    pairs
}

fn convert(from: AudioFormat, to: AudioFormat, bytes: &[u8]) -> Vec<u8> {
    let mut converter = Converter::new(from, to).unwrap();
    let mut out = converter.push(Bytes::copy_from_slice(bytes)).to_vec();
    out.extend_from_slice(&converter.finish());
    out
}

/// Decision values of G.711 table 2a, positive half, on the scale of 14 bits: one interval of 1, 15
/// of 2, then 16 each of 4, 8, .. 256.
fn mulaw_decisions() -> Vec<i32> {
    let mut values = vec![0, 1];
    (0..15).for_each(|_| values.push(values[values.len() - 1] + 2));
    for step in [4, 8, 16, 32, 64, 128, 256] {
        (0..16).for_each(|_| values.push(values[values.len() - 1] + step));
    }
    assert_eq!((values.len(), values[128]), (129, 8_159));
    values
}

/// Decision values of G.711 table 1a, positive half, on the scale of 13 bits: 32 intervals of 2,
/// then 16 each of 4, 8, .. 128.
fn alaw_decisions() -> Vec<i32> {
    let mut values = vec![0];
    (0..32).for_each(|_| values.push(values[values.len() - 1] + 2));
    for step in [4, 8, 16, 32, 64, 128] {
        (0..16).for_each(|_| values.push(values[values.len() - 1] + step));
    }
    assert_eq!((values.len(), values[128]), (129, 4_096));
    values
}

/// All 65,536 samples and all 256 codes against the intervals of the standard.
fn check_g711(encoding: Encoding, decisions: &[i32], scale: i32, code: impl Fn(u8) -> u8) {
    let line = AudioFormat::raw(encoding, 8_000);
    let all: Vec<u8> = (i16::MIN..=i16::MAX).flat_map(i16::to_le_bytes).collect();
    let codes = convert(s16(8_000), line, &all);
    for (sample, got) in (i16::MIN..=i16::MAX).zip(&codes) {
        let sample = i32::from(sample);
        let magnitude = if sample < 0 { -sample - 1 } else { sample };
        let interval = decisions.iter().rposition(|d| d * scale <= magnitude).unwrap().min(127);
        let expected = code(interval as u8) ^ if sample < 0 { 0x80 } else { 0 };
        assert_eq!(*got, expected, "sample {sample}");
    }
    for interval in 0..128_u8 {
        let n = usize::from(interval);
        // The first interval of mu-law is cut in half by zero and stands for zero.
        let middle = if decisions[n + 1] == 1 { 0 } else { (decisions[n] + decisions[n + 1]) / 2 * scale };
        let both = convert(line, s16(8_000), &[code(interval), code(interval) ^ 0x80]);
        assert_eq!(to_samples(&both), [middle, -middle].map(|m| m as i16), "interval {n}");
    }
}

fn to_samples(bytes: &[u8]) -> Vec<i16> {
    bytes.as_chunks().0.iter().map(|b| i16::from_le_bytes(*b)).collect()
}

fn to_floats(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
}

/// A tone at half of full scale, as bytes of floats.
fn sine(hz: f64, rate: u32, samples: u32) -> Vec<u8> {
    let step = std::f64::consts::TAU * hz / f64::from(rate);
    (0..samples).flat_map(|n| ((0.5 * (step * f64::from(n)).sin()) as f32).to_le_bytes()).collect()
}

/// Fits the tone to the middle of the audio: SNR in dB, gain, and how late it is in microseconds.
fn against_sine(audio: &[f64], hz: f64, rate: u32) -> (f64, f64, f64) {
    let period = rate as usize / hz as usize;
    let count = (audio.len() / period - 40) * period;
    let step = std::f64::consts::TAU * hz / f64::from(rate);
    // From the 20th period to the 20th before the last.
    let middle: Vec<(f64, f64, f64)> = (20 * period..20 * period + count)
        .map(|n| (audio[n], (step * n as f64).sin(), (step * n as f64).cos()))
        .collect();
    let sin = middle.iter().map(|(a, s, _)| a * s).sum::<f64>() * 2.0 / count as f64;
    let cos = middle.iter().map(|(a, _, c)| a * c).sum::<f64>() * 2.0 / count as f64;
    let noise: f64 = middle.iter().map(|(a, s, c)| (a - sin * s - cos * c).powi(2)).sum();
    let signal = (sin * sin + cos * cos) / 2.0 * count as f64;
    let late = -cos.atan2(sin) / (std::f64::consts::TAU * hz) * 1e6;
    (10.0 * (signal / noise).log10(), sin.hypot(cos) / 0.5, late)
}

/// Level against a sine of half of full scale, in dB.
fn level_db(audio: &[f64]) -> f64 {
    let mean = audio.iter().map(|s| s * s).sum::<f64>() / audio.len() as f64;
    10.0 * (mean / 0.125).log10()
}

/// Name and body of each chunk; asserts the open lengths on the way.
fn wav_chunks(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    assert_eq!((&bytes[..4], &bytes[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
    assert_eq!(u32_at(bytes, 4), u32::MAX);
    let mut chunks = Vec::new();
    let mut rest = &bytes[12..];
    loop {
        let name = String::from_utf8(rest[..4].to_vec()).unwrap();
        let length = u32_at(rest, 4);
        if name == "data" {
            assert_eq!(length, u32::MAX);
            chunks.push((name, rest[8..].to_vec()));
            return chunks;
        }
        let end = 8 + length as usize;
        chunks.push((name, rest[8..end].to_vec()));
        rest = &rest[end..];
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
