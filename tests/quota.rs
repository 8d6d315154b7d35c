//! Who may run how much at once.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod support;

use futures_util::future::join_all;
use serde_json::json;
use support::{SHORT, Seen, TestRelay};
use voxrelay::config::Plan;

#[tokio::test]
async fn fifty_clients_race_for_ten_streams_and_never_more_run() {
    let relay = TestRelay::start(|config| wide(config, 10)).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(relay.connect().await);
    }
    // All of them start at once, and nobody leaves: exactly ten get in.
    let starts = join_all(clients.iter_mut().map(|client| async {
        client.send(json!({ "type": "start", "voice": "default" })).await;
        match client.next().await {
            Seen::Json(message) => message,
            other => panic!("{other:?}"),
        }
    }));
    let answers = starts.await;
    let started: Vec<bool> = answers.iter().map(|answer| answer["type"] == "started").collect();
    assert_eq!(started.iter().filter(|started| **started).count(), 10);
    assert_eq!(relay.live_streams().await, 10);
    for error in answers.iter().filter(|answer| answer["type"] != "started") {
        assert_eq!((&error["type"], &error["code"]), (&"error".into(), &"quota_exceeded".into()));
        assert_eq!(
            (&error["limit"], &error["used"], &error["scope"]),
            (&10.into(), &10.into(), &"key".into())
        );
        assert_eq!((&error["status"], &error["retryable"]), (&429.into(), &true.into()));
        assert!(error["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0), "{error}");
        assert_eq!((&error["stream"], &error["ended"]), (&"default".into(), &true.into()));
    }
    for (client, _) in clients.iter_mut().zip(&started).filter(|(_, started)| **started) {
        client.send(json!({ "type": "cancel" })).await;
        client.until("cancelled").await;
    }
    relay.idle().await;
    // Whoever was refused is let in now, on the session it has.
    let refused =
        clients.iter_mut().zip(&started).filter(|(_, started)| !**started).map(|(client, _)| client);
    for client in refused.take(3) {
        client.says(SHORT).await;
    }
}

#[tokio::test]
async fn racers_that_come_and_go_never_pass_the_limit_and_give_everything_back() {
    let relay = TestRelay::start(|config| wide(config, 5)).await;
    let race = join_all((0..20).map(|_| async {
        let mut client = relay.connect().await;
        let mut spoken = 0;
        for _ in 0..4 {
            client.speak(json!({}), "One.").await;
            match client.next().await {
                Seen::Json(message) if message["type"] == "started" => {
                    assert!(relay.live_streams().await <= 5);
                    client.turn().await;
                    spoken += 1;
                }
                Seen::Json(message) => assert_eq!(message["code"], "quota_exceeded", "{message}"),
                other => panic!("{other:?}"),
            }
        }
        spoken
    }));
    assert!(race.await.into_iter().sum::<u32>() >= 5);
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_session_has_a_limit_of_its_own() {
    let relay = TestRelay::start(|config| config.limits.session_streams = 2).await;
    let mut client = relay.connect().await;
    let start =
        |name: &str| json!({ "type": "start", "voice": "default", "stream": name, "frames": "tagged" });
    for name in ["a", "b"] {
        client.send(start(name)).await;
        client.until("started").await;
    }
    client.send(start("c")).await;
    let error = client.refused("quota_exceeded").await;
    assert_eq!((&error["limit"], &error["used"], &error["scope"]), (&2.into(), &2.into(), &"session".into()));
    client.send(json!({ "type": "cancel", "stream": "a" })).await;
    client.until("cancelled").await;
    client.send(start("c")).await;
    client.until("started").await;
    drop(client);
    relay.is_unharmed().await;
}

#[tokio::test]
async fn a_key_of_its_own_limit_and_its_organisation_are_told_apart() {
    let relay = TestRelay::start(|config| wide(config, 3)).await;
    let (small, _) = relay.new_key(|key| key.streams = Some(1)).await;
    let mut holder = relay.connect_as(&small).await;
    holder.send(json!({ "type": "start", "voice": "default" })).await;
    holder.until("started").await;
    let mut second = relay.connect_as(&small).await;
    second.send(json!({ "type": "start", "voice": "default" })).await;
    let error = second.refused("quota_exceeded").await;
    assert_eq!((&error["limit"], &error["used"], &error["scope"]), (&1.into(), &1.into(), &"key".into()));
    // The first key has room for three, its organisation for two more.
    let mut others = Vec::new();
    for _ in 0..2 {
        let mut client = relay.connect().await;
        client.send(json!({ "type": "start", "voice": "default" })).await;
        client.until("started").await;
        others.push(client);
    }
    let mut last = relay.connect().await;
    last.send(json!({ "type": "start", "voice": "default" })).await;
    let error = last.refused("quota_exceeded").await;
    assert_eq!((&error["limit"], &error["used"], &error["scope"]), (&3.into(), &3.into(), &"org".into()));
    drop((holder, others));
    relay.idle().await;
    last.says(SHORT).await;
    second.says(SHORT).await;
}

#[tokio::test]
async fn an_upstream_that_is_full_says_so_after_the_queue_and_takes_the_next() {
    let relay = TestRelay::start(|config| {
        wide(config, 10);
        config.limits.queue_timeout = std::time::Duration::from_millis(50);
        let mut local = voxrelay::config::Upstream {
            name: "narrow".into(),
            provider: config.upstreams[0].provider,
            account: config.upstreams[0].account.clone(),
            streams: 1,
            pool: config.upstreams[0].pool.clone(),
            watchdogs: config.upstreams[0].watchdogs,
        };
        local.pool.warm = 1;
        config.upstreams = vec![local.into()];
        config.voices.clear();
    })
    .await;
    let start = json!({ "type": "start", "provider": "narrow", "voice": "default" });
    let mut holder = relay.connect().await;
    holder.send(start.clone()).await;
    holder.until("started").await;
    let mut second = relay.connect().await;
    second.send(start.clone()).await;
    let error = second.refused("quota_exceeded").await;
    assert_eq!(
        (&error["limit"], &error["used"], &error["scope"]),
        (&1.into(), &1.into(), &"upstream".into())
    );
    drop(holder);
    relay.idle().await;
    second.send(start).await;
    second.until("started").await;
}

/// A plan of that many streams, and upstreams that have room for all of them.
fn wide(config: &mut voxrelay::config::Config, streams: u64) {
    config.plans.insert("default".to_owned(), Plan { streams });
}
