//! Who used how much: counted when a stream ends, written to the store in batches, never on the
//! audio path.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use voxrelay_protocol::session::{Outcome, StreamEnd};

use crate::auth::Caller;
use crate::drain::Drain;
use crate::metrics;
use crate::store::Usage as Used;
use crate::store::{Store, UsageRecord};

/// How often what was counted is written: at most this much is lost by a crash.
const BATCH: Duration = Duration::from_secs(1);
/// Keys whose use may wait for the store; beyond it what is counted is lost, and said so in the log.
const WAITING: usize = 100_000;

/// Counts for every key; cheap to clone.
#[derive(Debug, Clone)]
pub struct Usage {
    store: Store,
    waiting: Arc<Mutex<HashMap<Arc<str>, Used>>>,
}

impl Usage {
    /// Counts into this store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, waiting: Arc::default() }
    }

    /// Counts one stream. What was refused used nothing; open mode has no key to count for.
    pub fn record(&self, caller: &Caller, end: &StreamEnd) {
        let Some(key) = caller.key.clone() else { return };
        if end.outcome == Outcome::Refused {
            return;
        }
        let mut waiting = held(&self.waiting);
        if waiting.len() >= WAITING && !waiting.contains_key(&key) {
            tracing::error!("usage of a stream is lost: too much waits for the store");
            return;
        }
        let used = waiting.entry(key).or_default();
        add(used, Used { characters: end.characters, audio_ms: end.audio_ms, streams: 1 });
        metrics::usage_recorded();
    }

    /// What the caller's key has used so far; zeros in open mode or while the store is away.
    pub async fn of(&self, caller: &Caller) -> Used {
        let Some(key) = caller.key.as_deref() else { return Used::default() };
        let mut used = self.store.usage_of(key).await.unwrap_or_default();
        if let Some(waiting) = held(&self.waiting).get(key) {
            add(&mut used, *waiting);
        }
        used
    }

    /// Writes batches until the drain begins; the last one is [`Usage::write`], once all is quiet.
    pub async fn keep_writing(self, drain: Drain) {
        loop {
            let mut stop = std::pin::pin!(drain.begun());
            if tokio::time::timeout(BATCH, stop.as_mut()).await.is_ok() {
                return;
            }
            self.write().await;
        }
    }

    /// Writes what has been counted. What cannot be written is kept for the next time.
    pub async fn write(&self) {
        let batch = std::mem::take(&mut *held(&self.waiting));
        if batch.is_empty() {
            return;
        }
        let at = SystemTime::now();
        let records: Vec<UsageRecord> =
            batch.iter().map(|(key, used)| UsageRecord { key: key.to_string(), used: *used, at }).collect();
        if let Err(error) = self.store.add_usage(&records).await {
            tracing::warn!(%error, "usage could not be written; it is kept");
            let mut waiting = held(&self.waiting);
            for (key, used) in batch {
                add(waiting.entry(key).or_default(), used);
            }
        }
    }
}

fn add(sum: &mut Used, more: Used) {
    sum.characters += more.characters;
    sum.audio_ms += more.audio_ms;
    sum.streams += more.streams;
}

/// The counts are whole between any two statements, so a panic elsewhere spoils nothing.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
