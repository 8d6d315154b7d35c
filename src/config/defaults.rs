//! What a relay runs on where nobody says otherwise (the table of bounds in `docs/operate.md`).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use voxrelay_protocol::provider::{Account, Provider, provider};

use super::{
    Auth, AuthMode, Config, Limits, Log, Operator, Plan, PoolSettings, Route, Server, Store, Upstream, Voice,
    Watchdogs,
};

/// The plan, organisation and voice that are always there.
pub const DEFAULT_NAME: &str = "default";

/// The upstream that is there when none is configured, and its kind.
pub(super) const LOCAL: (&str, &str) = ("local", "embedded");

/// Streams an account may run at once when the config does not say.
pub(super) const UPSTREAM_STREAMS: usize = 16;

impl Default for Config {
    fn default() -> Self {
        let upstreams: Vec<_> = local_upstream().into_iter().collect();
        let voices = upstreams.first().map(default_voice).into_iter().collect();
        Self {
            server: Server::default(),
            operator: Operator::default(),
            auth: Auth::default(),
            store: Store::default(),
            limits: Limits::default(),
            drain: Duration::from_secs(30),
            log: Log::Pretty,
            plans: BTreeMap::from([(DEFAULT_NAME.to_owned(), Plan::default())]),
            upstreams,
            voices,
        }
    }
}

/// The embedded voice as an upstream; absent in a build that has no such kind.
pub(super) fn local_upstream() -> Option<Arc<Upstream>> {
    let (name, kind) = LOCAL;
    provider(kind).map(|provider| Arc::new(upstream(name, provider)))
}

pub(super) fn default_voice(upstream: &Arc<Upstream>) -> Arc<Voice> {
    let route = Route { upstream: upstream.clone(), model: None, voice: DEFAULT_NAME.to_owned() };
    Arc::new(Voice { name: DEFAULT_NAME.into(), language: None, routes: vec![route] })
}

/// An upstream at the vendor's own address, without a key.
fn upstream(name: &str, provider: &'static dyn Provider) -> Upstream {
    Upstream {
        name: name.into(),
        provider,
        account: Account {
            url: provider.default_url().to_owned(),
            api_key: None,
            api: provider.apis().first().copied().unwrap_or_default(),
        },
        streams: UPSTREAM_STREAMS,
        pool: PoolSettings::default(),
        watchdogs: Watchdogs::default(),
    }
}

impl Default for Server {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)), origins: Vec::new() }
    }
}

impl Default for Operator {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)), admin_token: None }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mode: AuthMode::Keys,
            allow_open_on_public: false,
            first_frame_timeout: Duration::from_secs(5),
            pepper: None,
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { path: "voxrelay.db".into() }
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self { streams: 10 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 10_000,
            unauthenticated_sessions: 1_000,
            unauthenticated_per_source: 256,
            session_streams: 16,
            characters_per_stream: 50_000,
            message_bytes: 64 * 1024,
            messages_per_second: 100,
            messages_burst: 1_000,
            controls_per_second: 10,
            controls_burst: 100,
            text_buffer: 64 * 1024,
            stream_buffer: 1024 * 1024,
            head_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(600),
            text_idle: Duration::from_secs(60),
            ping: Duration::from_secs(15),
            pong_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            queue_timeout: Duration::from_secs(5),
            queue_streams: 256,
        }
    }
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            warm: 2,
            max_links: 50,
            idle: Duration::from_secs(4 * 60),
            max_age: Duration::from_secs(30 * 60),
            dials_per_second: 5.0,
        }
    }
}

impl Default for Watchdogs {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            first_audio: Duration::from_secs(5),
            gap: Duration::from_secs(3),
            end: Duration::from_secs(5),
            audio: Duration::from_secs(30 * 60),
        }
    }
}
