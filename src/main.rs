//! The command `voxrelay`.

use std::process::ExitCode;

use clap::Parser;
use voxrelay::cli;

#[tokio::main]
async fn main() -> ExitCode {
    cli::run(cli::Cli::parse()).await
}
