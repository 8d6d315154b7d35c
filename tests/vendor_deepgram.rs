//! Deepgram as an upstream: pool, link and codec against its fake, through real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

#[path = "support/fake_deepgram.rs"]
mod fake_deepgram;
mod support;

use serde_json::json;
use support::bench::{BUFFER, Bench, listen, next, say, speak, speak_at_once, until};
use support::fake_server::{Behaviour, Fake, FakeFault, watermark};
use support::studio::{Studio, Vendor, own_client, paced};
use voxrelay::lease::{CheckoutKind, Lease};
use voxrelay_protocol::{Command, Event, FaultClass, FaultKind, SynthesisSpec};

const AURA: &str = "v1";
const FLUX: &str = "v2";

fn deepgram(api: &'static str) -> Vendor {
    let ask: fn(&mut SynthesisSpec) = match api {
        FLUX => |spec| spec.voice = "flux-alexis-en".into(),
        _ => |spec| spec.voice = "aura-2-thalia-en".into(),
    };
    Vendor { name: "deepgram", judge: fake_deepgram::judge, api, ask }
}

async fn vendor(api: &'static str, behaviour: Behaviour) -> (Fake, Bench) {
    let Studio { fake, bench, .. } = Studio::start(deepgram(api), behaviour).await;
    (fake, bench)
}

async fn lease(bench: &Bench) -> Lease {
    bench.lease_with(deepgram(bench.upstream.account.api).ask).await
}

#[tokio::test]
async fn two_turns_run_on_one_link() {
    let fake = deepgram(AURA).speaks_twice().await.fake;
    let stats = fake.stats();
    assert_eq!((stats.sockets, stats.contexts, stats.contexts_live, stats.cancels), (1, 2, 0, 0));
    assert_eq!(
        fake.upgrades(),
        ["/v1/speak?model=aura-2-thalia-en&encoding=linear16&sample_rate=24000".to_owned()]
    );
}

#[tokio::test]
async fn two_streams_at_once_have_a_link_each() {
    let (fake, bench) = vendor(AURA, paced(2_000)).await;
    let (mut first, mut second) = (lease(&bench).await, lease(&bench).await);
    speak_at_once(&mut first, &mut second).await;
    assert_eq!(fake.stats().sockets, 2);
}

#[tokio::test]
async fn flushes_come_back_after_their_audio() {
    for api in [AURA, FLUX] {
        let (fake, bench) = vendor(api, Behaviour::default()).await;
        let mut lease = lease(&bench).await;
        for text in ["One. ", "Two."] {
            lease.send(Command::Text(text.into())).unwrap();
            lease.send(Command::Flush).unwrap();
            let mut heard = Vec::new();
            loop {
                match next(&mut lease).await.unwrap() {
                    Event::Audio(audio) => heard.extend_from_slice(&audio),
                    Event::Flushed => break,
                    event => panic!("{event:?}"),
                }
            }
            assert_eq!(heard, watermark(text, 64));
        }
        lease.send(Command::End).unwrap();
        assert_eq!(next(&mut lease).await, Some(Event::Done));
        assert_eq!(next(&mut lease).await, None);
        assert_eq!(fake.messages().iter().filter(|message| message["type"] == "Flush").count(), 3);
    }
}

#[tokio::test]
async fn audio_is_exact_however_it_is_cut_into_frames() {
    let (_fake, bench) = vendor(AURA, Behaviour { chunk_bytes: 961, ..Behaviour::default() }).await;
    let text = "odd ".repeat(100);
    let mut lease = lease(&bench).await;
    say(&mut lease, &text);
    let mut heard = Vec::new();
    loop {
        match next(&mut lease).await.unwrap() {
            Event::Audio(audio) => {
                assert_eq!(audio.len() % 2, 0);
                heard.extend_from_slice(&audio);
            }
            Event::Done => break,
            event => panic!("{event:?}"),
        }
    }
    assert!(heard == watermark(&text, 64), "not exact");
}

#[tokio::test]
async fn nothing_of_a_cancelled_turn_reaches_the_next_one() {
    for ended in [false, true] {
        let (fake, bench) = vendor(AURA, Behaviour { late_chunks: 5, ..paced(1_000) }).await;
        for turn in 0..20 {
            let mut old = lease(&bench).await;
            // Long enough for the vendor to begin by itself.
            old.send(Command::Text("old ".repeat(200))).unwrap();
            if ended {
                old.send(Command::End).unwrap();
            }
            assert!(next(&mut old).await.unwrap().audio_len() > 0);
            drop(old);
            let text = format!("turn {turn}");
            assert_eq!(speak(&mut lease(&bench).await, &text).await, Ok(watermark(&text, 64)));
        }
        until(|| bench.counts().slots == 0).await;
        let stats = fake.stats();
        // The next turn runs on another link while the first is cleared; then both are used again.
        assert!(stats.sockets <= 3, "{} sockets", stats.sockets);
        assert_eq!((stats.cancels, stats.contexts_live), (20, 0));
    }
}

#[tokio::test]
async fn a_clear_that_is_not_answered_costs_the_link() {
    let (fake, bench) = vendor(AURA, Behaviour { cancel_answered: false, ..paced(1_000) }).await;
    let mut old = lease(&bench).await;
    say(&mut old, &"long ".repeat(200));
    next(&mut old).await.unwrap();
    drop(old);
    until(|| bench.counts().links == 0 && bench.counts().slots == 0).await;
    until(|| fake.stats().sockets_live == 0).await;
    assert_eq!(fake.stats().cancels, 1);
}

fn closed(code: u16, reason: &'static str) -> FakeFault {
    FakeFault { close: Some((code, reason)), ..FakeFault::default() }
}

fn told(code: &str) -> FakeFault {
    let message = json!({"type": "Error", "description": "some words", "code": code});
    FakeFault { message: Some(message), ..FakeFault::default() }
}

#[tokio::test]
async fn every_error_has_its_kind_and_ends_the_link() {
    for (api, fault, kind) in [
        (AURA, closed(1003, "MESSAGE-0000: some words"), FaultKind::BadFrame),
        (AURA, closed(1008, "DATA-0000"), FaultKind::BadFrame),
        (AURA, closed(1008, "DATA-0001"), FaultKind::Throttled),
        (AURA, closed(1009, "BIG-0000"), FaultKind::Rejected),
        (AURA, closed(1009, "BIG-0001"), FaultKind::Rejected),
        (AURA, closed(1011, "NET-0000"), FaultKind::ClosedEarly),
        (AURA, closed(1011, "NET-0003"), FaultKind::ClosedEarly),
        (AURA, told("INVALID_AUTH"), FaultKind::Auth),
        (AURA, told("TOO_MANY_REQUESTS"), FaultKind::Throttled),
        (AURA, told("ELSE"), FaultKind::ContextError),
        (FLUX, told("DATA-0002"), FaultKind::Rejected),
        (FLUX, told("BIG-0000"), FaultKind::Rejected),
        (FLUX, told("NET-0004"), FaultKind::ClosedEarly),
        (FLUX, closed(1008, "DATA-0000"), FaultKind::BadFrame),
    ] {
        let (fake, bench) =
            vendor(api, Behaviour { fault: Some(fault.clone()), ..Behaviour::default() }).await;
        assert_eq!(speak(&mut lease(&bench).await, "x").await, Err(kind), "{fault:?}");
        fake.change(|behaviour| behaviour.fault = None);
        if kind.class() == FaultClass::Account {
            assert_eq!(bench.fault().await.kind, kind, "the key is left alone for a while");
            continue;
        }
        assert_eq!(speak(&mut lease(&bench).await, "y").await, Ok(watermark("y", 64)));
        assert_eq!(fake.stats().sockets, 2);
    }
}

#[tokio::test]
async fn a_flush_that_is_refused_fails_the_stream_and_retires_the_link() {
    let (fake, bench) = vendor(AURA, Behaviour { flush_limit: true, ..Behaviour::default() }).await;
    assert_eq!(speak(&mut lease(&bench).await, "x").await, Err(FaultKind::Throttled));
    fake.change(|behaviour| behaviour.flush_limit = false);
    assert_eq!(speak(&mut lease(&bench).await, "y").await, Ok(watermark("y", 64)));
    assert_eq!(fake.stats().sockets, 2);
}

#[tokio::test]
async fn every_refused_upgrade_has_its_kind() {
    let refusals = [
        ((401, None), FaultKind::Auth),
        ((403, None), FaultKind::Auth),
        ((429, Some(3)), FaultKind::Throttled),
        ((503, None), FaultKind::Http5xx),
        ((400, None), FaultKind::Rejected),
    ];
    deepgram(AURA).refuses(&refusals).await;
}

#[tokio::test]
async fn a_link_cut_during_a_turn_ends_it_after_all_that_came() {
    for api in [AURA, FLUX] {
        deepgram(api).is_cut().await;
    }
}

#[tokio::test]
async fn a_stale_link_is_never_handed_out() {
    deepgram(AURA).goes_stale().await;
}

#[tokio::test]
async fn a_half_open_link_is_never_handed_out_again() {
    let (fake, bench) = vendor(AURA, Behaviour::default()).await;
    assert!(speak(&mut lease(&bench).await, "x").await.is_ok());
    fake.change(|behaviour| behaviour.half_open = true);
    let mut stuck = lease(&bench).await;
    assert_eq!(stuck.checkout().kind, CheckoutKind::Warm);
    say(&mut stuck, "never answered");
    until(|| fake.messages().len() > 2).await;
    fake.change(|behaviour| behaviour.half_open = false);
    drop(stuck);
    assert_eq!(speak(&mut lease(&bench).await, "answered").await, Ok(watermark("answered", 64)));
    until(|| bench.counts().links == 1 && bench.counts().slots == 0).await;
    assert_eq!(fake.stats().sockets, 2);
}

#[tokio::test]
async fn a_slow_reader_stops_its_own_link_and_gets_everything() {
    for api in [AURA, FLUX] {
        let (fake, bench) = vendor(api, Behaviour::default()).await;
        let mut slow = lease(&bench).await;
        let long = "s".repeat(40_000);
        say(&mut slow, &long);
        until(|| slow.buffered_bytes() >= BUFFER).await;
        assert!(slow.buffered_bytes() <= BUFFER + 960);
        let mut neighbour = lease(&bench).await;
        assert_eq!(speak(&mut neighbour, "other").await, Ok(watermark("other", 64)));
        assert!(listen(&mut slow).await == (watermark(&long, 64), Ok(())), "not exact");
        assert_eq!(fake.stats().sockets, 2);
    }
}

#[tokio::test]
async fn audio_between_turns_retires_the_link() {
    let (fake, bench) = vendor(AURA, Behaviour { strangers: true, ..Behaviour::default() }).await;
    for text in ["one", "two", "three"] {
        assert_eq!(speak(&mut lease(&bench).await, text).await, Ok(watermark(text, 64)));
        until(|| bench.counts().links == 0).await;
    }
    assert_eq!(fake.stats().sockets, 3);
}

#[tokio::test]
async fn broken_frames_reach_nobody_and_a_second_one_ends_the_link() {
    let (fake, bench) = vendor(AURA, Behaviour { garbage: 1, ..Behaviour::default() }).await;
    assert_eq!(speak(&mut lease(&bench).await, "clean").await, Ok(watermark("clean", 64)));
    assert_eq!(speak(&mut lease(&bench).await, "clean").await, Err(FaultKind::BadFrame));
    fake.change(|behaviour| behaviour.garbage = 0);
    assert_eq!(speak(&mut lease(&bench).await, "again").await, Ok(watermark("again", 64)));
    assert_eq!(fake.stats().sockets, 2);
}

#[tokio::test]
async fn a_turn_without_audio_ends_like_any_other() {
    for api in [AURA, FLUX] {
        let (_fake, bench) = vendor(api, Behaviour { mute: true, ..Behaviour::default() }).await;
        assert_eq!(speak(&mut lease(&bench).await, "letters").await, Ok(Vec::new()));
        assert_eq!(speak(&mut lease(&bench).await, " ").await, Ok(Vec::new()));
    }
}

#[tokio::test]
async fn a_used_flux_link_is_never_given_to_a_stranger() {
    let (fake, bench) = vendor(FLUX, paced(5_000)).await;
    for text in ["The first turn.", "And the second."] {
        let mut lease = lease(&bench).await;
        assert_eq!(lease.checkout().kind, CheckoutKind::Cold);
        assert_eq!(speak(&mut lease, text).await, Ok(watermark(text, 64)));
    }
    let mut old = lease(&bench).await;
    say(&mut old, &"long ".repeat(1_000));
    next(&mut old).await.unwrap();
    drop(old);
    until(|| fake.stats().sockets_live == 0 && bench.counts().slots == 0).await;
    assert_eq!(fake.stats().sockets, 3);
}

#[tokio::test]
async fn the_vendors_own_client_is_at_home_with_the_fake() {
    let behaviour = Behaviour { key: Some("k".into()), ..Behaviour::default() };
    let fake = Fake::start(fake_deepgram::judge, behaviour).await;
    if own_client(&fake, "deepgram_sdk.py", None).await {
        until(|| fake.stats().sockets_live == 0).await;
        assert_eq!(fake.stats().cancels, 1);
    }
}
