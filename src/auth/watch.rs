//! Follows the store, so that revoked and expired keys end what runs on them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::Authenticator;
use crate::drain::Drain;
use crate::store::StoreError;

/// A revocation must reach live sessions within a second: twice in that time.
const BEAT: Duration = Duration::from_millis(500);
/// While the relay drains, the watch must not be what it waits for.
const LAST_BEAT: Duration = Duration::from_millis(50);

impl Authenticator {
    /// Watches for keys that are revoked or expire, and says each time whether the store answers. Run
    /// it once, as a task of its own. It ends when the drain has begun and nobody holds a caller any
    /// more, or when time is up.
    pub async fn watch(self: Arc<Self>, drain: Drain, answers: impl Fn(bool) + Send) {
        let mut beat = beats(BEAT);
        let mut last = false;
        loop {
            tokio::select! {
                () = drain.cut_off() => return,
                () = drain.begun(), if !last => {
                    last = true;
                    beat = beats(LAST_BEAT);
                }
                _ = beat.tick() => {}
            }
            let followed = self.follow().await;
            answers(followed.is_ok());
            if let Err(error) = followed {
                tracing::warn!(%error, "revocations cannot be read from the key store");
            }
            if last && self.table().forget_unused() {
                return;
            }
        }
    }

    /// One look at the store: ends the callers of keys revoked since the last, and of expired ones.
    ///
    /// # Errors
    /// The store fails; expired keys are ended all the same.
    pub async fn follow(&self) -> Result<(), StoreError> {
        let seen = self.table().seen();
        let revoked = self.store.revoked_since(seen).await;
        let mut table = self.table();
        table.sweep(Instant::now(), SystemTime::now());
        let (keys, seen) = revoked?;
        table.revoke(&keys, seen);
        Ok(())
    }
}

fn beats(every: Duration) -> Interval {
    let mut beat = tokio::time::interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}
