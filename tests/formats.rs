//! Audio as the client asked for it: framed, encoded, paced.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::SHORT;
use support::TestRelay;
use support::audio::{Tag, loudest};

#[tokio::test]
async fn tagged_frames_tell_their_stream_their_position_and_the_last_one() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    client.speak(json!({ "frames": "tagged", "stream": "a" }), SHORT).await;
    let turn = client.turn().await;
    let mut position = 0;
    for (at, frame) in turn.frames.iter().enumerate() {
        let tag = Tag::of(frame);
        assert_eq!((tag.index, tag.position), (turn.started["index"].as_u64().unwrap(), position));
        assert_eq!(tag.last, at + 1 == turn.frames.len(), "frame {at} of {}", turn.frames.len());
        position += frame.len() as u64 - 12;
    }
    assert_eq!(turn.done["bytes"], position);
}

#[tokio::test]
async fn json_frames_carry_the_same_audio_in_base64() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    client.speak(json!({ "frames": "json" }), SHORT).await;
    let turn = client.turn().await;
    assert!(turn.frames.is_empty());
    let mut audio = Vec::new();
    for message in turn.of("audio") {
        assert_eq!((&message["stream"], &message["position"]), (&"default".into(), &audio.len().into()));
        audio.extend(STANDARD.decode(message["audio"].as_str().unwrap()).unwrap());
    }
    assert!(loudest(&audio) > 1000);
    assert_eq!(audio.len(), client.says(SHORT).await.audio().len());
}

#[tokio::test]
async fn every_pcm_and_telephone_format_has_the_size_its_duration_says() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    let reference = client.says(SHORT).await.done["audio_ms"].as_f64().unwrap();
    for (encoding, rate, sample) in [
        ("mulaw", 8_000, 1),
        ("alaw", 8_000, 1),
        ("pcm_s16le", 8_000, 2),
        ("pcm_s16le", 16_000, 2),
        ("pcm_s16le", 44_100, 2),
        ("pcm_s16le", 48_000, 2),
        ("pcm_f32le", 24_000, 4),
    ] {
        let format = json!({ "encoding": encoding, "sample_rate": rate });
        client.speak(json!({ "format": format }), SHORT).await;
        let turn = client.turn().await;
        let bytes = turn.audio().len();
        assert_eq!(turn.done["bytes"], bytes);
        assert_eq!(bytes % sample, 0, "{format}");
        let ms = (bytes / sample) as f64 * 1000.0 / f64::from(rate);
        assert!((ms - reference).abs() < 5.0, "{format}: {ms} ms, not {reference}");
        assert_eq!(turn.started["format"]["encoding"], encoding);
    }
}

#[tokio::test]
async fn a_wav_begins_with_its_header_and_floats_stay_within_one() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    let raw = client.says(SHORT).await;
    client.speak(json!({ "format": { "container": "wav" } }), SHORT).await;
    let wav = client.turn().await;
    assert_eq!((&wav.audio()[..4], &wav.audio()[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
    assert_eq!(wav.audio().len(), raw.audio().len() + 44);
    assert_eq!(wav.done["audio_ms"], raw.done["audio_ms"], "a header plays nothing");
    client.speak(json!({ "format": { "encoding": "pcm_f32le" } }), SHORT).await;
    let audio = client.turn().await.audio();
    let samples = audio.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let loudest = samples.fold(0.0_f32, |most, sample| most.max(sample.abs()));
    assert!((0.03..=1.0).contains(&loudest), "{loudest}");
}

#[tokio::test]
async fn a_format_that_cannot_be_made_is_refused_and_names_what_can() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    for format in [
        json!({ "encoding": "mp3" }),
        json!({ "encoding": "opus", "container": "ogg" }),
        json!({ "encoding": "flac" }),
        json!({ "sample_rate": 1 }),
        json!({ "container": "ogg" }),
    ] {
        client.send(json!({ "type": "start", "voice": "default", "format": format })).await;
        let error = client.refused("unsupported_format").await;
        assert!(error["detail"].as_str().unwrap().contains("pcm_s16le"), "{error}");
        assert_eq!((&error["status"], &error["retryable"]), (&400.into(), &false.into()));
    }
    client.says(SHORT).await;
}

#[tokio::test]
async fn text_of_white_space_is_done_at_no_cost() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    client.speak(json!({ "frames": "tagged" }), " \n\t ").await;
    let turn = client.turn().await;
    assert_eq!((&turn.done["bytes"], &turn.done["first_audio_ms"]), (&0.into(), &Value::Null));
    assert!(turn.frames.iter().all(|frame| Tag::of(frame).last && frame.len() == 12));
    client.says(SHORT).await;
}

#[tokio::test]
async fn paced_audio_comes_in_frames_of_the_clock_and_is_whole() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    let whole = client.says("One.").await.audio().len();
    client.speak(json!({ "pace": { "lead_ms": 2000, "frame_ms": 20 } }), "One.").await;
    let turn = client.turn().await;
    assert_eq!((turn.audio().len(), &turn.done["bytes"]), (whole, &whole.into()));
    assert!(turn.frames.iter().all(|frame| frame.len() <= 960), "frames of 20 ms");
}
