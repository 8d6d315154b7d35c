//! `voxrelay serve`: configure, start, wait for a signal, drain.

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
    announce(&relay);
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

fn announce(relay: &Relay) {
    let (addr, operator) = (relay.addr, relay.operator_addr);
    println!("voxrelay {} is ready", env!("CARGO_PKG_VERSION"));
    println!("  clients    ws://{addr}/v1/stream  http://{addr}/v1/speech");
    println!("  operators  http://{operator}/metrics  http://{operator}/readyz");
    if let Some(key) = &relay.first_key {
        let program = std::env::args().next().unwrap_or_else(|| "voxrelay".to_owned());
        println!("  first key  {}  ({}; shown this once)", key.secret, key.id);
        println!("Hear it:");
        println!(
            "  VOXRELAY_API_KEY={} {program} say \"Hello from the relay.\" --url http://{addr} --out hello.wav",
            key.secret
        );
    }
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
