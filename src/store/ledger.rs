//! Use on its way to the store: streams note it without waiting, batches are written each second.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{Store, StoreError, Usage, UsageRecord};
use crate::drain::Drain;
use crate::metrics::{self, StoreOp};

/// How often what was noted is written.
const BEAT: Duration = Duration::from_secs(1);
/// Keys with unwritten use, while the store is away. What goes beyond is lost, and counted.
const KEYS: usize = 100_000;

/// What keys have used and the store does not know yet: one sum per key.
#[derive(Debug)]
pub struct Ledger {
    store: Store,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    sums: HashMap<String, (Usage, SystemTime)>,
    lost: u64,
}

impl Ledger {
    /// A ledger with nothing in it.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, open: Mutex::default() }
    }

    /// Notes what a stream has used; never waits.
    pub fn note(&self, key: &str, used: Usage) {
        self.open().add(key, used, SystemTime::now());
    }

    /// What a key has used and the store does not know yet.
    #[must_use]
    pub fn noted(&self, key: &str) -> Usage {
        self.open().sums.get(key).map(|(used, _)| *used).unwrap_or_default()
    }

    /// What the store knows a key has used.
    ///
    /// # Errors
    /// The store fails.
    pub async fn stored(&self, key: &str) -> Result<Usage, StoreError> {
        self.store.usage_of(key).await
    }

    /// Notes that were lost because the store was away for too long.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.open().lost
    }

    /// Writes each second until the drain begins. Whoever drains calls [`Ledger::write`] once more when
    /// the last stream has ended.
    pub async fn run(&self, drain: &Drain) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = drain.begun() => return,
                _ = beat.tick() => {}
            }
            if let Err(error) = self.write().await {
                tracing::warn!(%error, "use cannot be written to the store; it is kept and tried again");
            }
        }
    }

    /// Writes everything noted so far.
    ///
    /// # Errors
    /// The store fails; what was noted is kept.
    pub async fn write(&self) -> Result<(), StoreError> {
        let sums = std::mem::take(&mut self.open().sums);
        if sums.is_empty() {
            return Ok(());
        }
        let batch: Vec<_> = sums.into_iter().map(|(key, (used, at))| UsageRecord { key, used, at }).collect();
        let began = Instant::now();
        let written = self.store.add_usage(&batch).await;
        metrics::store_used(StoreOp::Write, began.elapsed(), written.is_ok());
        if written.is_err() {
            let mut open = self.open();
            for UsageRecord { key, used, at } in &batch {
                open.add(key, *used, *at);
            }
        }
        written
    }

    /// What this mutex guards is whole between any two statements, so a panic elsewhere spoils nothing.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn add(&mut self, key: &str, used: Usage, at: SystemTime) {
        if let Some((sum, last)) = self.sums.get_mut(key) {
            sum.characters = sum.characters.saturating_add(used.characters);
            sum.audio_ms = sum.audio_ms.saturating_add(used.audio_ms);
            sum.streams = sum.streams.saturating_add(used.streams);
            *last = at.max(*last);
        } else if self.sums.len() < KEYS {
            self.sums.insert(key.to_owned(), (used, at));
        } else {
            self.lost += 1;
        }
    }
}
