//! A whole relay: composition, and its life from start to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::accept::{self, AcceptSettings};
use crate::app::App;
use crate::auth::Authenticator;
use crate::config::{AuthMode, Config};
use crate::drain::Drain;
use crate::metrics::{self, Listener};
use crate::operator::{self, Readiness};
use crate::pool::Pools;
use crate::quota::Quota;
use crate::server;
use crate::store::{Ledger, Store, StoreError};

/// HTTP connections of the operator's listener at once.
const OPERATOR_CONNECTIONS: usize = 64;
/// How long sessions that were cut off may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// Why a relay did not start. Nothing is half-started: what had begun is gone again.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error("cannot listen on {address} ({section}.listen): {source}")]
    Bind {
        /// Which section of the config says so.
        section: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The key store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The key made at the very first start.
pub struct FirstKey {
    /// Its id.
    pub id: String,
    /// The secret, to be shown once.
    pub secret: String,
}

/// A relay at work.
pub struct Relay {
    /// Where clients connect.
    pub addr: SocketAddr,
    /// Where operators look.
    pub operator_addr: SocketAddr,
    /// The first key, if this start made it.
    pub first_key: Option<FirstKey>,
    drain: Drain,
    ledger: Arc<Ledger>,
    store: Store,
    patience: Duration,
}

impl Relay {
    /// Binds, opens the store, and serves.
    ///
    /// # Errors
    /// A port is in use, or the store cannot be used.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let public = bind("server", config.server.listen).await?;
        let operator = bind("operator", config.operator.listen).await?;
        let (addr, operator_addr) =
            (local(&public, &config.server.listen), local(&operator, &config.operator.listen));
        let store = Store::from_config(&config).await?;
        let first_key = match config.auth.mode {
            AuthMode::Keys => store.first_key().await?,
            AuthMode::Open => None,
        };
        let first_key =
            first_key.map(|(record, secret)| FirstKey { id: record.id, secret: secret.expose().to_owned() });

        metrics::install(config.upstreams.iter().map(|upstream| upstream.name.to_string()));
        let drain = Drain::new();
        let readiness = Readiness::new(drain.clone());
        let patience = config.drain;
        let ledger = Arc::new(Ledger::new(store.clone()));
        let app = compose(config, store.clone(), ledger.clone(), drain.clone());
        metrics::keep(&drain);
        let watched = readiness.clone();
        drain.spawn(app.auth.clone().watch(drain.clone(), move |answers| watched.store(answers)));
        let (writer, until) = (ledger.clone(), drain.clone());
        drain.spawn(async move { writer.run(&until).await });
        serve(public, operator, app, readiness, &drain);
        metrics::ready(true);
        Ok(Self { addr, operator_addr, first_key, drain, ledger, store, patience })
    }

    /// Drains: new work is refused, streams may finish within the configured time, then they are
    /// cut. True when all of them had finished by themselves.
    pub async fn stop(self) -> bool {
        metrics::ready(false);
        metrics::draining(true);
        self.drain.begin();
        let finished = self.drain.wait(self.patience).await;
        if !finished {
            tracing::warn!(tasks = self.drain.running(), "the drain is over; cutting what still runs");
        }
        self.drain.cut();
        self.drain.wait(GOODBYE).await;
        if let Err(error) = self.ledger.write().await {
            tracing::error!(%error, "the use of the last streams is lost");
        }
        self.store.close().await;
        metrics::draining(false);
        finished
    }

    /// Cuts everything off at once.
    pub fn cut(&self) {
        self.drain.cut();
    }
}

fn compose(config: Config, store: Store, ledger: Arc<Ledger>, drain: Drain) -> App {
    let pools = Pools::new(&config.upstreams, &drain, &config.limits);
    let auth = Arc::new(Authenticator::new(&config, store));
    App::new(Arc::new(config), auth, Quota::new(), pools, ledger, drain)
}

fn serve(public: TcpListener, operator: TcpListener, app: App, readiness: Readiness, drain: &Drain) {
    let head_timeout = app.config.limits.head_timeout;
    let settings = |listener, connections| AcceptSettings { listener, head_timeout, connections };
    let sessions = app.config.limits.sessions;
    let router = server::router(app);
    let serving = accept::serve(public, router, settings(Listener::Public, sessions), drain.clone());
    drain.spawn_until_cut(serving);
    let settings = settings(Listener::Operator, OPERATOR_CONNECTIONS);
    let serving = accept::serve(operator, operator::router(readiness), settings, drain.clone());
    drain.spawn_until_cut(serving);
}

async fn bind(section: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Bind { section, address, source })
}

/// Port 0 lets the system choose; whoever asked wants to know what it chose.
fn local(listener: &TcpListener, asked: &SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(*asked)
}
