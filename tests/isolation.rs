//! Many streams on shared links: one client that does not read fails alone, and its neighbours do not
//! notice.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod support;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use support::fake::{Behaviour, FakeCartesia, watermark};
use support::{PATIENCE, Seen, TestClient, TestRelay, until};
use tokio::time::sleep;

/// Streams in all, on links of twenty.
const STREAMS: usize = 200;
/// Bytes of audio that may wait for one of them.
const STREAM_BUFFER: usize = 256 * 1024;
/// What a neighbour may have waiting at a time on a busy machine: a second.
const UNDER_WAY: usize = 12 * 1024;
/// A chunk each 40 ms for two seconds; small, for the vendor and all clients run here too.
const CHUNK: usize = 480;
const PACE: Duration = Duration::from_millis(40);
const BYTES_PER_CHAR: usize = 120;
const TEXT: usize = 200;
/// The one client's: more than its socket and its buffer hold, within the same time.
const BIG_CHUNK: usize = 8 * 1024;
const BIG_PACE: Duration = Duration::from_millis(10);
const BIG_TEXT: usize = 16_000;

/// What the neighbours saw.
struct Seconds {
    late_p50: Duration,
    late_p99: Duration,
    /// The most that waited in all streams' queues.
    buffered: f64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_hundred_that_stops_reading_fails_alone() {
    let without = run(false).await;
    let with = run(true).await;
    for (name, seen) in [("all read", &without), ("one does not", &with)] {
        println!(
            "{name}: the others' chunks are late by {:?} (p50), {:?} (p99); at most {} bytes waited",
            seen.late_p50, seen.late_p99, seen.buffered
        );
    }
    let most = STREAM_BUFFER + BIG_CHUNK + STREAMS * UNDER_WAY;
    assert!(with.buffered <= most as f64, "{} bytes waited, of {most}", with.buffered);
}

/// All streams at once; the neighbours must hear every byte, whatever the one does.
async fn run(one_stops: bool) -> Seconds {
    let big = Behaviour {
        chunk_bytes: BIG_CHUNK,
        pace: BIG_PACE,
        bytes_per_char: BYTES_PER_CHAR,
        ..Behaviour::default()
    };
    let small = Behaviour { chunk_bytes: CHUNK, pace: PACE, ..big.clone() };
    let fake = FakeCartesia::start(big).await;
    let relay = TestRelay::with_vendor(&fake, |config, vendor| {
        // On a busy machine this process may lag behind itself: that is no fault of anybody.
        config.limits.stream_buffer = if one_stops { STREAM_BUFFER } else { 8 * STREAM_BUFFER };
        vendor.watchdogs.first_audio = PATIENCE;
        vendor.watchdogs.gap = PATIENCE;
        config.plans.get_mut("default").unwrap().streams = STREAMS as u64 * 2;
        vendor.streams = STREAMS * 2;
        vendor.pool.max_links = STREAMS / 20;
    })
    .await;
    let slow_before = relay.metric(r#"voxrelay_slow_consumers_total{link="shared"}"#).await;
    let mut one = match one_stops {
        true => TestClient::open_narrow(&relay.addr, &relay.key, 4096).await,
        false => relay.connect().await,
    };
    let mut neighbours = Vec::new();
    for _ in 1..STREAMS {
        neighbours.push(relay.connect().await);
    }
    let long = "s".repeat(BIG_TEXT);
    one.speak(json!({ "voice": "vendor" }), &long).await;
    until("the one to be spoken", async || (fake.stats().contexts == 1).then_some(())).await;
    fake.change(|behaviour| *behaviour = small);

    let others =
        join_all(neighbours.into_iter().enumerate().map(|(number, client)| neighbour(client, number)));
    let reading = async {
        if one_stops {
            return;
        }
        assert!(one.turn().await.audio() == watermark(&long, BYTES_PER_CHAR), "the one is not exact");
    };
    let (others, (), buffered) = tokio::join!(others, reading, most_buffered(&relay, &fake));
    if one_stops {
        fails_alone(&mut one, &long, &relay, slow_before).await;
    }
    relay.idle().await;
    assert_eq!(fake.stats().sockets, STREAMS / 20, "the links are shared");
    let mut late: Vec<_> = others.into_iter().flatten().collect();
    late.sort_unstable();
    let share = |percent: usize| late[late.len() * percent / 100];
    Seconds { late_p50: share(50), late_p99: share(99), buffered }
}

/// Speaks and listens; how late each chunk was, against the earliest one on the vendor's clock.
async fn neighbour(mut client: TestClient, number: usize) -> Vec<Duration> {
    let text = format!("{number:>TEXT$}");
    client.speak(json!({ "voice": "vendor" }), &text).await;
    let (mut heard, mut at) = (Vec::new(), Vec::new());
    loop {
        match client.next().await {
            Seen::Audio(audio) => {
                at.push((heard.len() / CHUNK, Instant::now()));
                heard.extend_from_slice(&audio);
            }
            Seen::Json(message) if message["type"] == "done" => break,
            Seen::Json(message) => assert_eq!(message["type"], "started", "neighbour {number}: {message}"),
            other => panic!("neighbour {number}: {other:?}"),
        }
    }
    assert!(heard == watermark(&text, BYTES_PER_CHAR), "neighbour {number} is not exact");
    let began = at.iter().map(|(chunk, at)| *at - PACE * *chunk as u32).min().unwrap();
    at.iter().map(|(chunk, at)| at.duration_since(began + PACE * *chunk as u32)).collect()
}

/// Looks at the queues until all has been spoken, and remembers the most that was in them.
async fn most_buffered(relay: &TestRelay, fake: &FakeCartesia) -> f64 {
    let mut most = 0.0_f64;
    until("all streams spoken", async || {
        // Not more often: the scrape itself costs more than many chunks.
        sleep(Duration::from_millis(200)).await;
        most = most.max(relay.metric(r#"voxrelay_buffer_bytes{queue="audio_out"}"#).await);
        let stats = fake.stats();
        (stats.contexts == STREAMS && stats.contexts_live == 0).then_some(())
    })
    .await;
    most
}

/// The one that did not read finds what had left for it, and why there is no more.
async fn fails_alone(one: &mut TestClient, text: &str, relay: &TestRelay, slow_before: f64) {
    let mut heard = Vec::new();
    let error = loop {
        match one.next().await {
            Seen::Audio(audio) => heard.extend_from_slice(&audio),
            Seen::Json(message) if message["type"] == "error" => break message,
            Seen::Json(message) => assert_eq!(message["type"], "started", "{message}"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((&error["code"], &error["retryable"]), (&"slow_consumer".into(), &false.into()));
    assert!(watermark(text, BYTES_PER_CHAR).starts_with(&heard), "not a clean prefix");
    assert_eq!(error["sent_ms"], heard.len() / 48);
    let slow = relay.metric(r#"voxrelay_slow_consumers_total{link="shared"}"#).await;
    assert_eq!(slow - slow_before, 1.0, "streams that failed for a slow consumer");
}
