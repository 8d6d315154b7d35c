//! Pool, link and codec against a fake vendor that misbehaves, through real sockets.

mod support;

use std::time::Duration;

use support::bench::{Bench, listen, say, speak, until};
use support::fake::{Behaviour, FakeError, watermark};
use tokio::time::sleep;
use voxrelay::lease::{CheckoutKind, SendError};
use voxrelay_protocol::{Command, FaultKind};

#[tokio::test]
async fn every_refused_upgrade_has_its_kind() {
    for (refuse, kind, retry_after) in [
        ((401, None), FaultKind::Auth, 60_000),
        ((402, None), FaultKind::Payment, 60_000),
        ((403, None), FaultKind::Auth, 60_000),
        ((429, Some(7)), FaultKind::Throttled, 7_000),
        ((500, None), FaultKind::Http5xx, 100),
        ((503, Some(2)), FaultKind::Http5xx, 2_000),
        ((200, None), FaultKind::Handshake, 100),
        ((302, None), FaultKind::Handshake, 100),
        ((410, None), FaultKind::Handshake, 100),
    ] {
        let bench = Bench::start(Behaviour { refuse: Some(refuse), ..Behaviour::default() }).await;
        assert_eq!(bench.fault().await.kind, kind, "{refuse:?}");
        // The next one is told at once, without another try.
        let again = bench.fault().await;
        assert_eq!(again.kind, kind, "{refuse:?}");
        assert!(again.retry_after_ms.unwrap() <= retry_after * 6 / 5);
        assert!(bench.fake.stats().upgrades <= 2);
        assert_eq!(bench.counts().slots, 0);
    }
}

#[tokio::test]
async fn an_address_that_the_vendor_does_not_take_holds_up_nobody() {
    let bench = Bench::start(Behaviour { refuse: Some((404, None)), ..Behaviour::default() }).await;
    for upgrades in 1..=3 {
        let fault = bench.fault().await;
        assert_eq!((fault.kind, fault.retry_after_ms), (FaultKind::Rejected, None));
        assert_eq!(bench.fake.stats().upgrades, upgrades, "each is asked for once, and no spare");
    }
}

#[tokio::test]
async fn a_vendor_that_cannot_be_reached_is_told_apart() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bench = Bench::at(format!("ws://{closed}"), |_| {}).await;
    assert_eq!(bench.fault().await.kind, FaultKind::Refused);
    let bench = Bench::at("ws://no-such-name.invalid".into(), |_| {}).await;
    assert_eq!(bench.fault().await.kind, FaultKind::Dns);
    let bench = Bench::start(Behaviour { freeze: true, ..Behaviour::default() }).await;
    assert_eq!(bench.fault().await.kind, FaultKind::ConnectTimeout);
    // Plain TCP where TLS is due.
    let bench = Bench::at(bench.fake.url().replace("ws://", "wss://"), |_| {}).await;
    assert!(matches!(
        bench.fault().await.kind,
        FaultKind::Tls | FaultKind::Reset | FaultKind::ConnectTimeout
    ));
}

#[tokio::test]
async fn every_error_in_band_has_its_kind_and_touches_only_its_stream() {
    for code in [None, Some("some_code")] {
        for (status, kind) in [
            (400, FaultKind::Rejected),
            (401, FaultKind::Auth),
            (402, FaultKind::Payment),
            (429, FaultKind::Throttled),
            (500, FaultKind::ContextError),
        ] {
            let bench = Bench::start(Behaviour::default()).await;
            let mut neighbour = bench.lease().await;
            neighbour.send(Command::Text("stays ".into())).unwrap();
            until(|| bench.fake.stats().contexts == 1).await;
            bench.fake.change(|behaviour| {
                behaviour.error = Some(FakeError { status, code, with_context: true });
            });
            let mut lease = bench.lease().await;
            assert_eq!(speak(&mut lease, "x").await, Err(kind));
            assert_eq!(speak(&mut neighbour, "whole").await, Ok(watermark("stays whole", 64)));
            assert_eq!(bench.fake.stats().sockets, 1);
        }
    }
}

#[tokio::test]
async fn an_error_without_a_context_ends_the_link() {
    let error = FakeError { status: 429, code: Some("concurrency_limited"), with_context: false };
    let bench = Bench::start(Behaviour { error: Some(error), ..Behaviour::default() }).await;
    assert_eq!(speak(&mut bench.lease().await, "x").await, Err(FaultKind::Throttled));
    bench.fake.change(|behaviour| behaviour.error = None);
    assert_eq!(speak(&mut bench.lease().await, "y").await, Ok(watermark("y", 64)));
    assert_eq!(bench.fake.stats().sockets, 2);
}

#[tokio::test]
async fn a_link_cut_after_audio_ends_its_streams_after_all_that_came() {
    let bench = Bench::start(Behaviour { die_after: Some(3), ..Behaviour::default() }).await;
    let mut lease = bench.lease().await;
    say(&mut lease, &"long ".repeat(200));
    let (heard, end) = listen(&mut lease).await;
    assert_eq!(end, Err(FaultKind::ClosedMidAudio));
    assert_eq!(heard.len(), 3 * 960);
    assert!(watermark(&"long ".repeat(200), 64).starts_with(&heard));
}

#[tokio::test]
async fn a_fresh_link_cut_before_audio_is_closed_early() {
    let bench = Bench::start(Behaviour { die_after: Some(0), ..Behaviour::default() }).await;
    assert_eq!(speak(&mut bench.lease().await, "x").await, Err(FaultKind::ClosedEarly));
}

#[tokio::test]
async fn a_pooled_link_that_dies_under_a_new_stream_is_replaced_unseen() {
    let bench = Bench::start(Behaviour::default()).await;
    assert!(speak(&mut bench.lease().await, "x").await.is_ok());
    // The link's next context dies; the one after it, on a new link, lives.
    bench.fake.change(|behaviour| behaviour.die_after = Some(0));
    let mut lease = bench.lease().await;
    assert_eq!(lease.checkout().kind, CheckoutKind::Warm);
    lease.send(Command::Text("said ".into())).unwrap();
    until(|| bench.fake.stats().contexts == 2).await;
    bench.fake.change(|behaviour| behaviour.die_after = None);
    assert_eq!(speak(&mut lease, "once").await, Ok(watermark("said once", 64)));
    assert_eq!(bench.fake.stats().sockets, 2);
}

#[tokio::test]
async fn a_stale_link_is_never_handed_out() {
    let idle = Some(Duration::from_millis(10));
    let bench = Bench::start(Behaviour { idle, ..Behaviour::default() }).await;
    for turn in 0..30 {
        let text = format!("turn {turn}");
        assert_eq!(speak(&mut bench.lease().await, &text).await, Ok(watermark(&text, 64)));
        // Around the vendor's own idle limit, where its close and our next turn cross.
        sleep(Duration::from_millis(8 + turn % 5)).await;
    }
    assert!(bench.fake.stats().sockets > 1, "no link went stale");
}

#[tokio::test]
async fn broken_frames_strangers_and_second_ends_reach_nobody() {
    let behaviour = Behaviour { garbage: 1, strangers: true, done_twice: true, ..Behaviour::default() };
    let bench = Bench::start(behaviour).await;
    assert_eq!(speak(&mut bench.lease().await, "clean").await, Ok(watermark("clean", 64)));
    // The link has seen its one broken frame: the next one ends it.
    let second = speak(&mut bench.lease().await, "clean").await;
    assert_eq!(second, Err(FaultKind::BadFrame));
    bench.fake.change(|behaviour| behaviour.garbage = 0);
    assert_eq!(speak(&mut bench.lease().await, "again").await, Ok(watermark("again", 64)));
    assert_eq!(bench.fake.stats().sockets, 2);
}

#[tokio::test]
async fn a_silent_vendor_is_cancelled_when_its_stream_is_given_up() {
    let bench = Bench::start(Behaviour { silent: true, ..Behaviour::default() }).await;
    let mut lease = bench.lease().await;
    say(&mut lease, "x");
    until(|| bench.fake.stats().characters == 1).await;
    drop(lease);
    until(|| bench.fake.stats().cancels == 1 && bench.counts().slots == 0).await;
}

#[tokio::test]
async fn a_vendor_that_reads_nothing_costs_a_bounded_amount_of_text() {
    let bench = Bench::start(Behaviour { half_open: true, ..Behaviour::default() }).await;
    let mut lease = bench.lease().await;
    let text = "t".repeat(16 * 1024);
    let mut sent = 0;
    while lease.send(Command::Text(text.clone())) == Ok(()) {
        sent += text.len();
        tokio::task::yield_now().await;
        assert!(sent < 64 * 1024 * 1024, "text is taken without end");
    }
    let refused = Command::Text(text);
    assert_eq!(lease.send(refused.clone()), Err(SendError::Full(refused)));
}
