//! What the commands share: the config, the store, and how results are shown.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use serde_json::Value;

use super::CliError;
use crate::config::{Config, environment};
use crate::store::Store;

/// Options of every command that works on the relay's own files.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Common {
    /// The config file; without it the defaults hold
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Print JSON, for scripts
    #[arg(long, global = true)]
    pub json: bool,
}

impl Common {
    /// The config of the file and the environment.
    ///
    /// # Errors
    /// It does not load.
    pub fn load(&self) -> Result<Config, CliError> {
        Config::load(self.config.as_deref(), environment()).map_err(CliError::Config)
    }

    /// The store of that config; made if there is none. Close it when done.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn store(&self, config: &Config) -> Result<Store, CliError> {
        Ok(Store::from_config(config).await?)
    }

    /// The store of that config; not made if there is none, as it then has nothing to show.
    ///
    /// # Errors
    /// It is not there, or cannot be opened.
    pub async fn existing_store(&self, config: &Config) -> Result<Store, CliError> {
        let path = &config.store.path;
        if path.exists() {
            return self.store(config).await;
        }
        let shown = path.display();
        Err(CliError::Failed(format!(
            "there is no store {shown} yet; voxrelay serve and keys create make it"
        )))
    }

    /// Prints a result: as JSON if that was asked for, else as text for people.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Result<(), CliError> {
        let shown = if self.json { format!("{:#}\n", json()) } else { text() };
        match std::io::stdout().lock().write_all(shown.as_bytes()) {
            // Whoever reads the output has enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(CliError::io("standard output")),
        }
    }
}

/// Rows under a heading, in columns as wide as they need.
#[must_use]
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let heading = heading.iter().map(|title| (*title).to_owned()).collect();
    columns(std::iter::once(&heading).chain(rows))
}

/// Names and values, the values in one column.
#[must_use]
pub fn pairs(rows: &[(String, String)]) -> String {
    let rows: Vec<_> = rows.iter().map(|(name, value)| vec![name.clone(), value.clone()]).collect();
    columns(rows.iter())
}

fn columns<'a>(rows: impl Iterator<Item = &'a Vec<String>> + Clone) -> String {
    let mut widths = Vec::new();
    for row in rows.clone() {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// A time in UTC to the second, as RFC 3339.
#[must_use]
pub fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
