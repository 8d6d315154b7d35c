//! `voxrelay serve`: configure, start, wait for a signal, drain.

use std::io::Write;
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use super::CliError;
use crate::config::{Config, environment};
use crate::{Relay, telemetry};

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration; each value can be overridden as VOXRELAY__SECTION__KEY
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs a relay until it is told to stop.
pub async fn run(args: Args) -> Result<(), CliError> {
    let config = Config::load(args.config.as_deref(), environment()).map_err(CliError::Config)?;
    telemetry::init(config.log).map_err(|error| CliError::Failed(error.to_string()))?;
    // Caught from the beginning: a stop that comes while starting is not lost.
    let mut stop = Stop::new()?;
    let relay = Relay::start(config).await.map_err(|error| CliError::Failed(error.to_string()))?;
    if let Err(error) = announce(&relay) {
        tracing::warn!(%error, "the addresses could not be printed");
    }
    stop.asked().await;
    tracing::info!("draining");
    let again = async {
        stop.asked().await;
        Err(CliError::Failed("stopped at once by a second signal".to_owned()))
    };
    tokio::select! {
        finished = relay.stop() => {
            tracing::info!(finished, "stopped");
            Ok(())
        }
        now = again => now,
    }
}

/// Says where the relay is. It serves all the same when nobody reads that any more.
fn announce(relay: &Relay) -> std::io::Result<()> {
    let (addr, operator) = (relay.addr, relay.operator_addr);
    let mut out = std::io::stdout().lock();
    writeln!(out, "voxrelay {} is ready", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  clients    ws://{addr}/v1/stream  http://{addr}/v1/speech")?;
    writeln!(out, "  operators  http://{operator}/metrics  http://{operator}/readyz")?;
    if let Some(key) = &relay.first_key {
        let program = std::env::args().next().unwrap_or_else(|| "voxrelay".to_owned());
        let (secret, id) = (&key.secret, &key.id);
        writeln!(out, "  first key  {secret}  ({id}; shown this once)")?;
        writeln!(out, "Hear it:")?;
        let say = "say \"Hello from the relay.\"";
        writeln!(out, "  VOXRELAY_API_KEY={secret} {program} {say} --url http://{addr} --out hello.wav")?;
    }
    out.flush()
}

struct Stop {
    term: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(|error| CliError::Failed(format!("signals: {error}")));
        Ok(Self { term: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
