//! Pool, link and codec against a fake vendor, through real sockets: how streams fare.

mod support;

use std::time::Duration;

use support::bench::{BUFFER, Bench, SOON, listen, next, say, speak, speak_at_once, until};
use support::fake::{self, Behaviour, FakeCartesia, watermark};
use support::studio::{Vendor, own_client};
use tokio::time::{Instant, timeout};
use voxrelay::lease::CheckoutKind;
use voxrelay::pool::CheckoutError;
use voxrelay_protocol::{Command, Event, FaultKind};

#[tokio::test]
async fn two_turns_run_on_one_link() {
    let cartesia = Vendor { name: "cartesia", judge: fake::judge, api: "", ask: |_| {} };
    let studio = cartesia.speaks_twice().await;
    let stats = studio.fake.stats();
    assert_eq!((stats.sockets, stats.contexts, stats.cancels), (1, 2, 0));
}

#[tokio::test]
async fn flushes_and_word_times_come_back_in_order() {
    let bench = Bench::start(Behaviour::default()).await;
    let mut lease = bench.lease_with(|spec| spec.words = true).await;
    let mut words = Vec::new();
    for text in ["One two. ", "Three."] {
        lease.send(Command::Text(text.into())).unwrap();
        lease.send(Command::Flush).unwrap();
        loop {
            match next(&mut lease).await.unwrap() {
                Event::Words { words: told, estimated: false } => words.extend(told),
                Event::Audio(_) => {}
                Event::Flushed => break,
                event => panic!("{event:?}"),
            }
        }
    }
    let texts: Vec<_> = words.iter().map(|word| word.text.as_str()).collect();
    assert_eq!(texts, ["One", "two.", "Three."]);
    assert!(words.windows(2).all(|pair| pair[0].start_ms <= pair[1].start_ms));
    lease.send(Command::End).unwrap();
    assert_eq!(next(&mut lease).await, Some(Event::Done));
    assert_eq!(next(&mut lease).await, None);
}

#[tokio::test]
async fn two_contexts_interleave_on_one_link_and_stay_apart() {
    let pace = Duration::from_millis(2);
    let bench = Bench::start(Behaviour { pace, ..Behaviour::default() }).await;
    let (mut first, mut second) = (bench.lease().await, bench.lease().await);
    assert_eq!(second.checkout().kind, CheckoutKind::Hit);
    speak_at_once(&mut first, &mut second).await;
    let stats = bench.fake.stats();
    assert_eq!((stats.sockets, stats.contexts_most), (1, 2));
}

#[tokio::test]
async fn nothing_of_a_cancelled_turn_reaches_the_next_one() {
    let behaviour = Behaviour { pace: Duration::from_millis(1), late_chunks: 5, ..Behaviour::default() };
    let bench = Bench::start(behaviour).await;
    for turn in 0..20 {
        let mut lease = bench.lease().await;
        say(&mut lease, &"old ".repeat(500));
        assert!(next(&mut lease).await.unwrap().audio_len() > 0);
        drop(lease);
        let mut lease = bench.lease().await;
        let text = format!("turn {turn}");
        assert_eq!(speak(&mut lease, &text).await, Ok(watermark(&text, 64)));
    }
    let stats = bench.fake.stats();
    assert_eq!((stats.sockets, stats.cancels), (1, 20));
}

#[tokio::test]
async fn a_dropped_lease_cancels_upstream_and_frees_its_slot() {
    for cancel_answered in [true, false] {
        let pace = Duration::from_millis(20);
        let bench = Bench::start(Behaviour { pace, cancel_answered, ..Behaviour::default() }).await;
        let mut lease = bench.lease().await;
        say(&mut lease, &"long ".repeat(1000));
        next(&mut lease).await.unwrap();
        let dropped = Instant::now();
        drop(lease);
        until(|| bench.fake.stats().cancels == 1).await;
        assert!(dropped.elapsed() < Duration::from_secs(1));
        until(|| bench.counts().slots == 0).await;
        assert_eq!(bench.fake.stats().contexts_live, 0);
    }
}

#[tokio::test]
async fn a_slow_reader_on_a_shared_link_fails_alone_and_its_neighbour_is_exact() {
    let bench = Bench::start(Behaviour { pace: Duration::from_micros(500), ..Behaviour::default() }).await;
    let (mut slow, mut neighbour) = (bench.lease().await, bench.lease().await);
    let (long, text) = ("s".repeat(100_000), "n".repeat(20_000));
    say(&mut slow, &long);
    assert!(speak(&mut neighbour, &text).await == Ok(watermark(&text, 64)), "the neighbour is not exact");
    until(|| bench.fake.stats().cancels == 1).await;
    assert!(slow.buffered_bytes() <= BUFFER + 960);
    let (heard, end) = listen(&mut slow).await;
    assert_eq!(end, Err(FaultKind::SlowConsumer));
    assert!(watermark(&long, 64).starts_with(&heard), "not a clean prefix");
    assert_eq!(bench.fake.stats().sockets, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_are_never_exceeded_by_two_hundred_racing_checkouts() {
    let behaviour = Behaviour { pace: Duration::from_micros(200), ..Behaviour::default() };
    let bench = Bench::with(behaviour, |upstream| upstream.streams = 10).await;
    let races = (0..200).map(|racer| {
        let bench = bench.clone();
        async move {
            let mut lease = bench.lease().await;
            if racer % 3 == 0 {
                say(&mut lease, &"given up ".repeat(50));
                next(&mut lease).await.unwrap();
                return;
            }
            let text = format!("racer {racer}");
            assert_eq!(speak(&mut lease, &text).await, Ok(watermark(&text, 64)));
        }
    });
    futures_util::future::join_all(races).await;
    let stats = bench.fake.stats();
    assert_eq!(stats.contexts, 200);
    assert!(stats.contexts_most <= 10, "{} at once", stats.contexts_most);
    until(|| bench.counts().slots == 0).await;
}

#[tokio::test]
async fn a_checkout_that_finds_no_slot_says_how_many_there_are() {
    let bench = Bench::with(Behaviour::default(), |upstream| upstream.streams = 1).await;
    let held = bench.lease().await;
    let refused = bench.checkout(Duration::from_millis(20)).await.map(|_| ());
    assert_eq!(refused, Err(CheckoutError::Slots { limit: 1, used: 1 }));
    drop(held);
    assert!(bench.checkout(SOON).await.is_ok());
}

#[tokio::test]
async fn a_checkout_that_is_given_up_leaves_nothing_behind() {
    let bench = Bench::start(Behaviour { freeze: true, ..Behaviour::default() }).await;
    assert!(timeout(Duration::from_millis(20), bench.checkout(SOON)).await.is_err());
    let counts = bench.counts();
    assert_eq!((counts.slots, counts.waiting), (0, 0));
}

#[tokio::test]
async fn spares_are_kept_for_a_dial_in_use() {
    let bench = Bench::with(Behaviour::default(), |upstream| upstream.pool.warm = 2).await;
    let lease = bench.lease().await;
    assert_eq!(lease.checkout().kind, CheckoutKind::Cold);
    until(|| bench.counts().idle == 2).await;
    assert_eq!(bench.fake.stats().sockets, 3);
}

#[tokio::test]
async fn a_drain_refuses_new_leases_and_lets_the_running_one_finish() {
    let bench = Bench::start(Behaviour { pace: Duration::from_millis(1), ..Behaviour::default() }).await;
    let mut lease = bench.lease().await;
    say(&mut lease, "to the end");
    bench.drain.begin();
    assert_eq!(bench.checkout(SOON).await.map(|_| ()), Err(CheckoutError::Draining));
    assert_eq!(listen(&mut lease).await, (watermark("to the end", 64), Ok(())));
    assert!(bench.drain.wait(SOON).await, "a link outlives the drain");
}

#[tokio::test]
async fn the_vendors_own_client_is_at_home_with_the_fake() {
    let fake = FakeCartesia::start(Behaviour { key: Some("k".into()), ..Behaviour::default() }).await;
    if own_client(&fake, "cartesia_sdk.py", None).await {
        let stats = fake.stats();
        assert_eq!((stats.contexts_live, stats.cancels), (0, 1));
    }
}
