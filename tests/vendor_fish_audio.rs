//! Pool, link and codec of Fish Audio against a fake that speaks from the published facts, through real
//! sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

#[path = "support/fake_fish_audio.rs"]
mod fake_fish_audio;
mod support;

use std::time::Duration;

use support::bench::{listen, next, say, speak, until};
use support::fake_server::{Behaviour, Fake, FakeFault, watermark};
use support::studio::{self, Studio, Vendor, own_client};
use voxrelay::lease::CheckoutKind;
use voxrelay_protocol::{Command, Event, FaultKind};

fn fish(api: &'static str) -> Vendor {
    Vendor { name: "fish-audio", judge: fake_fish_audio::judge, api, ask: |spec| spec.words = true }
}

async fn start(behaviour: Behaviour) -> Studio {
    Studio::start(fish("live-with-timestamp"), behaviour).await
}

/// What fails a turn, and that the next one is clean on a fresh link.
async fn fails_once(behaviour: Behaviour, kind: FaultKind) {
    if let Some(studio) = studio::fails_once(fish("live-with-timestamp"), behaviour, kind).await {
        assert_eq!(studio.fake.stats().sockets, 2, "{kind:?}");
    }
}

#[tokio::test]
async fn two_turns_run_on_one_link() {
    for api in ["live-with-timestamp", "live"] {
        let studio = Studio::start(fish(api), Behaviour::odd()).await;
        let mut kinds = Vec::new();
        for text in ["The first turn.", "And the second, which is a good deal longer than the first one was."]
        {
            let mut lease = studio.bench.lease().await;
            kinds.push(lease.checkout().kind);
            assert_eq!(speak(&mut lease, text).await, Ok(watermark(text, 64)));
        }
        assert_eq!(kinds, [CheckoutKind::Cold, CheckoutKind::Warm]);
        assert_eq!((studio.fake.stats().sockets, studio.fake.stats().contexts), (1, 2));
    }
}

#[tokio::test]
async fn a_flush_is_answered_after_its_last_audio_and_word_times_go_on_behind_it() {
    let studio = start(Behaviour::odd()).await;
    let mut lease = studio.lease().await;
    let (mut heard, mut told) = (Vec::new(), Vec::new());
    for text in ["One two. ", "Three."] {
        lease.send(Command::Text(text.into())).unwrap();
        lease.send(Command::Flush).unwrap();
    }
    lease.send(Command::End).unwrap();
    for text in ["One two. ", "Three."] {
        let mut audio = Vec::new();
        loop {
            match next(&mut lease).await.unwrap() {
                Event::Words { words, estimated: false } => told.extend(words),
                Event::Audio(bytes) => audio.extend_from_slice(&bytes),
                Event::Flushed => break,
                event => panic!("{event:?}"),
            }
        }
        assert_eq!(audio, watermark(text, 64));
        heard.extend(audio);
    }
    assert_eq!(next(&mut lease).await, Some(Event::Done));
    // 64 bytes a character at 24 kHz: 1.33 ms.
    let words: Vec<_> = told.iter().map(|word| (word.text.as_str(), word.start_ms)).collect();
    assert_eq!(words, [("One", 0), ("two", 5), ("Three", 12)]);
    assert_eq!((studio.fake.stats().sockets, studio.fake.stats().contexts), (1, 2));
}

#[tokio::test]
async fn a_cancelled_run_takes_its_link_with_it_and_leaks_nothing() {
    let studio = start(Behaviour { pace: Duration::from_millis(1), ..Behaviour::odd() }).await;
    for turn in 1..=10 {
        let mut lease = studio.lease().await;
        say(&mut lease, &"old ".repeat(500));
        assert!(next(&mut lease).await.unwrap().audio_len() > 0);
        drop(lease);
        let text = format!("turn {turn}");
        let mut lease = studio.lease().await;
        assert_eq!(speak(&mut lease, &text).await, Ok(watermark(&text, 64)));
        // The one whose run was cut short is closed at once, which is all that stops the vendor.
        until(|| studio.fake.stats().sockets_live == 1).await;
    }
    assert!(studio.fake.stats().sockets > 10);
    until(|| studio.bench.counts().slots == 0).await;
}

#[tokio::test]
async fn a_cancel_between_runs_leaves_the_link_clean() {
    let studio = start(Behaviour::odd()).await;
    let mut lease = studio.lease().await;
    lease.send(Command::Text("One.".into())).unwrap();
    lease.send(Command::Flush).unwrap();
    while next(&mut lease).await != Some(Event::Flushed) {}
    drop(lease);
    until(|| studio.bench.counts().idle == 1).await;
    assert_eq!(speak(&mut studio.lease().await, "Two.").await, Ok(watermark("Two.", 64)));
    assert_eq!(studio.fake.stats().sockets, 1);
}

#[tokio::test]
async fn every_refused_upgrade_has_its_kind() {
    for (status, kind) in [
        (401, FaultKind::Auth),
        (402, FaultKind::Payment),
        (403, FaultKind::Auth),
        (429, FaultKind::Throttled),
        (500, FaultKind::Http5xx),
        (503, FaultKind::Http5xx),
    ] {
        let refuse_saying = Some((status, "{\"message\":\"no\"}"));
        let studio = start(Behaviour { refuse_saying, ..Behaviour::odd() }).await;
        assert_eq!(studio.bench.fault().await.kind, kind, "{status}");
    }
    let studio = start(Behaviour { key: Some("another".into()), ..Behaviour::odd() }).await;
    assert_eq!(studio.bench.fault().await.kind, FaultKind::Auth);
}

#[tokio::test]
async fn every_error_in_band_has_its_kind_and_costs_the_link() {
    for (error, kind) in [
        ("Concurrency limit exceeded", FaultKind::Throttled),
        ("Invalid Token", FaultKind::Auth),
        ("Insufficient API credit", FaultKind::Payment),
        ("reference_id not found", FaultKind::Rejected),
        ("finish", FaultKind::ContextError),
    ] {
        fails_once(Behaviour { fault: Some(FakeFault::saying(error)), ..Behaviour::odd() }, kind).await;
    }
    fails_once(Behaviour { garbage: 2, ..Behaviour::odd() }, FaultKind::BadFrame).await;
    fails_once(
        Behaviour { fault: Some(FakeFault::closing((1011, "?"))), ..Behaviour::odd() },
        FaultKind::ClosedEarly,
    )
    .await;
    fails_once(Behaviour { die_after: Some(0), ..Behaviour::odd() }, FaultKind::ClosedEarly).await;
}

#[tokio::test]
async fn a_link_cut_after_audio_ends_its_stream_after_all_that_came() {
    let studio = start(Behaviour { die_after: Some(3), ..Behaviour::odd() }).await;
    let mut lease = studio.lease().await;
    let text = "long ".repeat(200);
    say(&mut lease, &text);
    let (heard, end) = listen(&mut lease).await;
    assert_eq!(end, Err(FaultKind::ClosedMidAudio));
    // Three chunks of 963 bytes, to the last whole sample.
    assert_eq!(heard.len(), 2888);
    assert!(watermark(&text, 64).starts_with(&heard));
}

#[tokio::test]
async fn a_run_without_audio_ends_as_one() {
    let studio = start(Behaviour { mute: true, ..Behaviour::odd() }).await;
    assert_eq!(speak(&mut studio.lease().await, "x").await, Ok(Vec::new()));
    assert_eq!(speak(&mut studio.lease().await, "y").await, Ok(Vec::new()));
    assert_eq!(studio.fake.stats().sockets, 1);
}

#[tokio::test]
async fn a_second_finish_and_a_close_behind_it_reach_nobody() {
    for behaviour in [
        Behaviour { done_twice: true, ..Behaviour::odd() },
        Behaviour { close_after_end: true, ..Behaviour::odd() },
        Behaviour { idle: Some(Duration::from_millis(1)), ..Behaviour::odd() },
    ] {
        let studio = start(behaviour).await;
        for turn in 0..10 {
            let text = format!("turn {turn}");
            assert_eq!(speak(&mut studio.lease().await, &text).await, Ok(watermark(&text, 64)));
            // Half of the turns cross the close, the others come behind it.
            if turn % 2 == 0 {
                until(|| studio.fake.stats().sockets_live == 0).await;
            }
        }
        assert!(studio.fake.stats().sockets > 1);
    }
}

#[tokio::test]
async fn a_half_open_link_is_given_up_and_never_handed_out_again() {
    fish("live-with-timestamp").is_half_open().await;
}

#[tokio::test]
async fn a_slow_reader_pauses_its_link_and_loses_nothing() {
    fish("live-with-timestamp").is_read_slowly().await;
}

#[tokio::test]
async fn the_vendors_own_client_is_at_home_with_the_fake() {
    let behaviour = Behaviour { key: Some("k".into()), ..Behaviour::odd() };
    let fake = Fake::start(fake_fish_audio::judge, behaviour).await;
    if own_client(&fake, "fish_audio.py", None).await {
        assert_eq!(fake.stats().contexts, 3);
    }
}
