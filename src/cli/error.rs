//! How a command ends when it does not end well.

use std::process::ExitCode;

use crate::config::ConfigFault;
use crate::store::StoreError;

/// Exit code of a command that failed. Wrong usage is 2, by clap.
const FAILED: u8 = 1;
/// Exit code of a config that does not load.
const BAD_CONFIG: u8 = 64;

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The config does not load.
    #[error("{}", listed(.0))]
    Config(Vec<ConfigFault>),
    /// The config does not load, and its faults were told already.
    #[error("the config does not load")]
    ConfigTold,
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file, the terminal or the output.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Anything else, in words for a person.
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    /// The exit code.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::ConfigTold => BAD_CONFIG,
            _ => FAILED,
        }
    }

    /// A failed attempt of the named kind, for `map_err`.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

fn listed(faults: &[ConfigFault]) -> String {
    let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Tells an error on standard error and gives the exit code of the process.
pub fn exit_code(outcome: Result<(), CliError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match &error {
                CliError::Config(_) => eprintln!("{error}"),
                CliError::ConfigTold => {}
                _ => eprintln!("voxrelay: {error}"),
            }
            ExitCode::from(error.code())
        }
    }
}
