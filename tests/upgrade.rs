//! The door of `/v1/stream`: who gets through it, at the bytes on the wire.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod support;

use serde_json::json;
use support::http::{raw, read_all};
use support::relay::short;
use support::{Ask, SHORT, TestClient, TestRelay, within};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

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
