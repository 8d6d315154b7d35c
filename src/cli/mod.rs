//! The command line: one module per command, each with its `Args` and its `run`. Exit codes: 0 done,
//! 1 failed, 2 usage, 64 bad config.

mod check;
mod common;
mod error;
mod keys;
mod login;
mod orgs;
mod say;
mod serve;
mod wav;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use common::Common;
pub use error::CliError;

/// The self-hosted relay for streaming speech synthesis
#[derive(Debug, Parser)]
#[command(name = "voxrelay", version, about, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay. Without a config: embedded voice, SQLite file, loopback, a first key made and printed once
    Serve(serve::Args),
    /// Speak a text, or standard input as it comes, into a WAV file
    Say(say::Args),
    /// Tell every fault of a config at once, or all the values that result from it
    Check(check::Args),
    /// Make, list, show and revoke keys
    Keys(keys::Args),
    /// Make, list and change organisations
    Orgs(orgs::Args),
    /// Keep the address of a relay and a key for the commands that speak to it
    Login(login::Args),
    /// The embedded voice's own process; started by the relay, of no use by hand
    #[command(hide = true)]
    VoiceWorker,
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    // Before any runtime: the worker is plain and single-purpose, and must start in a blink.
    if matches!(command, Command::VoiceWorker) {
        return crate::voice::worker::worker_main();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    error::exit_code(match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(command));
            // A read of the terminal cannot be called off; it must not hold up the end.
            runtime.shutdown_background();
            outcome
        }
        Err(source) => Err(CliError::io("the runtime does not start")(source)),
    })
}

async fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Serve(args) => serve::run(args).await,
        Command::Say(args) => say::run(args).await,
        Command::Check(args) => check::run(args).await,
        Command::Keys(args) => keys::run(args).await,
        Command::Orgs(args) => orgs::run(args).await,
        Command::Login(args) => login::run(args).await,
        Command::VoiceWorker => Ok(()),
    }
}
