//! A client that does not read stops its upstream, costs a bounded amount, and loses nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod support;

use std::time::Duration;

use serde_json::json;
use support::relay::short;
use support::voices::{settled, spoken};
use support::{SHORT, Seen, TestClient, TestRelay, long_text};
use tokio::sync::Mutex;
use voxrelay::config::Config;

/// Bytes of audio that may wait in the relay for one stream, in these stories.
const STREAM_BUFFER: usize = 64 * 1024;
/// What may be under way outside the relay's own buffers: a pipe of the voice, its kernel buffers, and
/// the client's socket in both kernels.
const UNDER_WAY: u64 = 512 * 1024;
/// Bytes the client's kernel takes.
const NARROW: u32 = 64 * 1024;
/// Over half a minute of speech, 1.1 MB at 16 kHz.
const SENTENCES: usize = 6;

/// The voices of this process are told apart by which story runs, so that only one may.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test]
async fn a_client_that_stops_reading_stops_its_voice_and_goes_on_where_it_was() {
    let _alone = ALONE.lock().await;
    let relay = TestRelay::start(narrow).await;
    let text = long_text(SENTENCES);
    let mut reader = relay.connect().await;
    reader.speak(json!({ "frames": "tagged" }), &text).await;
    let whole = reader.turn().await.done["bytes"].as_u64().unwrap();
    let before = spoken();

    let mut client = TestClient::open_narrow(&relay.addr, &relay.key, NARROW).await;
    client.speak(json!({ "frames": "tagged" }), &text).await;
    let made = settled().await - before;
    // The voice makes 16 kHz, the client hears 24 kHz.
    assert!(made < whole * 2 / 3 / 2, "{made} of {whole} bytes were made for nobody");
    assert!(made < UNDER_WAY + STREAM_BUFFER as u64, "{made} bytes wait somewhere");
    // Whoever reads is not held up by it.
    reader.says(SHORT).await;

    let mut position = 0;
    let done = loop {
        match client.next().await {
            Seen::Audio(frame) => {
                assert_eq!(u64::from_be_bytes(frame[4..12].try_into().unwrap()), position);
                position += frame.len() as u64 - 12;
            }
            Seen::Json(message) if message["type"] == "done" => break message,
            Seen::Json(message) => assert_eq!(message["type"], "started"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((position, &done["bytes"]), (whole, &whole.into()));
    for point in ["client_socket", "stream_buffer"] {
        let waited = relay.metric(&format!("voxrelay_backpressure_seconds_total{{point=\"{point}\"}}")).await;
        assert!(waited > 0.0, "who waited where is told: {point}");
    }
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_client_that_never_reads_again_is_cut_off_at_the_write_deadline() {
    let _alone = ALONE.lock().await;
    let relay = TestRelay::start(|config| {
        narrow(config);
        short(&mut config.limits.write_timeout);
    })
    .await;
    let mut neighbour = relay.connect().await;
    let mut client = TestClient::open_narrow(&relay.addr, &relay.key, NARROW).await;
    client.speak(json!({}), &long_text(SENTENCES)).await;
    relay.running(1).await;
    neighbour.says(SHORT).await;
    relay.idle().await;
    assert_eq!(relay.metric(r#"voxrelay_slow_consumers_total{link="exclusive"}"#).await, 1.0);
    is_given_up(&mut client).await;
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_never_cut_off() {
    let _alone = ALONE.lock().await;
    let relay = TestRelay::start(|config| {
        narrow(config);
        config.limits.write_timeout = Duration::from_secs(1);
    })
    .await;
    let mut client = TestClient::open_narrow(&relay.addr, &relay.key, 4096).await;
    client.speak(json!({}), &long_text(1)).await;
    let mut heard = 0;
    // Slower than speech is made, and in all longer than the write deadline.
    let done = loop {
        match client.next().await {
            Seen::Audio(audio) => {
                heard += audio.len();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Seen::Json(message) if message["type"] == "done" => break message,
            Seen::Json(_) => {}
            other => panic!("{other:?} after {heard} bytes"),
        }
    };
    assert_eq!(done["bytes"], heard);
}

#[tokio::test]
async fn a_client_that_plays_while_it_reads_is_not_taken_for_dead() {
    let _alone = ALONE.lock().await;
    let relay = TestRelay::start(restless).await;
    let mut client = relay.connect().await;
    client.speak(json!({}), &long_text(1)).await;
    // The ping waits behind what the client has not read yet, and so does its answer.
    settled().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let turn = client.turn().await;
    assert_eq!(turn.done["bytes"], turn.audio().len());
    client.says(SHORT).await;
}

#[tokio::test]
async fn a_quiet_client_that_does_not_answer_pings_is_let_go() {
    let _alone = ALONE.lock().await;
    let relay = TestRelay::start(restless).await;
    let mut client = relay.connect().await;
    client.send(json!({ "type": "start", "voice": "default" })).await;
    client.until("started").await;
    assert_eq!(relay.live_streams().await, 1);
    // Not read any more: no pong goes back.
    relay.idle().await;
    client.gone().await;
}

#[tokio::test]
async fn an_answer_over_http_that_nobody_reads_stops_its_voice_and_ends_at_the_deadline() {
    let _alone = ALONE.lock().await;
    let relay = TestRelay::start(|config| {
        narrow(config);
        short(&mut config.limits.write_timeout);
    })
    .await;
    let before = spoken();
    let body = json!({ "voice": "default", "text": long_text(SENTENCES) });
    let mut coming = relay.ask("POST", "/v1/speech").json(body).begin().await;
    assert_eq!(coming.response.status(), 200);
    let made = settled().await - before;
    relay.idle().await;
    let mut heard = 0;
    let cut = loop {
        match coming.piece().await {
            Ok(Some(piece)) => heard += piece.len(),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    // A loopback socket of default size holds megabytes; the relay itself little.
    assert!(cut || heard as u64 >= made, "cut short must not look whole: {heard} of {made}");
    relay.is_unharmed().await;
}

#[tokio::test]
async fn replies_pile_up_only_so_far_for_a_client_that_talks_and_never_listens() {
    let _alone = ALONE.lock().await;
    let relay = TestRelay::start(narrow).await;
    let mut client = TestClient::open_narrow(&relay.addr, &relay.key, NARROW).await;
    client.send(json!({ "type": "start", "voice": "default", "stream": "b", "frames": "tagged" })).await;
    client.speak(json!({ "stream": "a", "frames": "tagged" }), &long_text(SENTENCES)).await;
    settled().await;
    // Each is answered at once, and no answer is taken.
    for _ in 0..990 {
        client.send(json!({ "type": "flush", "stream": "b", "mark": "x".repeat(256) })).await;
    }
    relay.idle().await;
    is_given_up(&mut client).await;
    relay.is_unharmed().await;
}

fn narrow(config: &mut Config) {
    config.limits.stream_buffer = STREAM_BUFFER;
}

/// Asks quiet clients soon and often whether they are there.
fn restless(config: &mut Config) {
    short(&mut config.limits.ping);
    short(&mut config.limits.pong_timeout);
}

/// Whoever looks up in time finds what had left, and why there is no more; after that, a reset.
async fn is_given_up(client: &mut TestClient) {
    loop {
        match client.next().await {
            Seen::Json(message) if message["type"] == "error" => assert_eq!(message["code"], "slow_consumer"),
            Seen::Close(code, reason) => assert!(code == 1008 && reason.starts_with("slow_consumer ")),
            Seen::Gone => return,
            Seen::Json(_) | Seen::Audio(_) => {}
        }
    }
}
