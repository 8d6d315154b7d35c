//! What no client should send, and what comes of it: an answer for the one, nothing for the others.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod support;

use serde_json::json;
use support::voices::settled;
use support::{SHORT, Seen, TestClient, TestRelay, long_text};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn what_is_not_understood_is_refused_by_its_field_and_the_session_goes_on() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    for (message, names) in [
        ("", "message"),
        ("{", "message"),
        ("[]", "message"),
        ("\"start\"", "message"),
        ("nul", "message"),
        ("{\"type\":\"text\"} trailing", "message"),
        ("{}", "type"),
        (r#"{"type":7}"#, "type"),
        (r#"{"type":null}"#, "type"),
        (r#"{"type":"sing"}"#, "type"),
        (r#"{"type":"START"}"#, "type"),
        (r#"{"type":"auth","token":"sk-again"}"#, "type"),
        (r#"{"type":"start"}"#, "voice"),
        (r#"{"type":"start","voice":1}"#, "voice"),
        (r#"{"type":"start","voice":"default","stream":""}"#, "stream"),
        (r#"{"type":"start","voice":"default","stream":5}"#, "stream"),
        (r#"{"type":"start","voice":"default","stream":"a b"}"#, "stream"),
        (r#"{"type":"start","voice":"default","stream":"é"}"#, "stream"),
        (r#"{"type":"start","voice":"default","provider":[]}"#, "provider"),
        (r#"{"type":"start","voice":"default","model":{}}"#, "model"),
        (r#"{"type":"start","voice":"default","format":"mp3"}"#, "format"),
        (r#"{"type":"start","voice":"default","format":{"sample_rate":"24000"}}"#, "sample_rate"),
        (r#"{"type":"start","voice":"default","format":{"encoding":8}}"#, "encoding"),
        (r#"{"type":"start","voice":"default","language":1}"#, "language"),
        (r#"{"type":"start","voice":"default","words":"yes"}"#, "words"),
        (r#"{"type":"start","voice":"default","frames":"both"}"#, "frames"),
        (r#"{"type":"start","voice":"default","frames":1}"#, "frames"),
        (r#"{"type":"start","voice":"default","pace":20}"#, "pace"),
        (r#"{"type":"start","voice":"default","pace":{"lead_ms":-1}}"#, "lead_ms"),
        (r#"{"type":"start","voice":"default","options":[]}"#, "options"),
        (r#"{"type":"text"}"#, "text"),
        (r#"{"type":"text","text":["a"]}"#, "text"),
        (r#"{"type":"flush","mark":1}"#, "mark"),
        (r#"{"type":"cancel","played_ms":"all"}"#, "played_ms"),
        (r#"{"type":"cancel","played_ms":-5}"#, "played_ms"),
    ] {
        client.send_raw(Message::text(message)).await;
        let error = client.refused("invalid_request").await;
        assert!(error["detail"].as_str().unwrap().contains(names), "{message}: {error}");
        assert_eq!((&error["status"], &error["retryable"]), (&400.into(), &false.into()));
        assert_eq!(error["request_id"], client.request_id);
        assert_eq!(error["problem"], "urn:voxrelay:problem:invalid_request");
    }
    client.says(SHORT).await;
    relay.idle().await;
}

#[tokio::test]
async fn names_marks_and_nesting_have_their_bounds() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    let longest = "x".repeat(64);
    client.speak(json!({ "stream": longest }), SHORT).await;
    assert_eq!(client.turn().await.done["stream"], longest.as_str());
    client.speak(json!({ "stream": longest.clone() + "x" }), "").await;
    for _ in 0..3 {
        client.refused("invalid_request").await;
    }
    client.send(json!({ "type": "flush", "mark": "x".repeat(257) })).await;
    client.refused("invalid_request").await;
    let deep = format!(r#"{{"type":"text","text":"x","y":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    client.send_raw(Message::text(deep)).await;
    client.refused("invalid_request").await;
    // A text that looks like a secret or a terminal's escape is not repeated to anyone.
    client.send(json!({ "type": "sk-canary\u{1b}[31m" })).await;
    let error = client.refused("invalid_request").await.to_string();
    assert!(!error.contains("canary"), "{error}");
    client.says(SHORT).await;
}

#[tokio::test]
async fn a_text_too_long_is_refused_and_the_stream_goes_on() {
    let relay = TestRelay::start(|config| config.limits.characters_per_stream = 100).await;
    let mut client = relay.connect().await;
    client.send(json!({ "type": "start", "voice": "default" })).await;
    client.send(json!({ "type": "text", "text": "x".repeat(101) })).await;
    let error = client.refused("text_too_long").await;
    assert_eq!(
        (&error["status"], &error["ended"], &error["stream"]),
        (&413.into(), &false.into(), &"default".into())
    );
    client.send(json!({ "type": "text", "text": SHORT })).await;
    client.send(json!({ "type": "end" })).await;
    assert_eq!(client.turn().await.done["characters"], SHORT.len());
}

#[tokio::test]
async fn text_past_what_may_wait_is_refused_and_what_was_taken_is_spoken() {
    let relay = TestRelay::start(|config| {
        config.limits.text_buffer = 1024;
        config.limits.stream_buffer = 16 * 1024;
    })
    .await;
    let mut client = TestClient::open_narrow(&relay.addr, &relay.key, 4096).await;
    client.send(json!({ "type": "start", "voice": "default" })).await;
    // The client does not read, so the voice stands still and its text waits.
    for _ in 0..40 {
        client.send(json!({ "type": "text", "text": long_text(4) })).await;
    }
    client.send(json!({ "type": "cancel" })).await;
    let mut refused = 0;
    let cancelled = loop {
        match client.next().await {
            Seen::Json(message) if message["code"] == "rate_limited" => {
                assert_eq!((&message["ended"], &message["retryable"]), (&false.into(), &true.into()));
                assert!(message["retry_after_ms"].is_u64());
                refused += 1;
            }
            Seen::Json(message) if message["type"] == "cancelled" => break message,
            Seen::Json(message) => assert_eq!(message["type"], "started", "{message}"),
            Seen::Audio(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(refused > 0, "{cancelled}");
    relay.is_unharmed().await;
}

#[tokio::test]
async fn broken_frames_end_the_session_with_their_code_and_nobody_else_notices() {
    let relay = TestRelay::plain().await;
    let mut neighbour = relay.connect().await;
    let whole = r#"{"type":"cancel"}"#.as_bytes();
    for (name, bytes, code) in [
        ("binary", frame(0x82, true, b"audio"), 1003),
        ("invalid UTF-8", frame(0x81, true, b"{\"type\":\"\xff\"}"), 1007),
        ("UTF-8 cut off at the end", frame(0x81, true, b"\"\xe2\x82"), 1007),
        ("reserved bit 1", frame(0xc1, true, whole), 1002),
        ("reserved bit 3", frame(0x91, true, whole), 1002),
        ("not masked", frame(0x81, false, whole), 1002),
        ("reserved opcode", frame(0x83, true, whole), 1002),
        ("reserved control opcode", frame(0x8b, true, b""), 1002),
        ("a ping in fragments", frame(0x09, true, b"x"), 1002),
        ("a ping of 126 bytes", frame(0x89, true, &[0; 126]), 1002),
        ("a continuation of nothing", frame(0x80, true, whole), 1002),
        ("a message within a message", [frame(0x01, true, b"{"), frame(0x81, true, whole)].concat(), 1002),
        ("a header that announces too much", announced(65_537), 1009),
        ("a header that announces everything", announced(u64::MAX >> 1), 1009),
        ("a message too big", frame(0x81, true, &vec![b' '; 4_000_000]), 1009),
        (
            "fragments too big",
            [frame(0x01, true, &[b' '; 40_000]), frame(0x80, true, &[b' '; 40_000])].concat(),
            1009,
        ),
    ] {
        let mut client = relay.connect().await;
        client.speak(json!({}), &long_text(5)).await;
        client.audio().await;
        // What the relay has closed already cannot be written to, which is its right.
        let _ = client.socket.get_mut().write_all(&bytes).await;
        let (errors, told, reason) = client.ending().await;
        assert_eq!(told, code, "{name}: {reason} {errors:?}");
        assert!(reason.ends_with(&client.request_id) && reason.len() <= 123, "{name}: {reason}");
        assert!(!errors.is_empty(), "{name}");
        assert!(errors.iter().all(|error| error["code"] == "invalid_request"), "{name}: {errors:?}");
    }
    neighbour.says(SHORT).await;
    relay.is_unharmed().await;
}

#[tokio::test]
async fn fragments_and_pings_in_between_are_fine() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    let start = r#"{"type":"start","voice":"default","stream":"é"}"#.replace('é', "a");
    let mut bytes = Vec::new();
    let last = start.len() - 1;
    for (at, byte) in start.bytes().enumerate() {
        let opcode = if at == 0 { 0x01 } else { 0x00 } | if at == last { 0x80 } else { 0 };
        bytes.extend(frame(opcode, true, &[byte]));
        if at == 5 {
            bytes.extend(frame(0x89, true, b"are you there"));
        }
    }
    // One byte a segment: however it arrives, it is one message.
    for byte in bytes {
        client.socket.get_mut().write_all(&[byte]).await.unwrap();
    }
    assert_eq!(client.until("started").await["stream"], "a");
    client.send(json!({ "type": "text", "stream": "a", "text": "über. café." })).await;
    client.send(json!({ "type": "end", "stream": "a" })).await;
    client.turn().await;
}

#[tokio::test]
async fn a_flood_of_pings_ends_its_session_only() {
    let relay = TestRelay::plain().await;
    let mut neighbour = relay.connect().await;
    let mut client = relay.connect().await;
    client.speak(json!({}), &long_text(5)).await;
    let flood = frame(0x89, true, b"").repeat(3000);
    let _ = client.socket.get_mut().write_all(&flood).await;
    let (errors, code, reason) = client.ending().await;
    assert_eq!(code, 1008, "{reason}");
    assert!(errors.iter().all(|error| error["code"] == "rate_limited"), "{errors:?}");
    neighbour.says(SHORT).await;
    relay.is_unharmed().await;
}

#[tokio::test]
async fn too_many_refused_messages_end_the_session() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    for _ in 0..51 {
        client.send(json!({ "type": "sing" })).await;
    }
    let (errors, code, _) = client.ending().await;
    assert_eq!((errors.len(), code), (52, 1008));
    assert!(errors[..51].iter().all(|error| error["code"] == "invalid_request"));
    assert_eq!(errors[51]["code"], "rate_limited");
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_flood_of_tiny_messages_is_read_at_its_rate_and_harms_nobody() {
    let relay = TestRelay::start(|config| {
        config.limits.messages_burst = 50;
        config.limits.messages_per_second = 1000;
    })
    .await;
    let mut neighbour = relay.connect().await;
    let mut client = relay.connect().await;
    client.send(json!({ "type": "start", "voice": "default" })).await;
    for _ in 0..300 {
        client.send(json!({ "type": "text", "text": "a" })).await;
    }
    client.send(json!({ "type": "cancel" })).await;
    neighbour.says(SHORT).await;
    client.until("cancelled").await;
    relay.idle().await;
}

#[tokio::test]
async fn a_socket_closed_for_writing_only_counts_as_gone() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    client.speak(json!({}), &long_text(20)).await;
    client.audio().await;
    client.socket.get_mut().shutdown().await.unwrap();
    client.gone().await;
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_pile_of_garbage_on_many_sessions_leaves_the_relay_as_it_was() {
    let relay = TestRelay::plain().await;
    let mut speaking = relay.connect().await;
    speaking.speak(json!({}), &long_text(3)).await;
    for seed in 0..40_u32 {
        let mut client = relay.connect().await;
        // A fixed scramble: whatever it happens to be as frames, it is not a conversation.
        let bytes: Vec<u8> =
            (0..600_u32).map(|at| (at.wrapping_mul(2_654_435_761) ^ (seed * 97)).to_be_bytes()[1]).collect();
        let _ = client.socket.get_mut().write_all(&bytes).await;
        let _ = client.socket.get_mut().shutdown().await;
        client.gone().await;
    }
    let turn = speaking.turn().await;
    assert_eq!(turn.done["bytes"], turn.audio().len());
    settled().await;
    relay.is_unharmed().await;
}

/// One WebSocket frame: the first byte as it is, and a mask or none.
fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut bytes = vec![first];
    let flag = if masked { 0x80 } else { 0 };
    match payload.len() {
        short @ ..=125 => bytes.push(flag | short as u8),
        long @ 126..=65_535 => {
            bytes.push(flag | 126);
            bytes.extend((long as u16).to_be_bytes());
        }
        longest => {
            bytes.push(flag | 127);
            bytes.extend((longest as u64).to_be_bytes());
        }
    }
    if masked {
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        bytes.extend(payload);
    }
    bytes
}

/// The head of a text frame of that many bytes, and the first of them.
fn announced(length: u64) -> Vec<u8> {
    let mut bytes = vec![0x81, 0xff];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend([b' '; 100]);
    bytes
}
