//! Pool, link and codec of Fish Audio against a fake that speaks from the published facts, through real
//! sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

#[path = "support/fake_fish_audio.rs"]
mod fake_fish_audio;
mod support;

use std::time::Duration;

use support::bench::{BUFFER, Bench, SOON, listen, next, say, speak, until};
use support::fake_server::{Behaviour, Fake, FakeFault, watermark};
use tokio::time::timeout;
use voxrelay::lease::{CheckoutKind, Lease};
use voxrelay_protocol::provider::{Account, provider};
use voxrelay_protocol::request::Credential;
use voxrelay_protocol::{Command, Event, FaultClass, FaultKind};

struct Tank {
    fake: Fake,
    bench: Bench,
}

impl Tank {
    async fn start(behaviour: Behaviour) -> Self {
        Self::of("live-with-timestamp", behaviour).await
    }

    async fn of(api: &'static str, behaviour: Behaviour) -> Self {
        let fake = Fake::start(fake_fish_audio::judge, behaviour).await;
        let account = Account { url: fake.url(), api_key: Some(Credential::new("secret")), api };
        let provider = provider("fish-audio").expect("a row in the table");
        let bench = Bench::at(fake.url(), |upstream| {
            upstream.provider = provider;
            upstream.account = account;
        });
        Self { bench: bench.await, fake }
    }

    async fn lease(&self) -> Lease {
        self.bench.lease_with(|spec| spec.words = true).await
    }
}

/// What fails a turn, and that the next one is clean on a fresh link.
async fn fails_once(behaviour: Behaviour, kind: FaultKind) {
    let shown = format!("{behaviour:?}");
    let tank = Tank::start(behaviour).await;
    assert_eq!(speak(&mut tank.lease().await, "x").await, Err(kind), "{shown}");
    if matches!(kind.class(), FaultClass::Account | FaultClass::Quota) {
        // Its key is left alone for a while.
        assert_eq!(tank.bench.fault().await.kind, kind, "{shown}");
        return;
    }
    tank.fake.change(|behaviour| *behaviour = Behaviour::odd());
    assert_eq!(speak(&mut tank.lease().await, "clean").await, Ok(watermark("clean", 64)), "{shown}");
    assert_eq!(tank.fake.stats().sockets, 2, "{shown}");
}

#[tokio::test]
async fn two_turns_run_on_one_link() {
    for api in ["live-with-timestamp", "live"] {
        let tank = Tank::of(api, Behaviour::odd()).await;
        let mut kinds = Vec::new();
        for text in ["The first turn.", "And the second, which is a good deal longer than the first one was."]
        {
            let mut lease = tank.bench.lease().await;
            kinds.push(lease.checkout().kind);
            assert_eq!(speak(&mut lease, text).await, Ok(watermark(text, 64)));
        }
        assert_eq!(kinds, [CheckoutKind::Cold, CheckoutKind::Warm]);
        assert_eq!((tank.fake.stats().sockets, tank.fake.stats().contexts), (1, 2));
    }
}

#[tokio::test]
async fn a_flush_is_answered_after_its_last_audio_and_word_times_go_on_behind_it() {
    let tank = Tank::start(Behaviour::odd()).await;
    let mut lease = tank.lease().await;
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
    assert_eq!((tank.fake.stats().sockets, tank.fake.stats().contexts), (1, 2));
}

#[tokio::test]
async fn a_cancelled_run_takes_its_link_with_it_and_leaks_nothing() {
    let tank = Tank::start(Behaviour { pace: Duration::from_millis(1), ..Behaviour::odd() }).await;
    for turn in 1..=10 {
        let mut lease = tank.lease().await;
        say(&mut lease, &"old ".repeat(500));
        assert!(next(&mut lease).await.unwrap().audio_len() > 0);
        drop(lease);
        let text = format!("turn {turn}");
        let mut lease = tank.lease().await;
        assert_eq!(speak(&mut lease, &text).await, Ok(watermark(&text, 64)));
        // The one whose run was cut short is closed at once, which is all that stops the vendor.
        until(|| tank.fake.stats().sockets_live == 1).await;
    }
    assert!(tank.fake.stats().sockets > 10);
    until(|| tank.bench.counts().slots == 0).await;
}

#[tokio::test]
async fn a_cancel_between_runs_leaves_the_link_clean() {
    let tank = Tank::start(Behaviour::odd()).await;
    let mut lease = tank.lease().await;
    lease.send(Command::Text("One.".into())).unwrap();
    lease.send(Command::Flush).unwrap();
    while next(&mut lease).await != Some(Event::Flushed) {}
    drop(lease);
    until(|| tank.bench.counts().idle == 1).await;
    assert_eq!(speak(&mut tank.lease().await, "Two.").await, Ok(watermark("Two.", 64)));
    assert_eq!(tank.fake.stats().sockets, 1);
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
        let tank = Tank::start(Behaviour { refuse_saying, ..Behaviour::odd() }).await;
        assert_eq!(tank.bench.fault().await.kind, kind, "{status}");
    }
    let tank = Tank::start(Behaviour { key: Some("another".into()), ..Behaviour::odd() }).await;
    assert_eq!(tank.bench.fault().await.kind, FaultKind::Auth);
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
    let tank = Tank::start(Behaviour { die_after: Some(3), ..Behaviour::odd() }).await;
    let mut lease = tank.lease().await;
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
    let tank = Tank::start(Behaviour { mute: true, ..Behaviour::odd() }).await;
    assert_eq!(speak(&mut tank.lease().await, "x").await, Ok(Vec::new()));
    assert_eq!(speak(&mut tank.lease().await, "y").await, Ok(Vec::new()));
    assert_eq!(tank.fake.stats().sockets, 1);
}

#[tokio::test]
async fn a_second_finish_and_a_close_behind_it_reach_nobody() {
    for behaviour in [
        Behaviour { done_twice: true, ..Behaviour::odd() },
        Behaviour { close_after_end: true, ..Behaviour::odd() },
        Behaviour { idle: Some(Duration::from_millis(1)), ..Behaviour::odd() },
    ] {
        let tank = Tank::start(behaviour).await;
        for turn in 0..10 {
            let text = format!("turn {turn}");
            assert_eq!(speak(&mut tank.lease().await, &text).await, Ok(watermark(&text, 64)));
            // Half of the turns cross the close, the others come behind it.
            if turn % 2 == 0 {
                until(|| tank.fake.stats().sockets_live == 0).await;
            }
        }
        assert!(tank.fake.stats().sockets > 1);
    }
}

#[tokio::test]
async fn a_half_open_link_is_given_up_and_never_handed_out_again() {
    let tank = Tank::start(Behaviour::odd()).await;
    assert!(speak(&mut tank.lease().await, "x").await.is_ok());
    tank.fake.change(|behaviour| behaviour.half_open = true);
    let mut lease = tank.lease().await;
    assert_eq!(lease.checkout().kind, CheckoutKind::Warm);
    say(&mut lease, "into the void");
    assert!(timeout(Duration::from_millis(50), next(&mut lease)).await.is_err());
    drop(lease);
    tank.fake.change(|behaviour| behaviour.half_open = false);
    assert_eq!(speak(&mut tank.lease().await, "heard").await, Ok(watermark("heard", 64)));
    assert_eq!(tank.fake.stats().sockets, 2);
}

#[tokio::test]
async fn a_slow_reader_pauses_its_link_and_loses_nothing() {
    let tank = Tank::start(Behaviour::odd()).await;
    let mut lease = tank.lease().await;
    let text = "s".repeat(20_000);
    say(&mut lease, &text);
    until(|| lease.buffered_bytes() >= BUFFER).await;
    assert!(lease.buffered_bytes() <= BUFFER + 1024);
    let (heard, end) = timeout(SOON, listen(&mut lease)).await.unwrap();
    assert_eq!(end, Ok(()));
    assert!(heard == watermark(&text, 64), "not the same");
}

#[test]
fn the_vendors_own_client_is_at_home_with_the_fake() {
    let Ok(python) = std::env::var("VOXRELAY_TEST_PYTHON") else {
        eprintln!("skipped: VOXRELAY_TEST_PYTHON names no python with the vendor's package");
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let fake =
            Fake::start(fake_fish_audio::judge, Behaviour { key: Some("k".into()), ..Behaviour::odd() })
                .await;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/fish_audio.py");
        let mut client = tokio::process::Command::new(python);
        client.arg(script).arg(fake.url()).arg("k").kill_on_drop(true);
        let output = timeout(Duration::from_secs(60), client.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(fake.stats().contexts, 3);
    });
}
