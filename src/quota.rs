//! Streams at once, per key and per organisation. One decision under one lock: both or neither.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use voxrelay_protocol::{Fault, FaultCode, QuotaScope, Refusal};

use crate::auth::Caller;

/// When to try again, in ms: about the length of a short utterance.
const RETRY_MS: u64 = 1_000;

/// The streams that run, by key and organisation; clones share it. Holds no entry at zero, so it is
/// bounded by the permits that are out.
#[derive(Debug, Clone, Default)]
pub struct Quota {
    live: Arc<Mutex<Live>>,
}

#[derive(Debug, Default)]
struct Live {
    keys: HashMap<Arc<str>, u64>,
    orgs: HashMap<Arc<str>, u64>,
}

/// The right to run one stream; dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    live: Arc<Mutex<Live>>,
    key: Option<Arc<str>>,
    org: Arc<str>,
}

impl Quota {
    /// A quota with nothing running.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the right to run one more stream.
    ///
    /// # Errors
    /// `quota_exceeded` with the limit, its use, and whose limit it is.
    pub fn acquire(&self, caller: &Caller) -> Result<Permit, Fault> {
        let mut live = held(&self.live);
        if let Some(key) = &caller.key {
            check(&live.keys, key, caller.key_streams, QuotaScope::Key)?;
        }
        check(&live.orgs, &caller.org, caller.org_streams, QuotaScope::Org)?;
        if let Some(key) = &caller.key {
            *live.keys.entry(key.clone()).or_default() += 1;
        }
        *live.orgs.entry(caller.org.clone()).or_default() += 1;
        drop(live);
        Ok(Permit { live: self.live.clone(), key: caller.key.clone(), org: caller.org.clone() })
    }

    /// Streams that run on the key of that id.
    #[must_use]
    pub fn live(&self, key: &str) -> u64 {
        held(&self.live).keys.get(key).copied().unwrap_or(0)
    }

    /// Streams that run on the organisation.
    #[must_use]
    pub fn live_of_org(&self, org: &str) -> u64 {
        held(&self.live).orgs.get(org).copied().unwrap_or(0)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut live = held(&self.live);
        if let Some(key) = &self.key {
            give_back(&mut live.keys, key);
        }
        give_back(&mut live.orgs, &self.org);
    }
}

fn check(
    running: &HashMap<Arc<str>, u64>,
    name: &Arc<str>,
    limit: u64,
    scope: QuotaScope,
) -> Result<(), Fault> {
    let used = running.get(name).copied().unwrap_or(0);
    if used < limit {
        return Ok(());
    }
    let whose = if scope == QuotaScope::Key { "key" } else { "organisation" };
    let detail = format!("the {whose} may run {limit} streams at once, and {used} are running");
    Err(Fault::new(FaultCode::QuotaExceeded, detail)
        .with_quota(Refusal { limit, used, scope })
        .retry_after(RETRY_MS))
}

fn give_back(running: &mut HashMap<Arc<str>, u64>, name: &Arc<str>) {
    if let Some(count) = running.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            running.remove(name);
        }
    }
}

/// The counts are whole between any two statements, so a panic elsewhere spoils nothing.
fn held(live: &Mutex<Live>) -> MutexGuard<'_, Live> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::config::Plan;

    #[test]
    fn a_refusal_explains_itself_and_takes_nothing() {
        let quota = Quota::new();
        let (one, other) = (caller("key_a", 2, 3), caller("key_b", 5, 3));
        let both = [quota.acquire(&one).unwrap(), quota.acquire(&one).unwrap()];
        let fault = quota.acquire(&one).unwrap_err();
        assert_eq!(fault.code, FaultCode::QuotaExceeded);
        assert_eq!(fault.quota, Some(Refusal { limit: 2, used: 2, scope: QuotaScope::Key }));
        assert_eq!(fault.retry_after_ms, Some(RETRY_MS));
        let third = quota.acquire(&other).unwrap();
        let fault = quota.acquire(&other).unwrap_err();
        assert_eq!(fault.quota, Some(Refusal { limit: 3, used: 3, scope: QuotaScope::Org }));
        assert_eq!((quota.live("key_a"), quota.live("key_b"), quota.live_of_org("org")), (2, 1, 3));
        drop((both, third));
        assert_eq!(quota.live_of_org("org"), 0);
        assert!(held(&quota.live).keys.is_empty() && held(&quota.live).orgs.is_empty());
    }

    #[test]
    fn without_a_key_only_the_organisation_counts() {
        let quota = Quota::new();
        let open = Caller::open(&Plan { streams: 1 });
        let permit = quota.acquire(&open).unwrap();
        assert_eq!(quota.acquire(&open).unwrap_err().quota.unwrap().scope, QuotaScope::Org);
        drop(permit);
        assert!(quota.acquire(&open).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn racing_threads_never_pass_a_limit_and_return_everything(
            key_limit in 1u64..6, org_limit in 1u64..9, threads in 2usize..6, rounds in 1usize..60,
        ) {
            let quota = Quota::new();
            // Counted up after taking and down before giving back, so never above what was let in.
            let (in_use, all): ([AtomicU64; 2], AtomicU64) = Default::default();
            let passed = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for thread in 0..threads {
                    let (quota, in_use, all, passed) = (&quota, &in_use, &all, &passed);
                    scope.spawn(move || {
                        let which = thread % 2;
                        let caller = caller(["key_a", "key_b"][which], key_limit, org_limit);
                        for _ in 0..rounds {
                            let Ok(permit) = quota.acquire(&caller) else { continue };
                            let mine = in_use[which].fetch_add(1, Ordering::SeqCst) + 1;
                            let together = all.fetch_add(1, Ordering::SeqCst) + 1;
                            if mine > key_limit || together > org_limit {
                                passed.fetch_add(1, Ordering::SeqCst);
                            }
                            std::thread::yield_now();
                            all.fetch_sub(1, Ordering::SeqCst);
                            in_use[which].fetch_sub(1, Ordering::SeqCst);
                            drop(permit);
                        }
                    });
                }
            });
            prop_assert_eq!(passed.into_inner(), 0, "more ran at once than allowed");
            prop_assert_eq!(quota.live_of_org("org"), 0);
            prop_assert!(held(&quota.live).keys.is_empty());
        }
    }

    fn caller(key: &str, key_streams: u64, org_streams: u64) -> Caller {
        let open = Caller::open(&Plan::default());
        Caller { key: Some(key.into()), org: "org".into(), key_streams, org_streams, ..open }
    }
}
