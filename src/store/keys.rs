//! Keys: made, listed, found by their hash, revoked.

use std::time::SystemTime;

use sqlx::{FromRow, SqliteConnection};

use super::orgs::clamped;
use super::time::{from_ms, now_ms, to_ms};
use super::{DEFAULT_ORG, Store, StoreError};
use crate::config::DEFAULT_NAME;
use crate::keys::{KeyHash, Scope, Secret, new_key_id};

/// What is decided when a key is made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The organisation; it must be there.
    pub org: String,
    /// For people.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The only voices it may use; every voice when absent.
    pub voices: Option<Vec<String>>,
    /// Its own limit of streams at once, over that of the plan.
    pub streams: Option<u64>,
    /// When it stops working.
    pub expires: Option<SystemTime>,
}

impl NewKey {
    /// A key that may do everything and does not expire.
    #[must_use]
    pub fn named(org: &str, name: &str) -> Self {
        Self {
            org: org.to_owned(),
            name: name.to_owned(),
            scopes: Scope::ALL.to_vec(),
            voices: None,
            streams: None,
            expires: None,
        }
    }
}

/// A key as the store knows it, with what its organisation adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its public id, `key_…`.
    pub id: String,
    /// Its organisation.
    pub org: String,
    /// For people.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The only voices it may use.
    pub voices: Option<Vec<String>>,
    /// Its own limit of streams at once.
    pub streams: Option<u64>,
    /// When it was made.
    pub created: SystemTime,
    /// When it stops working.
    pub expires: Option<SystemTime>,
    /// When it was revoked.
    pub revoked: Option<SystemTime>,
    /// When it last spoke.
    pub last_used: Option<SystemTime>,
    /// The organisation's plan.
    pub plan: String,
    /// The organisation's own limit of streams at once.
    pub org_streams: Option<u64>,
}

impl KeyRecord {
    /// Whether the key has expired.
    #[must_use]
    pub fn has_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// A key found by its hash, and how far the store had changed by then.
#[derive(Debug, Clone)]
pub struct Found {
    /// The key, revoked and expired ones too.
    pub key: KeyRecord,
    /// The store's revision when it was read; see [`Store::revoked_since`].
    pub revision: i64,
}

const COLUMNS: &str = "keys.id, keys.org, keys.name, keys.hash, keys.scopes, keys.voices, keys.streams, \
    keys.created, keys.expires, keys.revoked, keys.last_used, orgs.plan, orgs.streams AS org_streams, \
    (SELECT value FROM meta WHERE meta.name = 'revision') AS revision \
    FROM keys JOIN orgs ON orgs.name = keys.org";

impl Store {
    /// Makes a key. Its secret exists nowhere else: show it once.
    ///
    /// # Errors
    /// `UnknownOrg`, no randomness, or the store fails.
    pub async fn create_key(&self, new: &NewKey) -> Result<(KeyRecord, Secret), StoreError> {
        let mut transaction = self.db.begin_with("BEGIN IMMEDIATE").await?;
        let (id, secret) = self.insert_key(&mut transaction, new).await?;
        transaction.commit().await?;
        Ok((self.show_key(&id).await?, secret))
    }

    /// At the first start, when there never was a key: makes the organisation `default` on the plan
    /// `default` and a key named `first`. Of several that start at once, one makes it.
    ///
    /// # Errors
    /// No randomness, or the store fails.
    pub async fn first_key(&self) -> Result<Option<(KeyRecord, Secret)>, StoreError> {
        let mut transaction = self.db.begin_with("BEGIN IMMEDIATE").await?;
        let keys: i64 = sqlx::query_scalar("SELECT count(*) FROM keys").fetch_one(&mut *transaction).await?;
        if keys > 0 {
            return Ok(None);
        }
        let new = NewKey::named(DEFAULT_ORG, "first");
        let (id, secret) = self.insert_key(&mut transaction, &new).await?;
        transaction.commit().await?;
        Ok(Some((self.show_key(&id).await?, secret)))
    }

    async fn insert_key(
        &self,
        db: &mut SqliteConnection,
        new: &NewKey,
    ) -> Result<(String, Secret), StoreError> {
        if new.org == DEFAULT_ORG {
            sqlx::query("INSERT INTO orgs VALUES (?, ?, NULL, ?) ON CONFLICT DO NOTHING")
                .bind(DEFAULT_ORG)
                .bind(DEFAULT_NAME)
                .bind(now_ms())
                .execute(&mut *db)
                .await?;
        }
        let secret = Secret::generate()?;
        let id = new_key_id()?;
        let scopes: Vec<_> = new.scopes.iter().map(|scope| scope.as_str()).collect();
        let voices = new.voices.as_ref().map(|voices| serde_json::json!(voices).to_string());
        let inserted = sqlx::query(
            "INSERT INTO keys (id, org, name, hash, scopes, voices, streams, created, expires) \
             SELECT ?, name, ?, ?, ?, ?, ?, ?, ? FROM orgs WHERE name = ?",
        )
        .bind(&id)
        .bind(&new.name)
        .bind(secret.hash(&self.pepper).as_bytes())
        .bind(scopes.join(","))
        .bind(voices)
        .bind(new.streams.map(clamped))
        .bind(now_ms())
        .bind(new.expires.map(to_ms))
        .bind(&new.org)
        .execute(db)
        .await?;
        if inserted.rows_affected() == 0 {
            return Err(StoreError::UnknownOrg(new.org.clone()));
        }
        Ok((id, secret))
    }

    /// Every key in the order they were made, of one organisation or of all.
    ///
    /// # Errors
    /// The store fails.
    pub async fn list_keys(&self, org: Option<&str>) -> Result<Vec<KeyRecord>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} WHERE ? IS NULL OR keys.org = ? ORDER BY keys.created, keys.id"
        )))
        .bind(org)
        .bind(org)
        .fetch_all(&self.db)
        .await?;
        rows.into_iter().map(Row::record).collect()
    }

    /// The key of that id.
    ///
    /// # Errors
    /// `UnknownKey`, or the store fails.
    pub async fn show_key(&self, id: &str) -> Result<KeyRecord, StoreError> {
        let row: Option<Row> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} WHERE keys.id = ?")))
                .bind(id)
                .fetch_optional(&self.db)
                .await?;
        row.ok_or_else(|| StoreError::UnknownKey(id.to_owned()))?.record()
    }

    /// Revokes a key for ever; a key that is revoked stays so, with the time it first was.
    ///
    /// # Errors
    /// `UnknownKey`, or the store fails.
    pub async fn revoke_key(&self, id: &str) -> Result<KeyRecord, StoreError> {
        let mut transaction = self.db.begin_with("BEGIN IMMEDIATE").await?;
        let revision: i64 =
            sqlx::query_scalar("UPDATE meta SET value = value + 1 WHERE name = 'revision' RETURNING value")
                .fetch_one(&mut *transaction)
                .await?;
        sqlx::query("UPDATE keys SET revoked = ?, revision = ? WHERE id = ? AND revoked IS NULL")
            .bind(now_ms())
            .bind(revision)
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.show_key(id).await
    }

    /// The key of that hash, whatever its state; compared in constant time once more.
    ///
    /// # Errors
    /// The store fails.
    pub async fn find_by_hash(&self, hash: &KeyHash) -> Result<Option<Found>, StoreError> {
        let row: Option<Row> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} WHERE keys.hash = ?")))
                .bind(hash.as_bytes())
                .fetch_optional(&self.db)
                .await?;
        let Some(row) = row.filter(|row| KeyHash::from_stored(&row.hash).as_ref() == Some(hash)) else {
            return Ok(None);
        };
        let revision = row.revision;
        Ok(Some(Found { key: row.record()?, revision }))
    }

    /// The ids of keys revoked after `revision`, and the revision now. Revisions count up with each
    /// change, so no clock can hide one.
    ///
    /// # Errors
    /// The store fails.
    pub async fn revoked_since(&self, revision: i64) -> Result<(Vec<String>, i64), StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT id, revision FROM keys WHERE revision > ? AND revoked IS NOT NULL ORDER BY revision",
        )
        .bind(revision)
        .fetch_all(&self.db)
        .await?;
        let newest = rows.last().map_or(revision, |(_, revision)| *revision);
        Ok((rows.into_iter().map(|(id, _)| id).collect(), newest))
    }
}

#[derive(FromRow)]
struct Row {
    id: String,
    org: String,
    name: String,
    hash: Vec<u8>,
    scopes: String,
    voices: Option<String>,
    streams: Option<i64>,
    created: i64,
    expires: Option<i64>,
    revoked: Option<i64>,
    last_used: Option<i64>,
    plan: String,
    org_streams: Option<i64>,
    revision: i64,
}

impl Row {
    fn record(self) -> Result<KeyRecord, StoreError> {
        let limit = |streams: Option<i64>| streams.map(|streams| u64::try_from(streams).unwrap_or(0));
        let voices = self.voices.as_deref().map(serde_json::from_str).transpose();
        Ok(KeyRecord {
            id: self.id,
            org: self.org,
            name: self.name,
            // A scope this version does not know allows nothing in this version.
            scopes: self.scopes.split(',').filter_map(Scope::parse).collect(),
            voices: voices.map_err(|_| StoreError::Damaged("the voices of a key"))?,
            streams: limit(self.streams),
            created: from_ms(self.created),
            expires: self.expires.map(from_ms),
            revoked: self.revoked.map(from_ms),
            last_used: self.last_used.map(from_ms),
            plan: self.plan,
            org_streams: limit(self.org_streams),
        })
    }
}
