//! What no client should send, and what comes of it: an answer for the one, nothing for the others.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod support;

use std::time::Duration;

use serde_json::json;
use support::http::{raw, read_all};
use support::relay::short;
use support::voices::settled;
use support::{Ask, SHORT, Seen, TestClient, TestRelay, long_text, within};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
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
async fn heads_that_drip_are_cut_off_while_others_come_in() {
    let relay = TestRelay::start(|config| short(&mut config.limits.head_timeout)).await;
    let mut dripping = Vec::new();
    for _ in 0..100 {
        let mut socket = TcpStream::connect(&relay.addr).await.unwrap();
        socket.write_all(b"GET /v1/stream HTTP/1.1\r\nHost: a\r\nX: ").await.unwrap();
        dripping.push(socket);
    }
    relay.connect().await.says(SHORT).await;
    for socket in &mut dripping {
        let _ = socket.write_all(b"y").await;
        read_all(socket).await;
    }
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_legal_upgrade_in_single_bytes_gets_in() {
    let relay = TestRelay::plain().await;
    let mut socket = TcpStream::connect(&relay.addr).await.unwrap();
    socket.set_nodelay(true).unwrap();
    for byte in upgrade(&relay, &[]).bytes() {
        socket.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut head = [0; 12];
    within("an answer", tokio::io::AsyncReadExt::read_exact(&mut socket, &mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
}

#[tokio::test]
async fn an_upgrade_that_could_be_read_in_two_ways_is_refused_and_the_connection_closed() {
    let relay = TestRelay::plain().await;
    let without = |field: &str| {
        let lines = upgrade(&relay, &[]);
        let kept = lines.split_inclusive("\r\n").filter(|line| !line.to_lowercase().starts_with(field));
        kept.collect::<String>()
    };
    let instead =
        |field: &str, line: &str| without(field).replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"));
    let table = [
        ("two hosts", upgrade(&relay, &["Host: other"]), 400),
        ("no host", without("host:"), 400),
        ("a body", upgrade(&relay, &["Content-Length: 5"]) + "hello", 400),
        ("an empty body", upgrade(&relay, &["Content-Length: 0"]), 400),
        ("chunks", upgrade(&relay, &["Transfer-Encoding: chunked"]) + "0\r\n\r\n", 400),
        ("both", upgrade(&relay, &["Transfer-Encoding: chunked", "Content-Length: 3"]) + "0\r\n\r\n", 400),
        ("no upgrade", without("upgrade:"), 426),
        ("another upgrade", instead("upgrade:", "Upgrade: h2c"), 426),
        ("no connection", without("connection:"), 426),
        ("a version of old", instead("sec-websocket-version", "Sec-WebSocket-Version: 8"), 426),
        ("no version", without("sec-websocket-version"), 426),
        ("no key", without("sec-websocket-key"), 400),
        ("a short key", instead("sec-websocket-key", "Sec-WebSocket-Key: abc"), 400),
        ("two keys", upgrade(&relay, &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]), 400),
        ("old HTTP", upgrade(&relay, &[]).replace("HTTP/1.1", "HTTP/1.0"), 400),
        ("a header without end", upgrade(&relay, &[&format!("X: {}", "y".repeat(17_000))]), 431),
        ("headers without end", upgrade(&relay, &vec!["X: y"; 70]), 431),
        ("folded lines", upgrade(&relay, &["X: y\r\n folded"]), 400),
        ("white space before the colon", upgrade(&relay, &["Content-Length : 5"]), 400),
        ("no request at all", "\u{16}\u{3}\u{1}hello\r\n\r\n".to_owned(), 400),
    ];
    for (name, head, status) in table {
        let answer = raw(&relay.addr, head.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.{} {status} ", u8::from(name != "old HTTP"))),
            "{name}: {answer}"
        );
        assert!(!answer.contains("\r\nHTTP/1."), "answered twice: {name}: {answer}");
        if status == 426 {
            let fields = answer.to_lowercase();
            assert!(fields.contains("upgrade: websocket") && fields.contains("sec-websocket-version: 13"));
        }
    }
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_request_behind_an_upgrade_is_never_answered_as_http() {
    let relay = TestRelay::plain().await;
    let smuggled = upgrade(&relay, &[]) + "GET /v1/me HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = raw(&relay.addr, smuggled.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 101 ") && !answer.contains("HTTP/1.1 200"), "{answer}");
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_key_in_a_url_is_refused_with_a_reason_and_not_looked_up() {
    let relay = TestRelay::plain().await;
    for path in
        ["/v1/stream?token=", "/v1/stream?key=", "/v1/stream?x=", "/v1/me?api_key=", "/v1/voices?x=1&token="]
    {
        let path = format!("{path}{}", relay.key);
        let answer = if path.starts_with("/v1/stream") {
            let socket = TcpStream::connect(&relay.addr).await.unwrap();
            TestClient::over(socket, &path, &[]).await.err().expect("refused")
        } else {
            Ask::new(&relay.addr, "GET", &path).send().await
        };
        let problem = answer.is_problem(401, "invalid_credentials");
        assert!(problem["detail"].as_str().unwrap().contains("URL"), "{problem}");
        assert!(!answer.text().contains(&relay.key));
    }
    relay.is_unharmed().await;
}

#[tokio::test]
async fn pages_of_other_origins_may_not_connect() {
    let relay = TestRelay::start(|config| config.server.origins = vec!["https://app.test".to_owned()]).await;
    let bearer = format!("Bearer {}", relay.key);
    let own = format!("http://{}", relay.addr);
    for (origin, allowed) in [
        ("https://app.test", true),
        (own.as_str(), true),
        ("http://app.test", false),
        ("https://app.test.evil.test", false),
        ("https://APP.TEST", false),
        ("null", false),
    ] {
        let headers = [("authorization", bearer.as_str()), ("origin", origin)];
        match TestClient::open(&relay.addr, &headers).await {
            Ok(mut client) => {
                assert!(allowed, "{origin}");
                client.until("ready").await;
            }
            Err(answer) => {
                assert!(!allowed, "{origin}");
                answer.is_problem(403, "forbidden");
            }
        }
    }
    relay.is_unharmed().await;
}

#[tokio::test]
async fn strangers_are_bounded_and_those_with_a_key_are_not_kept_out() {
    let relay = TestRelay::start(|config| config.limits.unauthenticated_per_source = 3).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(relay.stranger().await);
    }
    let mut fourth = relay.stranger().await;
    let error = fourth.is_closed(1013, "overloaded").await;
    assert!(error["retry_after_ms"].is_u64() && error["retryable"] == true, "{error}");
    relay.connect().await.says(SHORT).await;
    waiting[0].send(json!({ "type": "auth", "token": relay.key })).await;
    waiting[0].until("ready").await;
    let mut fifth = relay.stranger().await;
    fifth.send(json!({ "type": "auth", "token": relay.key })).await;
    fifth.until("ready").await;
}

#[tokio::test]
async fn a_full_relay_says_so_and_takes_the_next_when_one_has_left() {
    let relay = TestRelay::start(|config| config.limits.sessions = 2).await;
    let (first, _second) = (relay.connect().await, relay.connect().await);
    let bearer = format!("Bearer {}", relay.key);
    let answer = TestClient::open(&relay.addr, &[("authorization", &bearer)]).await.err().expect("refused");
    assert_eq!(answer.is_problem(503, "overloaded")["retryable"], true);
    drop(first);
    let again = support::until("room for a session", async || {
        TestClient::open(&relay.addr, &[("authorization", &bearer)]).await.ok()
    });
    again.await.until("ready").await;
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

/// An upgrade that is right but for what is added.
fn upgrade(relay: &TestRelay, added: &[&str]) -> String {
    let mut lines = vec![
        "GET /v1/stream HTTP/1.1".to_owned(),
        format!("Host: {}", relay.addr),
        "Connection: keep-alive, Upgrade".to_owned(),
        "Upgrade: websocket".to_owned(),
        "Sec-WebSocket-Version: 13".to_owned(),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==".to_owned(),
        format!("Authorization: Bearer {}", relay.key),
    ];
    lines.extend(added.iter().map(|line| (*line).to_owned()));
    lines.join("\r\n") + "\r\n\r\n"
}
