//! Why the store could not do it.

use std::path::PathBuf;

use sqlx::error::DatabaseError;

use crate::keys::{NoRandomness, PepperError};

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are the words of the messages
pub enum StoreError {
    /// The file system or its permissions.
    #[error("the store {} cannot be opened for writing: {reason}", path.display())]
    Unwritable { path: PathBuf, reason: String },
    /// The file is something else.
    #[error("the store {} is not a database; move the file away or name another store", path.display())]
    NotADatabase { path: PathBuf },
    /// A later version made or changed it.
    #[error("the store {} was made by a newer voxrelay; run that version, or name another store", path.display())]
    Newer { path: PathBuf },
    /// The pepper file cannot be used.
    #[error(transparent)]
    Pepper(#[from] PepperError),
    /// The store has keys, its pepper is gone.
    #[error("the pepper {} is gone, and without it no key of the store works; restore it from a backup", path.display())]
    PepperGone { path: PathBuf },
    /// The store's hashes were made under another pepper.
    #[error("the pepper is not the one the keys of the store {} were made with; restore that one", path.display())]
    PepperWrong { path: PathBuf },
    /// No such organisation.
    #[error("there is no organisation \"{0}\"; see: voxrelay orgs list")]
    UnknownOrg(String),
    /// An organisation of that name is there.
    #[error("there is an organisation \"{0}\" already")]
    OrgExists(String),
    /// No such key.
    #[error("there is no key {0}; see: voxrelay keys list")]
    UnknownKey(String),
    /// No random bytes.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// What is stored makes no sense.
    #[error("the store is damaged: {0}")]
    Damaged(&'static str),
    /// Anything else the database says.
    #[error("the store failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// SQLite's result codes that need words of their own.
pub(super) mod code {
    pub const READONLY: i32 = 8;
    pub const IOERR: i32 = 10;
    pub const CANTOPEN: i32 = 14;
    pub const NOTADB: i32 = 26;
}

/// The primary result code of SQLite, if that is what it is about.
pub(super) fn sqlite_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error().and_then(DatabaseError::code)?.parse().ok()?;
    Some(code & 0xff)
}
