//! Who is let in, who is not, and who is shown out.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod support;

use std::time::Duration;

use serde_json::json;
use support::relay::short;
use support::{Ask, SHORT, TestClient, TestRelay, long_text, within};
use tokio::process::Command;
use voxrelay::config::AuthMode;
use voxrelay::keys::Scope;

/// A key of the right shape whose checksum is wrong.
const MISTYPED: &str = "sk-0123456789abcdefghijklmnopABCDEF";

#[tokio::test]
async fn a_bad_key_in_the_header_is_refused_before_the_upgrade_and_tells_nothing() {
    let relay = TestRelay::plain().await;
    let (revoked, id) = relay.new_key(|_| {}).await;
    revoke(&relay, &id).await;
    let past = std::time::SystemTime::now() - Duration::from_secs(5);
    let (expired, _) = relay.new_key(|key| key.expires = Some(past)).await;
    let (other, _) = TestRelay::plain().await.new_key(|_| {}).await;
    let mut details = Vec::new();
    for key in ["sk-x", "nonsense", MISTYPED, &revoked, &expired, &other] {
        let bearer = format!("Bearer {key}");
        let refused =
            TestClient::open(&relay.addr, &[("authorization", &bearer)]).await.err().expect("refused");
        let problem = refused.is_problem(401, "invalid_credentials");
        assert!(!problem.to_string().contains(key));
        details.push(problem["detail"].clone());
    }
    assert!(details.iter().all(|detail| *detail == details[0]), "{details:?}");
    let basic =
        TestClient::open(&relay.addr, &[("authorization", "Basic eDp5")]).await.err().expect("refused");
    basic.is_problem(401, "invalid_credentials");
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_bad_key_in_the_first_frame_closes_the_session() {
    let relay = TestRelay::plain().await;
    for key in ["", "sk-x", MISTYPED] {
        let mut client = relay.stranger().await;
        client.send(json!({ "type": "auth", "token": key })).await;
        client.speak(json!({}), SHORT).await;
        let code = if key.is_empty() { "missing_credentials" } else { "invalid_credentials" };
        assert_eq!(client.is_closed(3000, code).await["status"], 401);
    }
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_first_frame_that_is_no_auth_closes_the_session() {
    let relay = TestRelay::plain().await;
    for first in [
        "{\"type\":\"start\",\"voice\":\"default\"}",
        "hello",
        "{\"type\":\"auth\"}",
        "{\"type\":\"auth\",\"token\":5}",
    ] {
        let mut client = relay.stranger().await;
        client.send_raw(first.into()).await;
        client.is_closed(3000, "missing_credentials").await;
    }
    let mut client = relay.stranger().await;
    client.send_raw(vec![1, 2, 3].into()).await;
    client.is_closed(1003, "invalid_request").await;
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_first_frame_of_a_stranger_is_short_and_those_of_a_known_caller_are_not() {
    let relay = TestRelay::plain().await;
    let long = "x".repeat(5_000);
    let mut client = relay.stranger().await;
    client.send(json!({ "type": "auth", "token": relay.key, "more": long })).await;
    client.is_closed(1009, "invalid_request").await;
    let mut later = relay.stranger().await;
    later.send(json!({ "type": "auth", "token": relay.key })).await;
    for mut client in [later, relay.connect().await] {
        client.send(json!({ "type": "start", "voice": "default", "more": long })).await;
        client.until("started").await;
    }
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_first_frame_that_does_not_come_closes_the_session() {
    let relay = TestRelay::start(|config| short(&mut config.auth.first_frame_timeout)).await;
    let mut silent = relay.stranger().await;
    let mut pinging = relay.stranger().await;
    pinging.send_raw(tokio_tungstenite::tungstenite::Message::Ping("hello".into())).await;
    for client in [&mut silent, &mut pinging] {
        let error = client.is_closed(3008, "auth_timeout").await;
        assert_eq!((&error["status"], &error["retryable"]), (&408.into(), &false.into()));
    }
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_revoked_key_ends_what_runs_on_it_within_a_second_and_nothing_else() {
    let relay = TestRelay::plain().await;
    let (key, id) = relay.new_key(|_| {}).await;
    let mut neighbour = relay.connect().await;
    neighbour.speak(json!({}), &long_text(3)).await;
    let mut speaking = relay.connect_as(&key).await;
    speaking.speak(json!({ "pace": { "lead_ms": 100, "frame_ms": 20 } }), &long_text(3)).await;
    speaking.audio().await;
    let mut idle = relay.connect_as(&key).await;
    revoke(&relay, &id).await;
    let told = async {
        idle.is_closed(3000, "invalid_credentials").await;
        speaking.ending().await
    };
    // More than the promise, for a machine that is busy with other things; the speech takes longer.
    let (errors, code, _) =
        tokio::time::timeout(Duration::from_secs(5), told).await.expect("within a second");
    assert_eq!(code, 3000);
    assert!(errors.iter().all(|error| error["code"] == "invalid_credentials"), "{errors:?}");
    let answer = Ask::new(&relay.addr, "GET", "/v1/me").bearer(&key).send().await;
    answer.is_problem(401, "invalid_credentials");
    let turn = neighbour.turn().await;
    assert_eq!(turn.done["bytes"], turn.audio().len());
    relay.is_unharmed().await;
}

#[tokio::test]
async fn what_a_key_may_not_do_is_forbidden_and_the_session_goes_on() {
    let relay = TestRelay::plain().await;
    let (reader, _) = relay.new_key(|key| key.scopes = vec![Scope::VoicesRead]).await;
    let mut client = relay.connect_as(&reader).await;
    client.speak(json!({}), SHORT).await;
    let error = client.refused("forbidden").await;
    assert_eq!((&error["status"], &error["ended"]), (&403.into(), &true.into()));
    let (picky, _) = relay.new_key(|key| key.voices = Some(vec!["narrator".to_owned()])).await;
    let mut client = relay.connect_as(&picky).await;
    for start in [json!({}), json!({ "provider": "local", "voice": "en-GB" })] {
        client.speak(start, SHORT).await;
        client.refused("forbidden").await;
    }
    // A voice it may use by name, and which is not there.
    client.speak(json!({ "voice": "narrator" }), SHORT).await;
    client.refused("unknown_voice").await;
}

#[tokio::test]
async fn in_open_mode_nobody_needs_a_key_and_one_that_is_sent_is_ignored() {
    let relay = TestRelay::start(|config| config.auth.mode = AuthMode::Open).await;
    for headers in [&[][..], &[("authorization", "Bearer sk-whatever")]] {
        let mut client = TestClient::open(&relay.addr, headers).await.unwrap();
        let ready = client.until("ready").await;
        assert_eq!((&ready["key"], &ready["org"]), (&serde_json::Value::Null, &"default".into()));
        client.says(SHORT).await;
    }
    let mut client = TestClient::open(&relay.addr, &[]).await.unwrap();
    client.send(json!({ "type": "auth", "token": "sk-whatever" })).await;
    client.until("ready").await;
    client.says(SHORT).await;
    let answer = Ask::new(&relay.addr, "GET", "/v1/me").send().await;
    assert_eq!((answer.status, &answer.json()["live_streams"]), (200, &0.into()));
}

#[tokio::test]
async fn who_guesses_too_often_is_told_to_wait() {
    let relay = TestRelay::plain().await;
    let mut inside = relay.connect().await;
    for _ in 0..20 {
        let answer = Ask::new(&relay.addr, "GET", "/v1/me").bearer(MISTYPED).send().await;
        answer.is_problem(401, "invalid_credentials");
    }
    let answer = Ask::new(&relay.addr, "GET", "/v1/me").bearer(MISTYPED).send().await;
    let problem = answer.is_problem(429, "rate_limited");
    assert_eq!(problem["retryable"], true);
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");
    let mut late = relay.stranger().await;
    late.send(json!({ "type": "auth", "token": MISTYPED })).await;
    late.is_closed(1008, "rate_limited").await;
    // Whoever was in before is not touched.
    inside.says(SHORT).await;
}

#[tokio::test]
async fn a_single_use_token_lets_a_browser_in_once_and_its_sub_protocol_is_not_echoed() {
    let relay = TestRelay::plain().await;
    let issue = async || {
        let body = json!({ "expires_in": 60, "uses": 1, "voices": ["default"] });
        let answer = relay.ask("POST", "/v1/tokens").json(body).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["token"].as_str().unwrap().to_owned()
    };
    let offer = format!("voxrelay.v1, bearer.{}", issue().await);
    let mut client = TestClient::open(&relay.addr, &[("sec-websocket-protocol", &offer)]).await.unwrap();
    assert_eq!(client.protocol.as_deref(), Some("voxrelay.v1"));
    assert_eq!(client.until("ready").await["key"], relay.key_id);
    client.says(SHORT).await;
    // A browser cannot read the answer to a refused upgrade: it is told after it.
    let mut again = TestClient::open(&relay.addr, &[("sec-websocket-protocol", &offer)]).await.unwrap();
    again.is_closed(3000, "invalid_credentials").await;
    let path = format!("/v1/stream?token={}", issue().await);
    let socket = tokio::net::TcpStream::connect(&relay.addr).await.unwrap();
    let mut client = TestClient::over(socket, &path, &[]).await.unwrap();
    client.until("ready").await;
    client.speak(json!({ "provider": "local", "voice": "de-DE" }), SHORT).await;
    client.refused("forbidden").await;
    client.says(SHORT).await;
}

/// Revokes a key as an operator does.
async fn revoke(relay: &TestRelay, id: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxrelay"));
    command.args(["keys", "revoke", id, "--config"]).arg(relay.config_file());
    let output = within("the command", command.output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
