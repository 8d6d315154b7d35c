//! Barge-in: a client stops a stream, or stops being there.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod support;

use serde_json::json;
use support::voices::settled;
use support::{SHORT, Seen, TestClient, TestRelay, long_text};

#[tokio::test]
async fn a_cancel_in_the_middle_of_speech_is_the_last_that_is_heard() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    client.speak(json!({ "stream": "a", "frames": "tagged" }), &long_text(20)).await;
    let mut heard = client.audio().await.len() - 12;
    client.send(json!({ "type": "cancel", "stream": "a" })).await;
    let cancelled = loop {
        match client.next().await {
            Seen::Audio(audio) => heard += audio.len() - 12,
            Seen::Json(message) if message["type"] == "cancelled" => break message,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((&cancelled["stream"], &cancelled["sent_ms"]), (&"a".into(), &(heard / 48).into()));
    // What comes next on the connection is the answer to the next message, not audio.
    client.send(json!({ "type": "cancel", "stream": "a" })).await;
    assert!(matches!(client.next().await, Seen::Json(error) if error["code"] == "unknown_stream"));
    relay.idle().await;
    client.speak(json!({ "stream": "a", "frames": "tagged" }), SHORT).await;
    let turn = client.turn().await;
    assert_eq!(turn.frames[0][4..12], [0; 8], "the next turn begins at its beginning");
    assert_eq!(turn.done["bytes"], turn.frames.iter().map(|frame| frame.len() - 12).sum::<usize>());
}

#[tokio::test]
async fn many_barge_ins_in_a_row_leave_every_turn_clean() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    let expected = client.says(SHORT).await.audio().len();
    for _ in 0..15 {
        client.speak(json!({}), &long_text(2)).await;
        client.audio().await;
        client.send(json!({ "type": "cancel" })).await;
        client.until("cancelled").await;
        assert_eq!(client.says(SHORT).await.audio().len(), expected);
    }
    relay.idle().await;
}

#[tokio::test]
async fn a_cancel_before_any_audio_or_any_text_is_acknowledged() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    client.send(json!({ "type": "start", "voice": "default" })).await;
    client.send(json!({ "type": "cancel" })).await;
    let cancelled = client.until("cancelled").await;
    assert_eq!((&cancelled["sent_ms"], &cancelled["heard_ms"]), (&0.into(), &0.into()));
    client.speak(json!({}), &long_text(1)).await;
    client.send(json!({ "type": "cancel" })).await;
    client.until("cancelled").await;
    client.says(SHORT).await;
    relay.idle().await;
}

#[tokio::test]
async fn a_client_that_tells_what_was_played_hears_what_was_heard() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    let text = format!("{SHORT} And after a while there comes another sentence.");
    client.send(json!({ "type": "start", "voice": "default", "words": true })).await;
    client.send(json!({ "type": "text", "text": text })).await;
    client.send(json!({ "type": "flush" })).await;
    client.until("flushed").await;
    client.send(json!({ "type": "cancel", "played_ms": 600 })).await;
    let cancelled = client.until("cancelled").await;
    assert_eq!(cancelled["heard_ms"], 600);
    let (heard, unheard) =
        (cancelled["heard_text"].as_str().unwrap(), cancelled["unheard_text"].as_str().unwrap());
    assert_eq!(format!("{heard}{unheard}"), text);
    assert!(heard.starts_with("One") && unheard.ends_with("sentence."), "{cancelled}");
}

#[tokio::test]
async fn a_cancel_of_one_stream_leaves_its_neighbours_whole() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    let expected = client.says(SHORT).await.done["bytes"].clone();
    client.speak(json!({ "stream": "long", "frames": "tagged" }), &long_text(20)).await;
    client.audio().await;
    client.speak(json!({ "stream": "short", "frames": "tagged" }), SHORT).await;
    client.send(json!({ "type": "cancel", "stream": "long" })).await;
    assert_eq!(client.until("cancelled").await["stream"], "long");
    let done = client.turn().await.done;
    assert_eq!((&done["stream"], &done["bytes"]), (&"short".into(), &expected));
    relay.idle().await;
}

#[tokio::test]
async fn a_client_that_vanishes_gives_everything_back() {
    let relay = TestRelay::plain().await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = relay.connect().await;
        client.speak(json!({}), &long_text(20)).await;
        client.audio().await;
        clients.push(client);
    }
    relay.running(3).await;
    let mut rest = clients.into_iter();
    drop(rest.next()); // FIN, or RST with audio unread
    let mut reset = rest.next().unwrap();
    socket2::SockRef::from(&*reset.socket.get_mut()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(reset);
    rest.next().unwrap().socket.close(None).await.unwrap();
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_cancel_gets_through_while_the_client_does_not_read_its_audio() {
    let relay = TestRelay::plain().await;
    let mut client = TestClient::open_narrow(&relay.addr, &relay.key, 64 * 1024).await;
    client.speak(json!({}), &long_text(40)).await;
    // Never read: the way to the client is full, and the cancel must not wait for it.
    settled().await;
    assert_eq!(relay.live_streams().await, 1);
    client.send(json!({ "type": "cancel" })).await;
    relay.idle().await;
    let cancelled = client.until("cancelled").await;
    assert!(cancelled["sent_ms"].as_u64().unwrap() < 30_000, "{cancelled}");
    client.says(SHORT).await;
    relay.idle().await;
}
