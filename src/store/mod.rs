//! Where organisations, keys and their use are kept: one SQLite file. It holds hashes, never a secret;
//! what keys the hashes lies outside it.

mod error;
mod keys;
mod ledger;
mod open;
mod orgs;
mod time;
mod usage;

use std::path::PathBuf;

use sqlx::SqlitePool;

pub use error::StoreError;
pub use keys::{Found, KeyRecord, NewKey};
pub use ledger::Ledger;
pub use orgs::{DEFAULT_ORG, Org};
pub use usage::{Usage, UsageRecord};

use crate::keys::Pepper;

/// An open store; clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    db: SqlitePool,
    pepper: Pepper,
    path: PathBuf,
}

impl Store {
    /// The pepper under which this store hashes.
    #[must_use]
    pub fn pepper(&self) -> &Pepper {
        &self.pepper
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Closes every connection, so that the file is whole without its log.
    pub async fn close(&self) {
        self.db.close().await;
    }
}
