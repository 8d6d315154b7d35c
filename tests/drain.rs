//! The end of a relay's life: what runs may finish, nothing new begins.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Ask, Seen, Served, TestClient, TestRelay, long_text};

#[tokio::test]
async fn sigterm_lets_streams_finish_refuses_new_ones_and_ends_with_code_0() {
    let mut served = Served::start(&[]).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = connect(&served.addr, &served.key).await;
        client.speak(json!({ "frames": "tagged" }), &long_text(3)).await;
        client.audio().await;
        clients.push(client);
    }
    // Its text is not over, so that the relay cannot be before we say so.
    let mut open = connect(&served.addr, &served.key).await;
    open.send(json!({ "type": "start", "voice": "default", "frames": "tagged" })).await;
    open.until("started").await;
    let mut idle = connect(&served.addr, &served.key).await;
    served.terminate();

    assert_eq!(idle.until("draining").await["deadline_ms"], 30_000);
    assert_eq!(ending(&mut idle).await, (1001, "draining".to_owned()));
    open.until("draining").await;
    open.send(json!({ "type": "start", "voice": "default", "stream": "new", "frames": "tagged" })).await;
    let error = open.refused("draining").await;
    assert_eq!(
        (&error["status"], &error["retryable"], &error["stream"]),
        (&503.into(), &true.into(), &"new".into())
    );

    let ready = Ask::new(&served.operator, "GET", "/readyz").send().await;
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("draining"), "{}", ready.text());
    let bearer = format!("Bearer {}", served.key);
    let refused = TestClient::open(&served.addr, &[("authorization", &bearer)]).await.err().expect("refused");
    refused.is_problem(503, "draining");
    let speech = json!({ "voice": "default", "text": "No." });
    let answer = Ask::new(&served.addr, "POST", "/v1/speech").bearer(&served.key).json(speech).send().await;
    answer.is_problem(503, "draining");
    assert_eq!(Ask::new(&served.operator, "GET", "/livez").send().await.status, 200);

    for client in &mut clients {
        let turn = client.turn().await;
        assert!(turn.done["audio_ms"].as_u64().unwrap() > 10_000, "all of it: {}", turn.done);
        assert_eq!(ending(client).await, (1001, "draining".to_owned()));
    }
    open.send(json!({ "type": "text", "text": "The last words." })).await;
    open.send(json!({ "type": "end" })).await;
    open.turn().await;
    assert_eq!(ending(&mut open).await, (1001, "draining".to_owned()));
    assert_eq!(served.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let mut served = Served::start(&[]).await;
    let mut client = connect(&served.addr, &served.key).await;
    client.send(json!({ "type": "start", "voice": "default" })).await;
    client.until("started").await;
    served.terminate();
    client.until("draining").await;
    served.terminate();
    assert_eq!(served.exit_code().await, Some(1));
    client.gone().await;
}

#[tokio::test]
async fn a_relay_with_nothing_to_do_stops_at_once() {
    let mut served = Served::start(&[]).await;
    served.terminate();
    assert_eq!(served.exit_code().await, Some(0));
}

#[tokio::test]
async fn whoever_has_not_finished_at_the_deadline_is_closed_with_1001() {
    let relay = TestRelay::start(|config| config.drain = Duration::from_millis(300)).await;
    let mut straggler = relay.connect().await;
    straggler.send(json!({ "type": "start", "voice": "default" })).await;
    straggler.until("started").await;
    let mut silent = relay.stranger().await;
    let told = async {
        assert_eq!(straggler.until("draining").await["deadline_ms"], 300);
        let error = straggler.refused("draining").await;
        assert_eq!((&error["stream"], &error["ended"]), (&"default".into(), &true.into()));
        assert_eq!(ending(&mut straggler).await.0, 1001);
        silent.is_closed(1001, "draining").await;
    };
    let (finished, ()) = tokio::join!(relay.stop(), told);
    assert!(!finished);
}

#[tokio::test]
async fn a_relay_in_process_stops_when_its_last_stream_is_done_and_keeps_its_use() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    client.speak(json!({}), &long_text(2)).await;
    client.audio().await;
    let body = json!({ "voice": "default", "text": long_text(2) });
    let mut coming = relay.ask("POST", "/v1/speech").json(body).begin().await;
    coming.piece().await.unwrap().expect("audio");
    let (key, config) = (relay.key_id.clone(), relay.config_file());
    let told = async {
        let mut bytes = 0;
        while let Some(piece) = coming.piece().await.expect("the whole body") {
            bytes += piece.len();
        }
        (client.turn().await.done, ending(&mut client).await, bytes)
    };
    let home = relay.keep();
    let (finished, (done, closed, bytes)) = tokio::join!(relay.stop(), told);
    assert!(finished && bytes > 100_000);
    assert_eq!(closed, (1001, "draining".to_owned()));
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_voxrelay"));
    let output =
        command.args(["keys", "show", &key, "--json", "--config"]).arg(config).output().await.unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["usage"]["streams"], 2, "{shown}");
    assert_eq!(shown["usage"]["characters"].as_u64(), Some(done["characters"].as_u64().unwrap() * 2));
    drop(home);
}

async fn connect(addr: &str, key: &str) -> TestClient {
    let bearer = format!("Bearer {key}");
    let mut client = TestClient::open(addr, &[("authorization", &bearer)]).await.unwrap();
    client.until("ready").await;
    client
}

/// Code and first word of the close that comes next, with nothing but `draining` before it.
async fn ending(client: &mut TestClient) -> (u16, String) {
    loop {
        match client.next().await {
            Seen::Json(message) if message["type"] == "draining" || message["type"] == "error" => {}
            Seen::Close(code, reason) => {
                client.gone().await;
                return (code, reason.split(' ').next().unwrap().to_owned());
            }
            other => panic!("{other:?}"),
        }
    }
}
