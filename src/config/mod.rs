//! The configuration, already right: whoever holds a [`Config`] need not check it again.
//!
//! [`Config::load`] reads a TOML file and the environment (`load`, over `tree` and `reader`) and tells
//! every fault at once; [`Config::default`] is what a relay without a file runs on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use voxrelay_protocol::provider::{Account, Provider};
use voxrelay_protocol::request::Credential;

mod defaults;
mod describe;
mod fault;
mod load;
mod overlay;
mod reader;
mod secret;
mod tree;
mod upstreams;

pub use defaults::DEFAULT_NAME;
pub use fault::ConfigFault;
pub use load::{ENVIRONMENT_PREFIX, SHORTEST_PEPPER, environment, name_problem};

/// Everything the relay may be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The public listener.
    pub server: Server,
    /// The operator's listener.
    pub operator: Operator,
    /// Who may call.
    pub auth: Auth,
    /// Where keys live.
    pub store: Store,
    /// Every bound.
    pub limits: Limits,
    /// How long running streams may go on after SIGTERM.
    pub drain: Duration,
    /// Log output.
    pub log: Log,
    /// Plans by name; `default` is always there.
    pub plans: BTreeMap<String, Plan>,
    /// Accounts at vendors.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Configured voices.
    pub voices: Vec<Arc<Voice>>,
}

/// The public listener.
#[derive(Debug, Clone)]
pub struct Server {
    /// Address and port; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Origins of the pages that may connect from a browser, besides the relay's own.
    pub origins: Vec<String>,
}

/// The operator's listener: metrics, health, admin.
#[derive(Debug, Clone)]
pub struct Operator {
    /// Address and port.
    pub listen: SocketAddr,
    /// Bearer token of `/admin/v1/*`; required off loopback.
    pub admin_token: Option<Credential>,
}

/// Whether callers need a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// Every caller shows a key.
    Keys,
    /// Nobody does.
    Open,
}

/// Who may call.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Keys or open.
    pub mode: AuthMode,
    /// Open mode on a public address was asked for in so many words.
    pub allow_open_on_public: bool,
    /// How long a session without a header may take to send its key.
    pub first_frame_timeout: Duration,
    /// The pepper of the keyed hash, if given by reference; else a 0600 file beside the store.
    pub pepper: Option<Credential>,
}

/// Where keys live.
#[derive(Debug, Clone)]
pub struct Store {
    /// The SQLite file.
    pub path: PathBuf,
}

/// Log output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// What keys of an organisation may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Streams at once, per key and per organisation.
    pub streams: u64,
}

/// Every bound of the relay (defaults from the table in `docs/operate.md`).
#[derive(Debug, Clone)]
pub struct Limits {
    /// Sessions at once on this relay.
    pub sessions: usize,
    /// Sessions without a known key at once.
    pub unauthenticated_sessions: usize,
    /// The same from one source address.
    pub unauthenticated_per_source: usize,
    /// Streams at once on one session.
    pub session_streams: usize,
    /// Characters one stream may carry.
    pub characters_per_stream: u64,
    /// Bytes of one client message.
    pub message_bytes: usize,
    /// Client messages a second that are read; more wait in the client's socket.
    pub messages_per_second: u32,
    /// Client messages read at once before that.
    pub messages_burst: u32,
    /// Control frames a second that are borne.
    pub controls_per_second: u32,
    /// Control frames borne at once before that.
    pub controls_burst: u32,
    /// Bytes of text waiting for the upstream, per stream.
    pub text_buffer: usize,
    /// Bytes of audio waiting for the client, per stream.
    pub stream_buffer: usize,
    /// How long a whole request head may take.
    pub head_timeout: Duration,
    /// A session without streams and messages is closed after this.
    pub idle_timeout: Duration,
    /// A stream without text is flushed, then ended, after this.
    pub text_idle: Duration,
    /// How often a quiet client is pinged.
    pub ping: Duration,
    /// How long it may take to answer.
    pub pong_timeout: Duration,
    /// A client that accepts no byte for this long is cut off.
    pub write_timeout: Duration,
    /// How long a stream may wait for an upstream's slot.
    pub queue_timeout: Duration,
    /// Streams that may wait for slots of one upstream.
    pub queue_streams: usize,
}

/// An account at a vendor.
pub struct Upstream {
    /// Its name in the config and in metric labels.
    pub name: Arc<str>,
    /// What it speaks.
    pub provider: &'static dyn Provider,
    /// Where, and with what key.
    pub account: Account,
    /// Streams the account may run at once.
    pub streams: usize,
    /// How links are kept.
    pub pool: PoolSettings,
    /// How long each step may take.
    pub watchdogs: Watchdogs,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("name", &self.name).field("kind", &self.provider.kind()).finish()
    }
}

/// How links are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolSettings {
    /// Spare links kept connected.
    pub warm: usize,
    /// Links at once.
    pub max_links: usize,
    /// An idle link is closed after this; never longer than the vendor's own limit.
    pub idle: Duration,
    /// A link takes no new stream after this.
    pub max_age: Duration,
    /// New connections a second.
    pub dials_per_second: f64,
}

/// How long each step of an upstream may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watchdogs {
    /// Connect, TLS and upgrade together.
    pub connect: Duration,
    /// From text that must be spoken to its first audio.
    pub first_audio: Duration,
    /// Between two pieces of audio while more is owed.
    pub gap: Duration,
    /// From the answer to the last flush to the end.
    pub end: Duration,
    /// Most audio of one stream, by its length.
    pub audio: Duration,
}

/// A configured voice.
#[derive(Debug, Clone)]
pub struct Voice {
    /// Its name for clients.
    pub name: Arc<str>,
    /// Its language tag.
    pub language: Option<String>,
    /// Where it can be spoken, in order of preference.
    pub routes: Vec<Route>,
}

/// One way to speak a voice.
#[derive(Debug, Clone)]
pub struct Route {
    /// The account.
    pub upstream: Arc<Upstream>,
    /// The upstream's model.
    pub model: Option<String>,
    /// The upstream's voice.
    pub voice: String,
}
