//! What keys have used, added up.

use std::time::SystemTime;

use super::orgs::clamped;
use super::time::to_ms;
use super::{Store, StoreError};

/// What a key has used since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Characters spoken.
    pub characters: u64,
    /// Audio sent, in ms.
    pub audio_ms: u64,
    /// Streams ended.
    pub streams: u64,
}

/// What one stream, or several of one key added up, have used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRecord {
    /// The key's id.
    pub key: String,
    /// How much.
    pub used: Usage,
    /// When the last of it ended.
    pub at: SystemTime,
}

impl Store {
    /// Adds a batch: all of it or nothing. What names no key of the store is left out.
    ///
    /// # Errors
    /// The store fails, and nothing was added.
    pub async fn add_usage(&self, batch: &[UsageRecord]) -> Result<(), StoreError> {
        let mut transaction = self.db.begin_with("BEGIN IMMEDIATE").await?;
        for record in batch {
            let touched =
                sqlx::query("UPDATE keys SET last_used = max(coalesce(last_used, 0), ?) WHERE id = ?")
                    .bind(to_ms(record.at))
                    .bind(&record.key)
                    .execute(&mut *transaction)
                    .await?;
            if touched.rows_affected() == 0 {
                continue;
            }
            sqlx::query(
                "INSERT INTO usage VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET \
                 characters = characters + excluded.characters, audio_ms = audio_ms + excluded.audio_ms, \
                 streams = streams + excluded.streams",
            )
            .bind(&record.key)
            .bind(clamped(record.used.characters))
            .bind(clamped(record.used.audio_ms))
            .bind(clamped(record.used.streams))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// What the key has used; zeros when it never spoke.
    ///
    /// # Errors
    /// The store fails.
    pub async fn usage_of(&self, key: &str) -> Result<Usage, StoreError> {
        let row: Option<(i64, i64, i64)> =
            sqlx::query_as("SELECT characters, audio_ms, streams FROM usage WHERE key = ?")
                .bind(key)
                .fetch_optional(&self.db)
                .await?;
        let (characters, audio_ms, streams) = row.unwrap_or_default();
        let count = |number| u64::try_from(number).unwrap_or(0);
        Ok(Usage { characters: count(characters), audio_ms: count(audio_ms), streams: count(streams) })
    }
}
