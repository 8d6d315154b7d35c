//! Pool, link and codec against a scripted vendor, through real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

#[path = "support/fake.rs"]
mod fake;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use fake::{Behaviour, FakeCartesia, FakeError, watermark};
use tokio::time::{Instant, sleep, timeout};
use voxrelay::config::{PoolSettings, Upstream, Watchdogs};
use voxrelay::drain::Drain;
use voxrelay::lease::{CheckoutKind, Lease, SendError};
use voxrelay::pool::{CheckoutError, Pools};
use voxrelay_protocol::provider::{Account, provider};
use voxrelay_protocol::request::Credential;
use voxrelay_protocol::{AudioFormat, Command, Event, FaultKind, SynthesisSpec};

const BUFFER: usize = 64 * 1024;
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn two_turns_run_on_one_link() {
    let bench = Bench::start(Behaviour { key: Some("secret".into()), ..Behaviour::default() }).await;
    let mut kinds = Vec::new();
    for text in ["The first turn.", "And the second."] {
        let mut lease = bench.lease().await;
        kinds.push(lease.checkout().kind);
        assert_eq!(speak(&mut lease, text).await, Ok(watermark(text, 64)));
    }
    assert_eq!(kinds, [CheckoutKind::Cold, CheckoutKind::Warm]);
    let stats = bench.fake.stats();
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
    let texts = ["a".repeat(300), "z".repeat(300)];
    let (heard_first, heard_second) =
        tokio::join!(speak(&mut first, &texts[0]), speak(&mut second, &texts[1]));
    assert_eq!(heard_first, Ok(watermark(&texts[0], 64)));
    assert_eq!(heard_second, Ok(watermark(&texts[1], 64)));
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
    for done_after_cancel in [true, false] {
        let pace = Duration::from_millis(20);
        let bench = Bench::start(Behaviour { pace, done_after_cancel, ..Behaviour::default() }).await;
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
        ((404, None), FaultKind::Handshake, 100),
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
async fn a_slow_reader_on_a_shared_link_fails_alone_and_its_neighbour_is_exact() {
    let bench = Bench::start(Behaviour { pace: Duration::from_micros(500), ..Behaviour::default() }).await;
    let (mut slow, mut neighbour) = (bench.lease().await, bench.lease().await);
    say(&mut slow, &"s".repeat(4_000));
    let text = "n".repeat(4_000);
    assert!(speak(&mut neighbour, &text).await == Ok(watermark(&text, 64)), "the neighbour is not exact");
    assert!(slow.buffered_bytes() <= BUFFER + 960);
    let (heard, end) = listen(&mut slow).await;
    assert_eq!(end, Err(FaultKind::SlowConsumer));
    assert!(watermark(&"s".repeat(4_000), 64).starts_with(&heard), "not a clean prefix");
    assert_eq!(bench.fake.stats().sockets, 1);
    until(|| bench.fake.stats().cancels == 1).await;
}

#[tokio::test]
async fn a_vendor_that_reads_nothing_costs_a_bounded_amount_of_text() {
    let bench = Bench::start(Behaviour { never_read: true, ..Behaviour::default() }).await;
    let mut lease = bench.lease().await;
    let text = "t".repeat(16 * 1024);
    let mut sent = 0;
    while lease.send(Command::Text(text.clone())) == Ok(()) {
        sent += text.len();
        tokio::task::yield_now().await;
        assert!(sent < 64 * 1024 * 1024, "text is taken without end");
    }
    assert_eq!(lease.send(Command::Text(text)), Err(SendError::Full));
    assert_eq!(listen(&mut lease).await.1, Err(FaultKind::WriteStall));
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

#[test]
fn the_vendors_own_client_is_at_home_with_the_fake() {
    let Ok(python) = std::env::var("VOXRELAY_TEST_PYTHON") else {
        eprintln!("skipped: VOXRELAY_TEST_PYTHON names no python with the vendor's package");
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let fake = FakeCartesia::start(Behaviour { key: Some("k".into()), ..Behaviour::default() }).await;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/cartesia_sdk.py");
        let mut client = tokio::process::Command::new(python);
        client.arg(script).arg(fake.url()).arg("k").kill_on_drop(true);
        let output = timeout(Duration::from_secs(60), client.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let stats = fake.stats();
        assert_eq!((stats.contexts_live, stats.cancels), (0, 1));
    });
}

#[derive(Clone)]
struct Bench {
    fake: Arc<FakeCartesia>,
    pools: Pools,
    upstream: Arc<Upstream>,
    drain: Drain,
}

impl Bench {
    async fn start(behaviour: Behaviour) -> Self {
        Self::with(behaviour, |_| {}).await
    }

    async fn with(behaviour: Behaviour, change: impl FnOnce(&mut Upstream)) -> Self {
        let fake = FakeCartesia::start(behaviour).await;
        Self::build(fake.url(), fake, change)
    }

    async fn at(url: String, change: impl FnOnce(&mut Upstream)) -> Self {
        Self::build(url, FakeCartesia::start(Behaviour::default()).await, change)
    }

    fn build(url: String, fake: FakeCartesia, change: impl FnOnce(&mut Upstream)) -> Self {
        let mut upstream = Upstream {
            name: "fake".into(),
            provider: provider("cartesia").unwrap(),
            account: Account { url, api_key: Some(Credential::new("secret")) },
            streams: 50,
            pool: PoolSettings {
                warm: 0,
                max_links: 10,
                idle: Duration::from_secs(60),
                max_age: Duration::from_secs(600),
                dials_per_second: 100.0,
            },
            watchdogs: Watchdogs {
                connect: Duration::from_millis(500),
                first_audio: Duration::from_secs(5),
                gap: Duration::from_secs(3),
            },
        };
        change(&mut upstream);
        let upstream = Arc::new(upstream);
        let drain = Drain::new();
        let pools = Pools::new(&[Arc::clone(&upstream)], drain.clone(), BUFFER, BUFFER);
        Self { fake: Arc::new(fake), pools, upstream, drain }
    }

    async fn checkout(&self, deadline: Duration) -> Result<Lease, CheckoutError> {
        self.pools.checkout(&self.upstream, spec(), deadline).await
    }

    async fn lease(&self) -> Lease {
        self.checkout(SOON).await.unwrap()
    }

    async fn lease_with(&self, change: impl FnOnce(&mut SynthesisSpec)) -> Lease {
        let mut spec = spec();
        change(&mut spec);
        self.pools.checkout(&self.upstream, spec, SOON).await.unwrap()
    }

    async fn fault(&self) -> voxrelay_protocol::UpstreamFault {
        match self.checkout(SOON).await {
            Err(CheckoutError::Upstream(fault)) => fault,
            other => panic!("{other:?}"),
        }
    }

    fn counts(&self) -> voxrelay::pool::PoolCounts {
        self.pools.counts(&self.upstream)
    }
}

fn spec() -> SynthesisSpec {
    SynthesisSpec {
        voice: "v".into(),
        model: Some("sonic-3".into()),
        language: Some("en".into()),
        format: AudioFormat::default(),
        words: false,
        options: serde_json::Map::new(),
    }
}

async fn next(lease: &mut Lease) -> Option<Event> {
    timeout(SOON, poll_fn(|cx| lease.poll_event(cx))).await.expect("no event")
}

fn say(lease: &mut Lease, text: &str) {
    lease.send(Command::Text(text.into())).unwrap();
    lease.send(Command::End).unwrap();
}

/// All audio until the end, and how it ended.
async fn listen(lease: &mut Lease) -> (Vec<u8>, Result<(), FaultKind>) {
    let mut heard = Vec::new();
    loop {
        match next(lease).await.expect("a last event") {
            Event::Audio(audio) => heard.extend_from_slice(&audio),
            Event::Done => return (heard, Ok(())),
            Event::Failed(fault) => return (heard, Err(fault.kind)),
            Event::Words { .. } | Event::Flushed => {}
        }
    }
}

async fn speak(lease: &mut Lease, text: &str) -> Result<Vec<u8>, FaultKind> {
    say(lease, text);
    let (heard, end) = listen(lease).await;
    end.map(|()| heard)
}

/// Waits for something that happens in another task.
async fn until(holds: impl Fn() -> bool) {
    let waited = timeout(SOON, async {
        while !holds() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.expect("it does not come about");
}
