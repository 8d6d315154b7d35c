//! What breaks the rules of WebSocket, sent to the relay itself: an `error` that says what, then a close
//! with its code, and the neighbours hear nothing of it.

use serde_json::Value;

use super::raw::{BINARY, CLOSE, CONTINUATION, FIN, Heard, PING, PONG, Raw, TEXT, close, frame, unmasked};
use crate::support::Served;

#[tokio::test(flavor = "multi_thread")]
async fn every_violation_is_told_and_closed_with_its_code() {
    let relay = Served::start(&[]).await;
    let mut neighbour = session(&relay).await;
    let too_big = vec![b' '; 65_537];
    let cases: [(&str, Vec<u8>, u16); 17] = [
        ("a binary message", frame(FIN | BINARY, b"audio?"), 1003),
        ("a binary message in parts", [frame(BINARY, b"a"), frame(FIN | CONTINUATION, b"b")].concat(), 1003),
        ("bad text", frame(FIN | TEXT, &[b'"', 0xff, b'"']), 1007),
        ("bad text in parts", [frame(TEXT, &[0xc3]), frame(FIN | CONTINUATION, b"(")].concat(), 1007),
        ("a message too big", frame(FIN | TEXT, &too_big), 1009),
        (
            "parts too big together",
            [frame(TEXT, &too_big[..40_000]), frame(CONTINUATION, &too_big[..40_000])].concat(),
            1009,
        ),
        (
            "a frame that says it is huge",
            [&[FIN | TEXT, 0xff][..], &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat(),
            1009,
        ),
        ("a message much too big", frame(FIN | TEXT, &vec![b' '; 8 * 1024 * 1024]), 1009),
        ("no mask", unmasked(FIN | TEXT, b"{}"), 1002),
        ("a reserved bit", frame(FIN | 0x40 | TEXT, b"{}"), 1002),
        ("a reserved opcode", frame(FIN | 3, b"{}"), 1002),
        ("a reserved control", frame(FIN | 11, b""), 1002),
        ("a ping in parts", frame(PING, b""), 1002),
        ("a long ping", frame(FIN | PING, &[0; 126]), 1002),
        ("a continuation of nothing", frame(FIN | CONTINUATION, b"{}"), 1002),
        ("a text within a text", [frame(TEXT, b"{"), frame(FIN | TEXT, b"}")].concat(), 1002),
        ("half a close code", frame(FIN | CLOSE, &[3]), 1002),
    ];
    for (what, sent, code) in cases {
        let mut raw = session(&relay).await;
        raw.send(&sent).await;
        let told = message(&raw.hear().await, what);
        assert_eq!(told["type"], "error", "{what}: {told}");
        assert_eq!(told["code"], "invalid_request", "{what}: {told}");
        closes(raw, code, what).await;
        alive(&mut neighbour).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_pings_is_closed_for_policy_and_a_few_are_answered() {
    let relay = Served::start(&[("VOXRELAY__LIMITS__CONTROLS_BURST", "50")]).await;
    let mut raw = session(&relay).await;
    raw.send(&frame(FIN | PING, b"x").repeat(200)).await;
    let mut told = raw.hear().await;
    while told == Heard::Frame(PONG, b"x".into()) {
        told = raw.hear().await;
    }
    assert_eq!(message(&told, "a flood")["code"], "rate_limited");
    closes(raw, 1008, "a flood").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_closed_in_peace() {
    let relay = Served::start(&[]).await;
    let mut raw = session(&relay).await;
    raw.send(&close(1000, b"bye")).await;
    let heard = raw.hear().await;
    assert_eq!(heard, Heard::Frame(CLOSE, [&[3, 232][..], b"bye"].concat()));
    assert_eq!(raw.hear().await, Heard::End);
}

/// A session whose key is known.
async fn session(relay: &Served) -> Raw {
    let bearer = format!("Authorization: Bearer {}\r\n", relay.key);
    let mut raw = Raw::open(relay.addr.parse().unwrap(), "/v1/stream", &bearer).await;
    assert_eq!(message(&raw.hear().await, "ready")["type"], "ready");
    raw
}

fn message(heard: &Heard, what: &str) -> Value {
    let Heard::Frame(TEXT, payload) = heard else { panic!("{what}: {heard:?}") };
    serde_json::from_slice(payload).unwrap()
}

async fn closes(mut raw: Raw, code: u16, what: &str) {
    let mut heard = raw.hear().await;
    while matches!(heard, Heard::Frame(PONG, _)) {
        heard = raw.hear().await;
    }
    let Heard::Frame(CLOSE, payload) = &heard else { panic!("{what}: {heard:?}") };
    assert_eq!(payload.first_chunk(), Some(&code.to_be_bytes()), "{what}");
    raw.send(&frame(FIN | CLOSE, payload)).await;
    assert_eq!(raw.hear().await, Heard::End, "{what}");
}

async fn alive(raw: &mut Raw) {
    raw.send(&frame(FIN | TEXT, br#"{"type":"end","stream":"none"}"#)).await;
    assert_eq!(message(&raw.hear().await, "a neighbour")["code"], "unknown_stream");
}
