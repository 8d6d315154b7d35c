//! ElevenLabs as an upstream: pool, link and codec against its fake, through real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

#[path = "support/fake_elevenlabs.rs"]
mod fake_elevenlabs;
mod support;

use serde_json::json;
use support::bench::{BUFFER, Bench, listen, next, say, speak, speak_at_once, until};
use support::fake_server::{Behaviour, Fake, FakeFault, watermark};
use support::studio::{Studio, Vendor, own_client, paced};
use voxrelay::lease::{CheckoutKind, Lease};
use voxrelay_protocol::{Command, Event, FaultClass, FaultKind};

const MULTI: &str = "multi-stream-input";
const SINGLE: &str = "stream-input";

fn elevenlabs(api: &'static str) -> Vendor {
    Vendor { name: "elevenlabs", judge: fake_elevenlabs::judge, api, ask: |_| {} }
}

async fn vendor(api: &'static str, behaviour: Behaviour) -> (Fake, Bench) {
    let Studio { fake, bench, .. } = Studio::start(elevenlabs(api), behaviour).await;
    (fake, bench)
}

#[tokio::test]
async fn two_turns_run_on_one_link() {
    let fake = elevenlabs(MULTI).speaks_twice().await.fake;
    let stats = fake.stats();
    assert_eq!((stats.sockets, stats.contexts, stats.contexts_live, stats.cancels), (1, 2, 0, 0));
}

#[tokio::test]
async fn each_voice_has_links_of_its_own() {
    let (fake, bench) = vendor(MULTI, Behaviour::default()).await;
    for voice in ["a", "b", "a"] {
        let mut lease = bench.lease_with(|spec| spec.voice = voice.into()).await;
        assert_eq!(speak(&mut lease, "x").await, Ok(watermark("x", 64)));
    }
    let upgrades = fake.upgrades();
    assert_eq!(upgrades.len(), 2);
    assert!(upgrades[0].starts_with("/v1/text-to-speech/a/multi-stream-input?output_format=pcm_24000"));
}

#[tokio::test]
async fn flushes_and_word_times_come_back_in_order() {
    for api in [MULTI, SINGLE] {
        let (_fake, bench) = vendor(api, Behaviour::default()).await;
        let mut lease = bench.lease_with(|spec| spec.words = true).await;
        let (mut words, mut flushed, mut heard) = (Vec::new(), Vec::new(), 0);
        // One chunk holds fifteen characters: words lie across their borders.
        for text in ["One two three four. ", "Five."] {
            lease.send(Command::Text(text.into())).unwrap();
            lease.send(Command::Flush).unwrap();
        }
        lease.send(Command::End).unwrap();
        loop {
            match next(&mut lease).await.unwrap() {
                Event::Words { words: told, estimated: false } => words.extend(told),
                Event::Audio(audio) => heard += audio.len(),
                Event::Flushed => flushed.push(heard),
                Event::Done => break,
                event => panic!("{event:?}"),
            }
        }
        let texts: Vec<_> = words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(texts, ["One", "two", "three", "four.", "Five."]);
        let times: Vec<_> = words.iter().map(|word| (word.start_ms, word.end_ms)).collect();
        // 64 bytes a character are 4/3 ms.
        assert_eq!(times, [(0, 4), (5, 9), (11, 17), (19, 25), (26, 33)]);
        // `stream-input` does not answer flushes: its end does.
        let all = 25 * 64;
        assert_eq!(flushed, if api == MULTI { vec![20 * 64, all] } else { vec![all, all] });
    }
}

#[tokio::test]
async fn two_contexts_interleave_on_one_link_and_stay_apart() {
    let (fake, bench) = vendor(MULTI, paced(2_000)).await;
    let (mut first, mut second) = (bench.lease().await, bench.lease().await);
    assert_eq!(second.checkout().kind, CheckoutKind::Hit);
    speak_at_once(&mut first, &mut second).await;
    let stats = fake.stats();
    assert_eq!((stats.sockets, stats.contexts_most), (1, 2));
}

#[tokio::test]
async fn a_fifth_context_goes_to_another_link() {
    let (fake, bench) = vendor(MULTI, Behaviour::default()).await;
    let mut leases = Vec::new();
    for _ in 0..5 {
        let mut lease = bench.lease().await;
        lease.send(Command::Text("begun ".into())).unwrap();
        leases.push(lease);
    }
    until(|| fake.stats().contexts == 5).await;
    assert_eq!(fake.stats().sockets, 2);
    for lease in &mut leases {
        assert_eq!(speak(lease, "and ended").await, Ok(watermark("begun and ended", 64)));
    }
}

#[tokio::test]
async fn nothing_of_a_cancelled_turn_reaches_the_next_one() {
    for ended in [false, true] {
        let (fake, bench) = vendor(MULTI, Behaviour { late_chunks: 5, ..paced(1_000) }).await;
        for turn in 0..20 {
            let mut lease = bench.lease().await;
            // Long enough for the vendor to begin by itself.
            lease.send(Command::Text("old ".repeat(100))).unwrap();
            if ended {
                lease.send(Command::End).unwrap();
            }
            assert!(next(&mut lease).await.unwrap().audio_len() > 0);
            drop(lease);
            let text = format!("turn {turn}");
            assert_eq!(speak(&mut bench.lease().await, &text).await, Ok(watermark(&text, 64)));
        }
        let stats = fake.stats();
        assert_eq!(stats.contexts, 40);
        assert!(stats.sockets <= 3, "{} sockets", stats.sockets);
        assert_eq!(stats.cancels, if ended { 0 } else { 20 });
    }
}

#[tokio::test]
async fn barge_ins_faster_than_the_vendor_closes_never_open_a_context_too_many() {
    let (fake, bench) = vendor(MULTI, Behaviour { late_chunks: 20, ..paced(5_000) }).await;
    for _ in 0..30 {
        let mut lease = bench.lease().await;
        lease.send(Command::Text("old ".repeat(100))).unwrap();
        let event = next(&mut lease).await.unwrap();
        assert!(event.audio_len() > 0, "{event:?}");
    }
    assert_eq!(speak(&mut bench.lease().await, "x").await, Ok(watermark("x", 64)));
    until(|| bench.counts().slots == 0).await;
    let stats = fake.stats();
    assert_eq!((stats.contexts, stats.contexts_live), (31, 0));
    assert_eq!(stats.sockets, stats.sockets_live, "a socket was closed for a context too many");
}

#[tokio::test]
async fn a_cancelled_context_keeps_its_place_until_the_vendors_last_word() {
    let (fake, bench) = vendor(MULTI, Behaviour { late_chunks: 30, ..paced(10_000) }).await;
    let mut lease = bench.lease().await;
    lease.send(Command::Text("long ".repeat(100))).unwrap();
    next(&mut lease).await.unwrap();
    drop(lease);
    until(|| fake.stats().cancels == 1).await;
    assert_eq!(bench.counts().slots, 1);
    until(|| bench.counts().slots == 0).await;
    assert_eq!(fake.stats().contexts_live, 0);
}

#[tokio::test]
async fn a_cancelled_context_without_a_last_word_is_given_up_on() {
    let (fake, bench) =
        vendor(MULTI, Behaviour { cancel_answered: false, late_chunks: 0, ..paced(10_000) }).await;
    let mut lease = bench.lease().await;
    lease.send(Command::Text("long ".repeat(100))).unwrap();
    next(&mut lease).await.unwrap();
    drop(lease);
    until(|| fake.stats().cancels == 1 && bench.counts().slots == 0).await;
    assert_eq!(speak(&mut bench.lease().await, "x").await, Ok(watermark("x", 64)));
    assert_eq!(fake.stats().sockets, 1);
}

/// Every error of the vendor's that comes on a socket.
const ERRORS: [(&str, FaultKind); 12] = [
    ("max_active_conversations", FaultKind::Throttled),
    ("too_many_concurrent_requests", FaultKind::Throttled),
    ("concurrent_limit_exceeded", FaultKind::Throttled),
    ("rate_limit_exceeded", FaultKind::Throttled),
    ("system_busy", FaultKind::ContextError),
    ("invalid_api_key", FaultKind::Auth),
    ("detected_unusual_activity", FaultKind::Auth),
    ("quota_exceeded", FaultKind::Payment),
    ("only_for_creator+", FaultKind::Payment),
    ("voice_not_found", FaultKind::Rejected),
    ("max_character_limit_exceeded", FaultKind::Rejected),
    ("something_else", FaultKind::ContextError),
];

fn error(name: &str, with_context: bool) -> FakeFault {
    let message = json!({"message": "some words", "error": name, "code": 1008});
    let close = (!with_context).then_some((1008, "some words"));
    FakeFault { message: Some(message), with_context, close }
}

#[tokio::test]
async fn every_error_of_a_context_has_its_kind_and_touches_only_its_stream() {
    for (name, kind) in ERRORS {
        let (fake, bench) = vendor(MULTI, Behaviour::default()).await;
        let mut neighbour = bench.lease().await;
        neighbour.send(Command::Text("stays ".into())).unwrap();
        until(|| fake.stats().characters == 6).await;
        fake.change(|behaviour| behaviour.fault = Some(error(name, true)));
        assert_eq!(speak(&mut bench.lease().await, "x").await, Err(kind), "{name}");
        fake.change(|behaviour| behaviour.fault = None);
        assert_eq!(speak(&mut neighbour, "whole").await, Ok(watermark("stays whole", 64)));
        assert_eq!(fake.stats().sockets, 1);
    }
}

#[tokio::test]
async fn every_error_of_the_socket_has_its_kind_and_ends_the_link() {
    for api in [MULTI, SINGLE] {
        for (name, kind) in ERRORS {
            let (fake, bench) =
                vendor(api, Behaviour { fault: Some(error(name, false)), ..Behaviour::default() }).await;
            assert_eq!(speak(&mut bench.lease().await, "x").await, Err(kind), "{name}");
            fake.change(|behaviour| behaviour.fault = None);
            if matches!(kind.class(), FaultClass::Account | FaultClass::Quota) {
                assert_eq!(bench.fault().await.kind, kind, "the key is left alone for a while");
                continue;
            }
            assert_eq!(speak(&mut bench.lease().await, "y").await, Ok(watermark("y", 64)));
            assert_eq!(fake.stats().sockets, 2);
        }
    }
}

#[tokio::test]
async fn every_refused_upgrade_has_its_kind() {
    let refusals = [
        ((401, None), FaultKind::Auth),
        ((403, None), FaultKind::Auth),
        ((402, None), FaultKind::Payment),
        ((429, Some(3)), FaultKind::Throttled),
        ((503, None), FaultKind::Http5xx),
        ((404, None), FaultKind::Rejected),
    ];
    elevenlabs(MULTI).refuses(&refusals).await;
}

#[tokio::test]
async fn a_link_cut_during_a_turn_ends_it_after_all_that_came() {
    for api in [MULTI, SINGLE] {
        elevenlabs(api).is_cut().await;
    }
}

#[tokio::test]
async fn a_stale_link_is_never_handed_out() {
    elevenlabs(MULTI).goes_stale().await;
}

#[tokio::test]
async fn a_half_open_link_holds_its_streams_up_and_nobody_else() {
    let (fake, bench) = vendor(SINGLE, Behaviour { half_open: true, ..Behaviour::default() }).await;
    let mut stuck = bench.lease().await;
    say(&mut stuck, "never answered");
    until(|| !fake.messages().is_empty()).await;
    fake.change(|behaviour| behaviour.half_open = false);
    assert_eq!(speak(&mut bench.lease().await, "answered").await, Ok(watermark("answered", 64)));
    drop(stuck);
    until(|| bench.counts().slots == 0 && bench.counts().links == 0).await;
}

#[tokio::test]
async fn a_slow_reader_on_a_shared_link_fails_alone_and_its_neighbour_is_exact() {
    let (fake, bench) = vendor(MULTI, paced(100)).await;
    let (mut slow, mut neighbour) = (bench.lease().await, bench.lease().await);
    let (long, text) = ("s".repeat(40_000), "n".repeat(4_000));
    say(&mut slow, &long);
    assert!(speak(&mut neighbour, &text).await == Ok(watermark(&text, 64)), "the neighbour is not exact");
    until(|| slow.buffered_bytes() >= BUFFER).await;
    assert!(slow.buffered_bytes() <= BUFFER + 960);
    // Its context had been ended: the vendor speaks on, into nothing.
    until(|| fake.stats().contexts_live == 0).await;
    let (heard, end) = listen(&mut slow).await;
    assert_eq!(end, Err(FaultKind::SlowConsumer));
    assert!(watermark(&long, 64).starts_with(&heard), "not a clean prefix");
    assert_eq!(fake.stats().sockets, 1);
}

#[tokio::test]
async fn a_slow_reader_on_a_link_of_its_own_gets_everything() {
    let (_fake, bench) = vendor(SINGLE, Behaviour::default()).await;
    let mut slow = bench.lease().await;
    let long = "s".repeat(40_000);
    say(&mut slow, &long);
    until(|| slow.buffered_bytes() >= BUFFER).await;
    assert!(slow.buffered_bytes() <= BUFFER + 960);
    assert!(listen(&mut slow).await == (watermark(&long, 64), Ok(())), "not exact");
}

#[tokio::test]
async fn broken_frames_strangers_and_second_ends_reach_nobody() {
    let behaviour = Behaviour { garbage: 1, strangers: true, done_twice: true, ..Behaviour::default() };
    let (fake, bench) = vendor(MULTI, behaviour).await;
    assert_eq!(speak(&mut bench.lease().await, "clean").await, Ok(watermark("clean", 64)));
    assert_eq!(speak(&mut bench.lease().await, "clean").await, Err(FaultKind::BadFrame));
    fake.change(|behaviour| behaviour.garbage = 0);
    assert_eq!(speak(&mut bench.lease().await, "again").await, Ok(watermark("again", 64)));
    assert_eq!(fake.stats().sockets, 2);
}

#[tokio::test]
async fn a_turn_without_audio_ends_like_any_other() {
    for api in [MULTI, SINGLE] {
        let (_fake, bench) = vendor(api, Behaviour { mute: true, ..Behaviour::default() }).await;
        assert_eq!(speak(&mut bench.lease().await, "letters").await, Ok(Vec::new()));
        assert_eq!(speak(&mut bench.lease().await, " ").await, Ok(Vec::new()));
    }
}

#[tokio::test]
async fn on_stream_input_every_turn_has_a_link_and_a_cancel_closes_it() {
    let (fake, bench) = vendor(SINGLE, paced(5_000)).await;
    for text in ["The first turn.", "And the second."] {
        let mut lease = bench.lease().await;
        assert_eq!(lease.checkout().kind, CheckoutKind::Cold);
        assert_eq!(speak(&mut lease, text).await, Ok(watermark(text, 64)));
    }
    let mut lease: Lease = bench.lease().await;
    say(&mut lease, &"long ".repeat(1_000));
    next(&mut lease).await.unwrap();
    drop(lease);
    until(|| fake.stats().sockets_live == 0 && bench.counts().slots == 0).await;
    assert_eq!(fake.stats().sockets, 3);
    assert!(fake.upgrades()[0].contains("/stream-input?"));
}

#[tokio::test]
async fn settings_are_sent_once_with_each_context() {
    let (fake, bench) = vendor(MULTI, Behaviour::default()).await;
    let options = json!({"speed": 1.1, "chunk_length_schedule": [50]});
    let mut lease = bench.lease_with(|spec| spec.options = options.as_object().unwrap().clone()).await;
    lease.send(Command::Text("one ".into())).unwrap();
    assert_eq!(speak(&mut lease, "two").await, Ok(watermark("one two", 64)));
    let messages = fake.messages();
    assert_eq!(messages[0]["voice_settings"], json!({"speed": 1.1}));
    assert_eq!(messages[0]["generation_config"], json!({"chunk_length_schedule": [50]}));
    assert!(messages[1..].iter().all(|message| message.get("voice_settings").is_none()));
}

#[tokio::test]
async fn the_vendors_own_client_is_at_home_with_the_fake() {
    let behaviour = Behaviour { key: Some("k".into()), ..Behaviour::default() };
    let fake = Fake::start(fake_elevenlabs::judge, behaviour).await;
    if own_client(&fake, "elevenlabs_sdk.py", None).await {
        assert_eq!(fake.stats().contexts_live, 0);
    }
}
