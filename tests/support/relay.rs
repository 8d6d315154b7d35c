//! A whole relay in this process, with a store of its own and the embedded voice.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use voxrelay::Relay;
use voxrelay::config::{Config, PoolSettings, Route, Upstream, Voice, Watchdogs};
use voxrelay::store::{DEFAULT_ORG, NewKey, Store};
use voxrelay::transport::process::use_worker_program;
use voxrelay_protocol::provider::{Account, provider};
use voxrelay_protocol::request::Credential;

use super::fake::FakeCartesia;
use super::{Ask, SHORT, TestClient, until};

/// A relay at work. Stopped by [`TestRelay::stop`]; dropped, it is cut off.
pub struct TestRelay {
    relay: Option<Relay>,
    config: Config,
    /// Host and port of the public listener.
    pub addr: String,
    /// Host and port of the operator's listener.
    pub operator: String,
    /// The first key's secret; empty in open mode.
    pub key: String,
    /// Its id.
    pub key_id: String,
    home: Arc<TempDir>,
}

impl TestRelay {
    /// A relay with nothing changed but its ports and the place of its store.
    pub async fn plain() -> Self {
        Self::start(|_| {}).await
    }

    /// A relay with some of its config changed.
    pub async fn start(tweak: impl FnOnce(&mut Config)) -> Self {
        use_worker_program(env!("CARGO_BIN_EXE_voxrelay"));
        let home = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.listen.set_port(0);
        config.operator.listen.set_port(0);
        config.store.path = home.path().join("voxrelay.db");
        tweak(&mut config);
        let relay = Relay::start(config.clone()).await.unwrap();
        let (key, key_id) = relay
            .first_key
            .as_ref()
            .map_or_else(Default::default, |first| (first.secret.clone(), first.id.clone()));
        let (addr, operator) = (relay.addr.to_string(), relay.operator_addr.to_string());
        Self { relay: Some(relay), config, addr, operator, key, key_id, home: home.into() }
    }

    /// A relay with an account at a fake vendor beside the embedded voice. The voice `vendor` is spoken
    /// there only, the voice `either` there or else by the embedded one.
    pub async fn with_vendor(fake: &FakeCartesia, tweak: impl FnOnce(&mut Config, &mut Upstream)) -> Self {
        let mut vendor = Upstream {
            name: "vendor".into(),
            provider: provider("cartesia").unwrap(),
            account: Account { url: fake.url(), api_key: Some(Credential::new("canary-key")), api: "" },
            streams: 50,
            pool: PoolSettings { warm: 0, dials_per_second: 100.0, ..PoolSettings::default() },
            watchdogs: Watchdogs::default(),
        };
        Self::start(|config| {
            tweak(config, &mut vendor);
            let vendor = Arc::new(vendor);
            let there = Route { upstream: vendor.clone(), model: Some("sonic-3".into()), voice: "v".into() };
            let here =
                Route { upstream: config.upstreams[0].clone(), model: None, voice: "default".to_owned() };
            config.upstreams.push(vendor);
            for (name, routes) in [("vendor", vec![there.clone()]), ("either", vec![there, here])] {
                config.voices.push(Arc::new(Voice { name: name.into(), language: None, routes }));
            }
        })
        .await
    }

    /// A client that is let in, and its `ready`.
    pub async fn connect(&self) -> TestClient {
        self.connect_as(&self.key).await
    }

    /// The same with another key.
    pub async fn connect_as(&self, key: &str) -> TestClient {
        let bearer = format!("Bearer {key}");
        let mut client = TestClient::open(&self.addr, &[("authorization", &bearer)]).await.unwrap();
        client.until("ready").await;
        client
    }

    /// A client that has not shown a key.
    pub async fn stranger(&self) -> TestClient {
        TestClient::open(&self.addr, &[]).await.unwrap()
    }

    /// Another key of the default organisation: its secret and its id.
    pub async fn new_key(&self, change: impl FnOnce(&mut NewKey)) -> (String, String) {
        let store = Store::from_config(&self.config).await.unwrap();
        let mut new = NewKey::named(DEFAULT_ORG, "another");
        change(&mut new);
        let (record, secret) = store.create_key(&new).await.unwrap();
        store.close().await;
        (secret.expose().to_owned(), record.id)
    }

    /// A config file that names the relay's own store, for commands.
    pub fn config_file(&self) -> PathBuf {
        let path = self.home.path().join("voxrelay.toml");
        let store = self.config.store.path.display();
        std::fs::write(&path, format!("[store]\nurl = \"sqlite:{store}\"\n")).unwrap();
        path
    }

    /// Keeps the relay's folder for longer than the relay.
    pub fn keep(&self) -> Arc<TempDir> {
        self.home.clone()
    }

    /// A request with the first key.
    pub fn ask(&self, method: &str, path: &str) -> Ask {
        Ask::new(&self.addr, method, path).bearer(&self.key)
    }

    /// What the relay says of its first key.
    pub async fn me(&self) -> Value {
        let answer = self.ask("GET", "/v1/me").send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Streams that run on the first key.
    pub async fn live_streams(&self) -> u64 {
        self.me().await["live_streams"].as_u64().unwrap()
    }

    /// Waits until all permits of the first key are back.
    pub async fn idle(&self) {
        until("every permit back", async || (self.live_streams().await == 0).then_some(())).await;
    }

    /// Waits until that many streams of the first key run.
    pub async fn running(&self, streams: u64) {
        until("streams running", async || (self.live_streams().await == streams).then_some(())).await;
    }

    /// What a fault must leave behind: a relay that speaks, and all permits.
    pub async fn is_unharmed(&self) {
        self.connect().await.says(SHORT).await;
        self.idle().await;
    }

    /// The value of a series, 0 when it is not there.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = Ask::new(&self.operator, "GET", "/metrics").send().await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Drains; see [`Relay::stop`].
    pub async fn stop(mut self) -> bool {
        self.relay.take().unwrap().stop().await
    }
}

impl Drop for TestRelay {
    fn drop(&mut self) {
        if let Some(relay) = &self.relay {
            relay.cut();
        }
    }
}

/// Makes a time-out one that a story can wait for.
pub fn short(duration: &mut Duration) {
    *duration = Duration::from_millis(300);
}
