//! Opening a store: the file, its schema, its pepper.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::time::Instant;
use voxrelay_protocol::request::Credential;

use super::error::{code, sqlite_code};
use super::{Store, StoreError};
use crate::config::Config;
use crate::keys::{KeyHash, Pepper};
use crate::metrics::{self, StoreOp};

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations");

/// Look-ups are short and writes rare: a few connections are plenty.
const CONNECTIONS: u32 = 4;
/// How long a writer waits for another process to finish its write.
const BUSY: Duration = Duration::from_secs(2);
/// How long an operation waits for a free connection.
const ACQUIRE: Duration = Duration::from_secs(3);
/// How often, and after what pause, a store that is being made by another process is opened again.
const TRIES: u32 = 20;
const AGAIN: Duration = Duration::from_millis(50);

impl Store {
    /// Opens the store the config names; see [`Store::open`].
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn from_config(config: &Config) -> Result<Self, StoreError> {
        let began = Instant::now();
        let store = Self::open(&config.store.path, config.auth.pepper.as_ref()).await;
        metrics::store_used(StoreOp::Open, began.elapsed(), store.is_ok());
        store
    }

    /// Opens the store at `path` and brings its schema up to date. A new one is made where there is
    /// none, with a pepper beside it unless one is given.
    ///
    /// # Errors
    /// The file cannot be written, is no database or a newer one; the pepper is unusable or another.
    pub async fn open(path: &Path, pepper: Option<&Credential>) -> Result<Self, StoreError> {
        let mut tries = 1;
        loop {
            match Self::try_open(path, pepper).await {
                // Two that make a store at the same moment: SQLite does not wait while the log is set up.
                Err(StoreError::Database(error)) if tries < TRIES => {
                    tracing::debug!(%error, "the store is busy");
                    tries += 1;
                    tokio::time::sleep(AGAIN).await;
                }
                opened => return opened,
            }
        }
    }

    async fn try_open(path: &Path, pepper: Option<&Credential>) -> Result<Self, StoreError> {
        create_private(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // A revocation must outlive a power loss.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let db = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE)
            .connect_with(options)
            .await
            .map_err(|error| told(path, error))?;
        migrate(&db, path).await?;
        let pepper = settle_pepper(&db, path, pepper).await?;
        Ok(Self { db, pepper, path: path.to_path_buf() })
    }
}

/// Makes the file readable by its owner only; SQLite gives its log the same permissions.
fn create_private(path: &Path) -> Result<(), StoreError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::Unwritable { path: path.into(), reason: error.to_string() }),
        Ok(_) => Ok(()),
    }
}

async fn migrate(db: &SqlitePool, path: &Path) -> Result<(), StoreError> {
    MIGRATIONS.run(db).await.map_err(|error| match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_) => {
            StoreError::Newer { path: path.into() }
        }
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => told(path, error),
        other => StoreError::Database(sqlx::Error::Migrate(Box::new(other))),
    })
}

/// Finds the pepper, or makes one for a store that has none, and holds it to the store's fingerprint.
async fn settle_pepper(
    db: &SqlitePool,
    path: &Path,
    given: Option<&Credential>,
) -> Result<Pepper, StoreError> {
    let known = fingerprint(db).await?;
    let beside = Pepper::path_beside(path);
    let pepper = match given {
        Some(given) => Pepper::given(given),
        None => match Pepper::read(&beside)? {
            Some(pepper) => pepper,
            None if known.is_some() => return Err(StoreError::PepperGone { path: beside }),
            None => Pepper::make(&beside)?,
        },
    };
    sqlx::query("INSERT INTO meta VALUES ('pepper', ?) ON CONFLICT DO NOTHING")
        .bind(pepper.fingerprint().as_bytes())
        .execute(db)
        .await?;
    if fingerprint(db).await? == Some(pepper.fingerprint()) {
        Ok(pepper)
    } else {
        Err(StoreError::PepperWrong { path: path.into() })
    }
}

async fn fingerprint(db: &SqlitePool) -> Result<Option<KeyHash>, StoreError> {
    let stored: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT value FROM meta WHERE name = 'pepper'").fetch_optional(db).await?;
    stored
        .map(|bytes| KeyHash::from_stored(&bytes).ok_or(StoreError::Damaged("the pepper's fingerprint")))
        .transpose()
}

fn told(path: &Path, error: sqlx::Error) -> StoreError {
    let path = path.to_path_buf();
    match sqlite_code(&error) {
        Some(code::NOTADB) => StoreError::NotADatabase { path },
        Some(code::READONLY | code::IOERR | code::CANTOPEN) => {
            StoreError::Unwritable { path, reason: error.to_string() }
        }
        _ => StoreError::Database(error),
    }
}
