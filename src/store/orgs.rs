//! Organisations.

use std::time::SystemTime;

use super::time::{from_ms, now_ms};
use super::{Store, StoreError};

/// The organisation that is there once a first key was made.
pub const DEFAULT_ORG: &str = "default";

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Org {
    /// Its name.
    pub name: String,
    /// The plan it is on.
    pub plan: String,
    /// Its own limit of streams at once, over that of the plan.
    pub streams: Option<u64>,
    /// When it was made.
    pub created: SystemTime,
}

impl Store {
    /// Makes an organisation. Whether the plan exists is the caller's to know.
    ///
    /// # Errors
    /// `OrgExists`, or the store fails.
    pub async fn create_org(&self, name: &str, plan: &str, streams: Option<u64>) -> Result<Org, StoreError> {
        let created = now_ms();
        let inserted = sqlx::query("INSERT INTO orgs VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(plan)
            .bind(streams.map(clamped))
            .bind(created)
            .execute(&self.db)
            .await?;
        if inserted.rows_affected() == 0 {
            return Err(StoreError::OrgExists(name.to_owned()));
        }
        Ok(Org { name: name.to_owned(), plan: plan.to_owned(), streams, created: from_ms(created) })
    }

    /// Every organisation by name.
    ///
    /// # Errors
    /// The store fails.
    pub async fn list_orgs(&self) -> Result<Vec<Org>, StoreError> {
        let rows: Vec<(String, String, Option<i64>, i64)> =
            sqlx::query_as("SELECT name, plan, streams, created FROM orgs ORDER BY name")
                .fetch_all(&self.db)
                .await?;
        let org = |(name, plan, streams, created): (_, _, Option<i64>, _)| Org {
            name,
            plan,
            streams: streams.map(|streams| u64::try_from(streams).unwrap_or(0)),
            created: from_ms(created),
        };
        Ok(rows.into_iter().map(org).collect())
    }

    /// Changes what is given: the plan, and the limit of streams (`Some(None)` takes it away).
    ///
    /// # Errors
    /// `UnknownOrg`, or the store fails.
    pub async fn set_org(
        &self,
        name: &str,
        plan: Option<&str>,
        streams: Option<Option<u64>>,
    ) -> Result<(), StoreError> {
        let changed = sqlx::query(
            "UPDATE orgs SET plan = coalesce(?, plan), streams = iif(?, ?, streams) WHERE name = ?",
        )
        .bind(plan)
        .bind(streams.is_some())
        .bind(streams.flatten().map(clamped))
        .bind(name)
        .execute(&self.db)
        .await?;
        if changed.rows_affected() == 0 {
            return Err(StoreError::UnknownOrg(name.to_owned()));
        }
        Ok(())
    }
}

/// SQLite's integers are signed.
pub(super) fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
