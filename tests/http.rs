//! The relay over plain HTTP: speech as it is made, what a caller may know, and every way to be refused.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::http::{Coming, raw, read_all};
use support::{Ask, SHORT, TestRelay, long_text};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use voxrelay::keys::Scope;

#[tokio::test]
async fn speech_arrives_in_chunks_while_it_is_made() {
    let relay = TestRelay::plain().await;
    let body = json!({ "voice": "default", "text": long_text(5) });
    let mut coming = relay.ask("POST", "/v1/speech").json(body).begin().await;
    let headers = coming.response.headers().clone();
    assert_eq!(coming.response.status(), 200);
    assert_eq!(headers["transfer-encoding"], "chunked");
    assert_eq!(headers["content-type"], "audio/pcm;rate=24000;channels=1;encoding=pcm_s16le");
    assert!(headers["x-request-id"].to_str().unwrap().starts_with("req_"));
    coming.piece().await.unwrap().expect("the first audio");
    // The first bytes are here and the stream still runs.
    assert_eq!(relay.live_streams().await, 1);
    assert!(rest(&mut coming).await > 1_000_000);
    relay.is_unharmed().await;
}

#[tokio::test]
async fn every_format_says_what_it_is() {
    let relay = TestRelay::plain().await;
    for (format, kind, bytes_per_second) in [
        (json!({}), "audio/pcm;rate=24000;channels=1;encoding=pcm_s16le", 48_000),
        (
            json!({ "encoding": "pcm_f32le", "sample_rate": 16_000 }),
            "audio/pcm;rate=16000;channels=1;encoding=pcm_f32le",
            64_000,
        ),
        (json!({ "encoding": "mulaw", "sample_rate": 8000 }), "audio/PCMU;rate=8000;channels=1", 8_000),
        (json!({ "encoding": "alaw", "sample_rate": 8000 }), "audio/PCMA;rate=8000;channels=1", 8_000),
        (json!({ "container": "wav" }), "audio/wav", 48_000),
    ] {
        let body = json!({ "voice": "default", "text": SHORT, "format": format });
        let answer = relay.ask("POST", "/v1/speech").json(body).send().await;
        assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{}", answer.text());
        let seconds = answer.body.len() as f64 / f64::from(bytes_per_second);
        assert!((1.0..5.0).contains(&seconds), "{format}: {seconds} s");
        assert_eq!(answer.body.starts_with(b"RIFF"), kind == "audio/wav");
    }
    let blank = relay.ask("POST", "/v1/speech").json(json!({ "voice": "default", "text": " " })).send().await;
    assert_eq!((blank.status, blank.body.len()), (200, 0));
}

#[tokio::test]
async fn an_error_before_any_audio_has_its_own_status() {
    let relay = TestRelay::start(|config| config.limits.characters_per_stream = 100).await;
    let (deaf, _) = relay.new_key(|key| key.scopes = vec![Scope::UsageRead]).await;
    let (picky, _) = relay.new_key(|key| key.voices = Some(vec!["narrator".to_owned()])).await;
    let good = json!({ "voice": "default", "text": SHORT });
    for (key, body, status, code) in [
        (&relay.key, json!({ "voice": "nobody", "text": SHORT }), 404, "unknown_voice"),
        (&relay.key, json!({ "text": SHORT }), 400, "invalid_request"),
        (&relay.key, json!({ "voice": "default" }), 400, "invalid_request"),
        (&relay.key, json!({ "voice": "default", "text": 5 }), 400, "invalid_request"),
        (
            &relay.key,
            json!({ "voice": "default", "text": SHORT, "options": { "x": 1 } }),
            400,
            "invalid_request",
        ),
        (
            &relay.key,
            json!({ "voice": "default", "text": SHORT, "format": { "encoding": "mp3" } }),
            400,
            "unsupported_format",
        ),
        (&relay.key, json!({ "voice": "default", "text": "x".repeat(101) }), 413, "text_too_long"),
        (&relay.key, json!({ "voice": "default", "text": "x".repeat(70_000) }), 413, "text_too_long"),
        (&relay.key, json!([1]), 400, "invalid_request"),
        (&deaf, good.clone(), 403, "forbidden"),
        (&picky, good.clone(), 403, "forbidden"),
        (&"sk-nonsense".to_owned(), good.clone(), 401, "invalid_credentials"),
    ] {
        let answer = Ask::new(&relay.addr, "POST", "/v1/speech").bearer(key).json(body).send().await;
        answer.is_problem(status, code);
    }
    let nobody = Ask::new(&relay.addr, "POST", "/v1/speech").json(good).send().await;
    nobody.is_problem(401, "missing_credentials");
    let broken = relay.ask("POST", "/v1/speech").body("{\"voice\":\"default\",").send().await;
    broken.is_problem(400, "invalid_request");
    let not_text = relay.ask("POST", "/v1/speech").body(&b"{\"text\":\"\xff\"}"[..]).send().await;
    not_text.is_problem(400, "invalid_request");
    let packed = relay.ask("POST", "/v1/speech").header("content-encoding", "gzip").body("x").send().await;
    let problem = packed.is_problem(400, "invalid_request");
    assert!(problem["detail"].as_str().unwrap().contains("content-encoding"), "{problem}");
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_quota_over_http_explains_itself() {
    let relay = TestRelay::plain().await;
    let (key, _) = relay.new_key(|key| key.streams = Some(1)).await;
    let mut holder = relay.connect_as(&key).await;
    holder.send(json!({ "type": "start", "voice": "default" })).await;
    holder.until("started").await;
    let body = json!({ "voice": "default", "text": SHORT });
    let ask = || Ask::new(&relay.addr, "POST", "/v1/speech").bearer(&key).json(body.clone());
    let problem = ask().send().await.is_problem(429, "quota_exceeded");
    assert_eq!(
        (&problem["limit"], &problem["used"], &problem["scope"]),
        (&1.into(), &1.into(), &"key".into())
    );
    assert_eq!((&problem["retryable"], &problem["retry_after_ms"].is_u64()), (&true.into(), &true));
    holder.send(json!({ "type": "cancel" })).await;
    holder.until("cancelled").await;
    assert_eq!(ask().send().await.status, 200);
}

#[tokio::test]
async fn a_caller_that_leaves_early_gives_its_stream_back() {
    let relay = TestRelay::plain().await;
    let body = json!({ "voice": "default", "text": long_text(20) });
    let mut coming = relay.ask("POST", "/v1/speech").json(body.clone()).begin().await;
    coming.piece().await.unwrap().expect("the first audio");
    drop(coming);
    relay.is_unharmed().await;
    // Also one that does not even wait for the head of the answer.
    let mut socket = TcpStream::connect(&relay.addr).await.unwrap();
    let text = body.to_string();
    let head = format!(
        "POST /v1/speech HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{text}",
        relay.key,
        text.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    drop(socket);
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_without_reading_it_all() {
    let relay = TestRelay::plain().await;
    let head = format!(
        "POST /v1/speech HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Length: 1000000000\r\n\r\n",
        relay.key
    );
    let mut socket = TcpStream::connect(&relay.addr).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b' '; 64 * 1024];
    let mut sent = 0;
    while sent < 1_000_000_000 && socket.write_all(&piece).await.is_ok() {
        sent += piece.len();
    }
    assert!(sent < 50_000_000, "{sent} bytes were taken");
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_answered_at_once() {
    let relay = TestRelay::plain().await;
    let head = format!(
        "POST /v1/speech HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Length: 1000000000\r\n\r\n",
        relay.key
    );
    let answer = raw(&relay.addr, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("text_too_long"), "{answer}");
}

#[tokio::test]
async fn a_body_that_drips_is_given_up() {
    let relay = TestRelay::start(|config| config.limits.head_timeout = Duration::from_millis(300)).await;
    let head = format!(
        "POST /v1/speech HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Length: 100\r\n\r\n{{",
        relay.key
    );
    let mut socket = TcpStream::connect(&relay.addr).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let answer = read_all(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("in time"), "{answer}");
    relay.is_unharmed().await;
}

#[tokio::test]
async fn me_tells_a_caller_about_itself_and_no_secret() {
    let relay = TestRelay::plain().await;
    let (key, id) = relay
        .new_key(|key| {
            key.streams = Some(3);
            key.scopes = vec![Scope::Synthesize, Scope::UsageRead];
            key.voices = Some(vec!["default".to_owned()]);
        })
        .await;
    let mut client = relay.connect_as(&key).await;
    let done = client.says(SHORT).await.done;
    client.send(json!({ "type": "start", "voice": "default" })).await;
    client.until("started").await;
    let answer = Ask::new(&relay.addr, "GET", "/v1/me").bearer(&key).send().await;
    assert!(!answer.text().contains("sk-"));
    let me = answer.json();
    assert_eq!((&me["key"], &me["org"], &me["plan"]), (&id.into(), &"default".into(), &"default".into()));
    assert_eq!(me["scopes"], json!(["synthesize", "usage:read"]));
    assert_eq!(me["voices"], json!(["default"]));
    assert_eq!(me["limits"], json!({ "streams": 3, "session_streams": 16, "characters_per_stream": 50_000 }));
    assert_eq!((&me["live_streams"], &me["streams"]), (&1.into(), &1.into()));
    assert_eq!(me["characters"], SHORT.len());
    assert_eq!(me["audio_seconds"].as_f64().unwrap() * 1000.0, done["audio_ms"].as_f64().unwrap());
    assert_eq!((&me["balance"], &me["expires_at"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn voices_lists_what_the_key_may_use() {
    let relay = TestRelay::plain().await;
    let all = relay.ask("GET", "/v1/voices").send().await.json();
    assert_eq!(all["voices"][0]["voice"], "default");
    assert_eq!(all["voices"][0]["providers"], json!(["local"]));
    let own = &all["upstreams"][0];
    assert_eq!((&own["provider"], &own["kind"]), (&"local".into(), &"embedded".into()));
    assert!(own["voices"].as_array().unwrap().iter().any(|voice| voice["voice"] == "de-DE"), "{own}");
    let (key, _) = relay.new_key(|key| key.voices = Some(vec!["narrator".to_owned()])).await;
    let none = Ask::new(&relay.addr, "GET", "/v1/voices").bearer(&key).send().await.json();
    assert_eq!(none, json!({ "voices": [], "upstreams": [] }));
    let (key, _) = relay.new_key(|key| key.scopes = vec![Scope::Synthesize]).await;
    Ask::new(&relay.addr, "GET", "/v1/voices").bearer(&key).send().await.is_problem(403, "forbidden");
}

#[tokio::test]
async fn whatever_is_asked_the_answer_has_an_id_and_its_own_status() {
    let relay = TestRelay::plain().await;
    let health = Ask::new(&relay.addr, "GET", "/healthz").send().await;
    assert_eq!((health.status, health.text().as_str()), (200, "ok\n"));
    assert!(health.header("x-request-id").starts_with("req_"));
    for (method, path, status, code) in [
        ("GET", "/", 404, "invalid_request"),
        ("GET", "/v1", 404, "invalid_request"),
        ("GET", "/v1/me/", 404, "invalid_request"),
        ("GET", "/metrics", 404, "invalid_request"),
        ("GET", "/%2e%2e/etc/passwd", 404, "invalid_request"),
        ("POST", "/v1/me", 405, "invalid_request"),
        ("DELETE", "/healthz", 405, "invalid_request"),
        ("GET", "/v1/speech", 405, "invalid_request"),
        ("GET", "/v1/me", 401, "missing_credentials"),
        ("GET", "/v1/voices", 401, "missing_credentials"),
        ("GET", "/v1/stream", 426, "invalid_request"),
    ] {
        let answer = Ask::new(&relay.addr, method, path).send().await;
        assert_eq!(answer.status, status, "{method} {path}");
        let problem = answer.json();
        assert_eq!((problem["code"].as_str(), &problem["status"]), (Some(code), &status.into()), "{problem}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(problem["request_id"], answer.header("x-request-id"));
    }
    let (one, two) = (relay.ask("GET", "/healthz").send().await, relay.ask("GET", "/healthz").send().await);
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
}

/// How many bytes follow, to a clean end.
async fn rest(coming: &mut Coming) -> usize {
    let mut bytes = 0;
    while let Some(piece) = coming.piece().await.expect("a clean end") {
        bytes += piece.len();
    }
    bytes
}
