//! An account at a vendor, as clients see it when it works and when it does not.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod support;

use std::time::Duration;

use serde_json::json;
use support::fake::{Behaviour, FakeCartesia, FakeError, watermark};
use support::relay::short;
use support::{SHORT, Seen, TestClient, TestRelay, until};

#[tokio::test]
async fn a_vendor_is_heard_byte_for_byte_by_many_on_one_link() {
    let fake =
        FakeCartesia::start(Behaviour { pace: Duration::from_millis(1), ..Behaviour::default() }).await;
    let relay = TestRelay::with_vendor(&fake, |_, _| {}).await;
    let mut clients = Vec::new();
    for number in 0..8 {
        let mut client = relay.connect().await;
        let text = format!("Turn number {number} of many. ").repeat(20);
        client.speak(json!({ "voice": "vendor" }), &text).await;
        clients.push((client, text));
    }
    for (client, text) in &mut clients {
        let turn = client.turn().await;
        assert_eq!(
            (&turn.started["provider"], &turn.started["model"]),
            (&"vendor".into(), &"sonic-3".into())
        );
        assert_eq!(turn.started["voice"], "vendor", "the name the client knows");
        assert!(turn.audio() == watermark(text, 64), "not the vendor's bytes");
    }
    relay.idle().await;
    assert_eq!((fake.stats().contexts, fake.stats().contexts_live), (8, 0));
}

#[tokio::test]
async fn a_cancel_reaches_the_vendor_and_late_audio_no_one() {
    let behaviour = Behaviour { pace: Duration::from_millis(2), late_chunks: 5, ..Behaviour::default() };
    let fake = FakeCartesia::start(behaviour).await;
    let relay = TestRelay::with_vendor(&fake, |_, _| {}).await;
    let mut client = relay.connect().await;
    for turn in 0..5 {
        client.speak(json!({ "voice": "vendor" }), &"old ".repeat(1000)).await;
        client.audio().await;
        client.send(json!({ "type": "cancel" })).await;
        client.until("cancelled").await;
        let text = format!("Turn {turn}.");
        client.speak(json!({ "voice": "vendor" }), &text).await;
        assert!(client.turn().await.audio() == watermark(&text, 64), "something old in turn {turn}");
    }
    until("all cancels at the vendor", async || (fake.stats().cancels == 5).then_some(())).await;
    relay.idle().await;
}

#[tokio::test]
async fn a_vendor_that_fails_before_any_audio_is_not_noticed_where_there_is_another_way() {
    for (name, change) in ways_to_fail() {
        let fake = FakeCartesia::start(Behaviour::default()).await;
        let relay = TestRelay::with_vendor(&fake, |_, vendor| hasty(vendor)).await;
        fake.change(change);
        let mut client = relay.connect().await;
        client.speak(json!({ "voice": "either" }), SHORT).await;
        let turn = client.turn().await;
        assert_eq!((&turn.done["provider"], &turn.done["resumed"]), (&"local".into(), &0.into()), "{name}");
        assert!(turn.audio().len() > 10_000, "{name}");
        relay.idle().await;
    }
}

#[tokio::test]
async fn a_vendor_that_fails_without_another_way_is_told_as_unavailable_and_never_as_the_callers_fault() {
    for (name, change) in ways_to_fail() {
        let fake = FakeCartesia::start(Behaviour::default()).await;
        let relay = TestRelay::with_vendor(&fake, |_, vendor| hasty(vendor)).await;
        fake.change(change);
        let mut client = relay.connect().await;
        client.speak(json!({ "voice": "vendor" }), SHORT).await;
        let error = client.until("error").await;
        let code = if name == "silent" { "upstream_timeout" } else { "upstream_unavailable" };
        assert_eq!(error["code"], code, "{name}: {error}");
        assert_eq!((&error["retryable"], &error["ended"]), (&true.into(), &true.into()), "{name}: {error}");
        assert!(error.get("sent_ms").is_none() && !error.to_string().contains("canary"), "{name}: {error}");
        // The session lives, and the relay's own voice speaks on it.
        client.says(SHORT).await;
        relay.idle().await;
    }
}

#[tokio::test]
async fn a_vendor_that_breaks_off_in_the_middle_ends_its_stream_with_what_was_sent() {
    let fake = FakeCartesia::start(Behaviour { die_after: Some(20), ..Behaviour::default() }).await;
    let relay = TestRelay::with_vendor(&fake, |_, _| {}).await;
    let mut client = relay.connect().await;
    let text = "It breaks off. ".repeat(40);
    client.speak(json!({ "voice": "either" }), &text).await;
    let mut heard = Vec::new();
    let error = loop {
        match client.next().await {
            Seen::Audio(audio) => heard.extend(audio),
            Seen::Json(message) if message["type"] == "error" => break message,
            Seen::Json(message) => assert_eq!(message["type"], "started", "{message}"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((&error["code"], &error["retryable"]), (&"upstream_unavailable".into(), &false.into()));
    assert_eq!(error["sent_ms"], heard.len() / 48);
    assert!(!heard.is_empty() && watermark(&text, 64).starts_with(&heard), "not a clean prefix");
    client.says(SHORT).await;
    relay.idle().await;
}

#[tokio::test]
async fn a_text_the_vendor_refuses_is_told_as_refused() {
    let error = FakeError { status: 400, code: Some("voice_not_found"), with_context: true };
    let fake = FakeCartesia::start(Behaviour { error: Some(error), ..Behaviour::default() }).await;
    let relay = TestRelay::with_vendor(&fake, |_, _| {}).await;
    let mut client = relay.connect().await;
    client.speak(json!({ "voice": "vendor" }), SHORT).await;
    let told = client.refused("upstream_rejected").await;
    assert_eq!((&told["status"], &told["retryable"]), (&502.into(), &false.into()));
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_client_that_stops_reading_a_shared_link_fails_alone() {
    let fake =
        FakeCartesia::start(Behaviour { pace: Duration::from_millis(1), ..Behaviour::default() }).await;
    let relay = TestRelay::with_vendor(&fake, |config, _| config.limits.stream_buffer = 512 * 1024).await;
    let mut slow = TestClient::open_narrow(&relay.addr, &relay.key, 4096).await;
    let mut quick = relay.connect().await;
    quick.speak(json!({ "voice": "vendor" }), "One link for all.").await;
    quick.turn().await;
    let (long, text) = ("s".repeat(40_000), "n".repeat(10_000));
    slow.speak(json!({ "voice": "vendor" }), &long).await;
    quick.speak(json!({ "voice": "vendor" }), &text).await;
    assert!(quick.turn().await.audio() == watermark(&text, 64), "the neighbour is not exact");
    until("the slow one to be given up", async || (fake.stats().cancels == 1).then_some(())).await;
    let mut heard = Vec::new();
    let error = loop {
        match slow.next().await {
            Seen::Audio(audio) => heard.extend(audio),
            Seen::Json(message) if message["type"] == "error" => break message,
            Seen::Json(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((&error["code"], &error["retryable"]), (&"slow_consumer".into(), &false.into()));
    assert!(watermark(&long, 64).starts_with(&heard), "not a clean prefix");
    assert_eq!(fake.stats().sockets, 1);
    slow.says(SHORT).await;
    relay.idle().await;
}

type Change = fn(&mut Behaviour);

fn ways_to_fail() -> Vec<(&'static str, Change)> {
    vec![
        ("unauthorized", |vendor| vendor.refuse = Some((401, None))),
        ("unpaid", |vendor| vendor.refuse = Some((402, None))),
        ("throttled", |vendor| vendor.refuse = Some((429, Some(1)))),
        ("broken", |vendor| vendor.refuse = Some((500, None))),
        ("redirected", |vendor| vendor.refuse = Some((302, None))),
        ("frozen", |vendor| vendor.freeze = true),
        ("silent", |vendor| vendor.silent = true),
        ("mute", |vendor| vendor.mute = true),
        ("dead at once", |vendor| vendor.die_after = Some(0)),
        ("garbage", |vendor| vendor.garbage = 5),
    ]
}

/// Watchdogs that a story can wait for.
fn hasty(vendor: &mut voxrelay::config::Upstream) {
    short(&mut vendor.watchdogs.connect);
    short(&mut vendor.watchdogs.first_audio);
}
