//! The command line: one module per command, each with its `Args` and its `run`.

pub mod check;
pub mod common;
pub mod error;
pub mod keys;
pub mod login;
pub mod orgs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use common::Common;
pub use error::CliError;

/// A self-hosted relay for streaming speech synthesis.
#[derive(Debug, Parser)]
#[command(name = "voxrelay", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell every fault of a config at once, or all the values that result from it
    Check(check::Args),
    /// Make, list, show and revoke keys
    Keys(keys::Args),
    /// Make, list and change organisations
    Orgs(orgs::Args),
    /// Keep the address of a relay and a key for the commands that speak to it
    Login(login::Args),
}

/// Runs the command and says how it went.
pub async fn run(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
        Command::Check(args) => check::run(args).await,
        Command::Keys(args) => keys::run(args).await,
        Command::Orgs(args) => orgs::run(args).await,
        Command::Login(args) => login::run(args).await,
    };
    error::exit_code(outcome)
}
