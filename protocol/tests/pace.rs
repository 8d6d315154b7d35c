//! Release of audio on a clock, played through without waiting.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use voxrelay_protocol::pace::Pacer;
use voxrelay_protocol::request::Pace;
use voxrelay_protocol::{AudioFormat, Container, Encoding, FaultCode};

#[test]
fn the_first_frames_go_out_at_once_and_never_more_than_the_lead_ahead() {
    let (mut pacer, start) = (pacer(200, 20, s16(24_000)), some_instant());
    pacer.push(silence(960 * 50));
    let mut frames = 0;
    for ms in 0..=600 {
        let now = start + ms_of(ms);
        while let Some(frame) = pacer.pop(now) {
            assert_eq!(frame.len(), 960);
            frames += 1;
        }
        assert_eq!(frames, 10 + ms / 20, "after {ms} ms");
        assert_eq!(pacer.next_at(), Some(start + ms_of((ms / 20 + 1) * 20)));
        assert_eq!(pacer.played_ms(now), ms);
    }
    assert_eq!(pacer.released_ms(), frames * 20);
    assert_eq!(pacer.underruns(), 0);
}

#[test]
fn without_a_lead_each_frame_goes_out_when_it_is_to_be_played() {
    let (mut pacer, start) = (pacer(0, 20, s16(8_000)), some_instant());
    pacer.push(silence(320 * 3));
    assert_eq!(pacer.next_at(), None);
    assert!(pacer.pop(start).is_some());
    assert!(pacer.pop(start + ms_of(19)).is_none());
    assert!(pacer.pop(start + ms_of(20)).is_some());
    assert!(pacer.pop(start + ms_of(39)).is_none());
    assert!(pacer.pop(start + ms_of(40)).is_some());
}

#[test]
fn ten_minutes_of_late_wake_ups_do_not_drift() {
    // 220.5 samples a frame.
    let format = s16(11_025);
    let (mut pacer, start) = (pacer(40, 20, format), some_instant());
    let mut late = 0;
    let mut now = start;
    for frame in 0..30_000_u64 {
        pacer.push(silence(441));
        let at = pacer.next_at().unwrap_or(now);
        assert_eq!(at, start + ms_of((frame * 20).saturating_sub(20)), "frame {frame}");
        now = at + ms_of(late);
        late = (late * 7 + 3) % 11;
        let bytes = pacer.pop(now).expect("its time has come").len();
        assert_eq!(bytes, if frame % 2 == 0 { 440 } else { 442 });
    }
    assert_eq!((pacer.released_ms(), pacer.queued_bytes(), pacer.underruns()), (600_000, 0, 0));
}

#[test]
fn an_underrun_restarts_the_clock_at_the_late_frame() {
    let (mut pacer, start) = (pacer(60, 20, s16(8_000)), some_instant());
    pacer.push(silence(640));
    assert_eq!(drain(&mut pacer, start), 2);
    assert_eq!(pacer.played_ms(start + ms_of(100)), 40, "no more was to be heard");
    pacer.push(silence(320 * 9));
    assert_eq!(drain(&mut pacer, start + ms_of(100)), 3);
    assert_eq!(pacer.underruns(), 1);
    assert_eq!(pacer.played_ms(start + ms_of(110)), 50);
    assert_eq!(pacer.next_at(), Some(start + ms_of(120)));
}

#[test]
fn audio_that_comes_while_the_listener_still_plays_is_no_underrun() {
    let (mut pacer, start) = (pacer(200, 20, s16(8_000)), some_instant());
    pacer.push(silence(640));
    assert_eq!(drain(&mut pacer, start), 2);
    pacer.push(silence(640));
    assert_eq!(drain(&mut pacer, start + ms_of(40)), 2);
    assert_eq!(pacer.underruns(), 0);
    assert_eq!(pacer.played_ms(start + ms_of(50)), 50);
}

#[test]
fn a_late_wake_up_is_no_underrun_of_the_upstream() {
    let (mut pacer, start) = (pacer(0, 20, s16(8_000)), some_instant());
    pacer.push(silence(320 * 10));
    assert_eq!(drain(&mut pacer, start), 1);
    assert_eq!(drain(&mut pacer, start + ms_of(95)), 4);
    assert_eq!((pacer.underruns(), pacer.next_at()), (0, Some(start + ms_of(100))));
}

#[test]
fn only_the_end_lets_a_shorter_frame_out() {
    let (mut pacer, start) = (pacer(1_000, 20, s16(8_000)), some_instant());
    pacer.push(silence(500));
    assert_eq!(pacer.pop(start).unwrap().len(), 320);
    assert_eq!(pacer.pop(start), None);
    assert_eq!(pacer.next_at(), None);
    pacer.end();
    assert!(!pacer.is_done());
    assert_eq!(pacer.pop(start).unwrap().len(), 180);
    assert!(pacer.is_done());
    assert_eq!((pacer.released_ms(), pacer.pop(start)), (31, None));
}

#[test]
fn what_is_cleared_is_never_released() {
    let (mut pacer, start) = (pacer(20, 20, s16(8_000)), some_instant());
    pacer.push(silence(3_200));
    assert!(pacer.pop(start).is_some());
    assert_eq!((pacer.queued_bytes(), pacer.clear()), (2_880, 2_880));
    assert_eq!((pacer.queued_bytes(), pacer.pop(start + ms_of(500)), pacer.next_at()), (0, None, None));
    assert_eq!((pacer.released_ms(), pacer.played_ms(start + ms_of(5))), (20, 5));
}

#[test]
fn a_header_travels_with_the_first_frame_and_is_no_audio() {
    let format = AudioFormat { container: Container::Wav, ..s16(8_000) };
    let (mut pacer, start) = (pacer(1_000, 20, format), some_instant());
    pacer.push(silence(44 + 640));
    assert_eq!(pacer.pop(start).unwrap().len(), 44 + 320);
    assert_eq!(pacer.pop(start).unwrap().len(), 320);
    assert_eq!(pacer.released_ms(), 40);
}

#[test]
fn frames_that_lie_together_are_not_copied() {
    let (mut pacer, start) = (pacer(1_000, 20, s16(8_000)), some_instant());
    let audio = silence(640);
    pacer.push(audio.clone());
    assert_eq!(pacer.pop(start).unwrap().as_ptr(), audio.as_ptr());
    assert_eq!(pacer.pop(start).unwrap().as_ptr(), audio[320..].as_ptr());
}

#[test]
fn a_pace_out_of_bounds_is_refused_by_name() {
    for (lead_ms, frame_ms, field) in
        [(0, 9, "pace.frame_ms"), (0, 101, "pace.frame_ms"), (10_001, 20, "pace.lead_ms")]
    {
        let fault = Pacer::new(Pace { lead_ms, frame_ms }, s16(8_000)).unwrap_err();
        assert_eq!(fault.code, FaultCode::InvalidRequest);
        assert!(fault.detail.starts_with(field));
    }
    for (lead_ms, frame_ms) in [(0, 10), (10_000, 100), (0, 100)] {
        Pacer::check(&Pace { lead_ms, frame_ms }).unwrap();
    }
    let mp3 = AudioFormat::raw(Encoding::Mp3, 24_000);
    let fault = Pacer::new(Pace { lead_ms: 0, frame_ms: 20 }, mp3).unwrap_err();
    assert_eq!(fault.code, FaultCode::UnsupportedFormat);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_byte_goes_out_once_in_order_and_in_time(
        pace in (0_u32..400, 10_u32..=100),
        rate in prop::sample::select(vec![8_000_u32, 11_025, 22_050, 24_000]),
        chunks in prop::collection::vec((0_usize..3_000, 0_u64..90), 0..30),
    ) {
        let (lead, frame_ms) = pace;
        let mut pacer = pacer(lead, frame_ms, s16(rate));
        let start = some_instant();
        let (mut now, mut pushed, mut got) = (start, Vec::new(), Vec::new());
        for (size, wait) in chunks {
            let audio: Vec<u8> = (0..size * 2).map(|n| (pushed.len() + n) as u8).collect();
            pushed.extend_from_slice(&audio);
            pacer.push(audio.into());
            now += ms_of(wait);
            while let Some(frame) = pacer.pop(now) {
                got.extend_from_slice(&frame);
                let ahead = pacer.released_ms() - pacer.played_ms(now);
                prop_assert!(ahead <= u64::from(lead.max(frame_ms)), "{} ms ahead", ahead);
            }
        }
        pacer.end();
        while let Some(at) = pacer.next_at().or((!pacer.is_done()).then_some(now)) {
            now = now.max(at);
            got.extend_from_slice(&pacer.pop(now).unwrap());
        }
        prop_assert!(got == pushed);
    }
}

fn pacer(lead_ms: u32, frame_ms: u32, format: AudioFormat) -> Pacer {
    Pacer::new(Pace { lead_ms, frame_ms }, format).unwrap()
}

fn s16(sample_rate: u32) -> AudioFormat {
    AudioFormat::raw(Encoding::PcmS16le, sample_rate)
}

fn silence(bytes: usize) -> Bytes {
    Bytes::from(vec![0; bytes])
}

#[allow(clippy::disallowed_methods, reason = "there is no other way to an instant to count from")]
fn some_instant() -> Instant {
    Instant::now()
}

fn ms_of(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn drain(pacer: &mut Pacer, now: Instant) -> usize {
    std::iter::from_fn(|| pacer.pop(now)).count()
}
