//! What is remembered of keys that worked: their records for a moment, and a line to those in use.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Caller;
use crate::config::Plan;
use crate::keys::KeyHash;
use crate::store::{Found, KeyRecord};

/// Callers remembered. When full, an arbitrary one is forgotten: it costs a look-up.
const CALLERS: usize = 10_000;
/// A caller is taken from memory this long without a look-up. With the watcher's beat this keeps a
/// revocation within a second.
const FRESH: Duration = Duration::from_millis(400);
/// And this long while the store is away.
const STALE: Duration = Duration::from_secs(15 * 60);

/// The callers of keys that worked, by hash and by id. Bounded by `CALLERS` and the callers in use.
#[derive(Debug, Default)]
pub(super) struct Table {
    by_hash: HashMap<KeyHash, Entry>,
    /// The one token of a key, as long as a caller of it is in use or remembered.
    lines: HashMap<Arc<str>, Line>,
    /// How far the watcher has followed the store's changes.
    seen: i64,
}

#[derive(Debug)]
struct Entry {
    caller: Arc<Caller>,
    read: Instant,
}

#[derive(Debug)]
struct Line {
    revoked: CancellationToken,
    expires: Option<SystemTime>,
    callers: Vec<std::sync::Weak<Caller>>,
}

impl Table {
    /// A caller read so lately that no look-up is due.
    pub(super) fn fresh(&self, hash: &KeyHash, now: Instant) -> Option<Arc<Caller>> {
        self.younger(hash, now, FRESH)
    }

    /// A caller good enough while the store is away.
    pub(super) fn stale(&self, hash: &KeyHash, now: Instant) -> Option<Arc<Caller>> {
        self.younger(hash, now, STALE)
    }

    fn younger(&self, hash: &KeyHash, now: Instant, limit: Duration) -> Option<Arc<Caller>> {
        let entry = self.by_hash.get(hash)?;
        (now.duration_since(entry.read) < limit).then(|| entry.caller.clone())
    }

    /// Takes in a key that was just read. `None` when the watcher has already gone past that reading:
    /// a revocation between the two would be missed, so the key must be read again.
    pub(super) fn admit(
        &mut self,
        hash: KeyHash,
        found: Found,
        plan: &Plan,
        now: Instant,
    ) -> Option<Arc<Caller>> {
        if found.revision < self.seen {
            return None;
        }
        if self.by_hash.len() >= CALLERS && !self.by_hash.contains_key(&hash) {
            self.make_room(now);
        }
        let caller = self.caller(found.key, plan);
        self.by_hash.insert(hash, Entry { caller: caller.clone(), read: now });
        Some(caller)
    }

    fn caller(&mut self, key: KeyRecord, plan: &Plan) -> Arc<Caller> {
        let line = self.lines.entry(key.id.as_str().into()).or_insert_with(|| Line {
            revoked: CancellationToken::new(),
            expires: key.expires,
            callers: Vec::new(),
        });
        let caller = Arc::new(Caller::holder(key, plan, line.revoked.clone()));
        line.callers.retain(|caller| caller.strong_count() > 0);
        line.callers.push(Arc::downgrade(&caller));
        caller
    }

    pub(super) fn forget(&mut self, hash: &KeyHash) {
        self.by_hash.remove(hash);
    }

    fn make_room(&mut self, now: Instant) {
        self.by_hash.retain(|_, entry| now.duration_since(entry.read) < FRESH);
        if self.by_hash.len() >= CALLERS {
            let any = self.by_hash.keys().next().copied();
            any.and_then(|hash| self.by_hash.remove(&hash));
        }
    }

    /// How far the watcher has followed the store.
    pub(super) fn seen(&self) -> i64 {
        self.seen
    }

    /// Ends the callers of these keys; the store was followed up to `seen`.
    pub(super) fn revoke(&mut self, keys: &[String], seen: i64) {
        self.seen = self.seen.max(seen);
        for key in keys {
            self.end(key);
        }
    }

    /// Ends the callers whose key has expired, and forgets what nobody uses.
    pub(super) fn sweep(&mut self, now: Instant, clock: SystemTime) {
        let expired: Vec<_> = self
            .lines
            .iter()
            .filter(|(_, line)| line.expires.is_some_and(|expires| expires <= clock))
            .map(|(key, _)| key.clone())
            .collect();
        for key in expired {
            self.end(&key);
        }
        self.by_hash.retain(|_, entry| now.duration_since(entry.read) < STALE);
        self.lines.retain(|_, line| line.callers.iter().any(|caller| caller.strong_count() > 0));
    }

    /// Forgets every caller that is not in use; true when none is.
    pub(super) fn forget_unused(&mut self) -> bool {
        self.by_hash.clear();
        self.lines.retain(|_, line| line.callers.iter().any(|caller| caller.strong_count() > 0));
        self.lines.is_empty()
    }

    fn end(&mut self, key: &str) {
        self.by_hash.retain(|_, entry| entry.caller.key.as_deref() != Some(key));
        if let Some(line) = self.lines.remove(key) {
            line.revoked.cancel();
        }
    }
}
