//! The command line: what may be said, and what each exit code means (0 done, 1 failed, 2 usage,
//! 64 bad config).

mod login;
mod say;
mod serve;
mod wav;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit code of a config that does not load.
const BAD_CONFIG: u8 = 64;

/// The relay for streaming speech synthesis.
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
    /// The embedded voice's own process; started by the relay, of no use by hand
    #[command(hide = true)]
    VoiceWorker,
}

/// Why a command failed, as told on standard error.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration does not load; every fault has been told.
    #[error("{0}")]
    Config(String),
    /// Anything else, in one sentence that says what to do next.
    #[error("{0}")]
    Failed(String),
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Before any runtime: the worker is plain, single-purpose, and must start in a blink.
    if matches!(cli.command, Command::VoiceWorker) {
        return crate::voice::worker_main();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return told(&CliError::Failed(format!("the runtime does not start: {error}"))),
    };
    match runtime.block_on(run(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => told(&error),
    }
}

async fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Serve(args) => serve::run(args).await,
        Command::Say(args) => say::run(args).await,
        Command::VoiceWorker => Ok(()),
    }
}

fn told(error: &CliError) -> ExitCode {
    eprintln!("voxrelay: {error}");
    match error {
        CliError::Config(_) => ExitCode::from(BAD_CONFIG),
        CliError::Failed(_) => ExitCode::FAILURE,
    }
}
