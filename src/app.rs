//! What every request may use.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use voxrelay_protocol::request::Credential;
use voxrelay_protocol::session::{Outcome, StreamEnd};
use voxrelay_protocol::{Fault, FaultCode};

use crate::auth::{Authenticator, Caller, TOKEN_PREFIX, Tokens};
use crate::config::Config;
use crate::drain::Drain;
use crate::metrics::{self, AuthResult};
use crate::pool::Pools;
use crate::quota::Quota;
use crate::store::{Ledger, Usage};

/// One relay's shared state; cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// Who is calling.
    pub auth: Arc<Authenticator>,
    /// Single-use tokens that wait to be used.
    pub tokens: Arc<Tokens>,
    /// Who may run how much.
    pub quota: Quota,
    /// Links to upstreams.
    pub pools: Pools,
    /// Who used how much.
    pub ledger: Arc<Ledger>,
    /// The end of the relay's life, and every task.
    pub drain: Drain,
    sessions: Gate,
    strangers: Strangers,
}

impl App {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        auth: Arc<Authenticator>,
        quota: Quota,
        pools: Pools,
        ledger: Arc<Ledger>,
        drain: Drain,
    ) -> Self {
        let sessions = Gate { open: Arc::default(), limit: config.limits.sessions };
        let strangers = Strangers {
            waiting: Arc::default(),
            limit: config.limits.unauthenticated_sessions,
            per_source: config.limits.unauthenticated_per_source,
        };
        Self { config, auth, tokens: Arc::default(), quota, pools, ledger, drain, sessions, strangers }
    }

    /// A place for one more session, given back by drop.
    ///
    /// # Errors
    /// `overloaded` when the relay holds as many as it may, `draining` when it is going away.
    pub fn admit(&self) -> Result<Place, Fault> {
        if self.drain.has_begun() {
            return Err(Fault::new(FaultCode::Draining, "the relay is going away").retry_after(1000));
        }
        self.sessions.enter().ok_or_else(|| {
            metrics::overloaded(metrics::Overload::Sessions);
            Fault::new(FaultCode::Overloaded, "the relay holds as many sessions as it may").retry_after(1000)
        })
    }

    /// Who showed this credential, a key or a single-use token; the check is counted.
    ///
    /// # Errors
    /// As [`Authenticator::check`] tells the caller.
    pub async fn check(&self, credential: Option<&Credential>, from: IpAddr) -> Result<Arc<Caller>, Fault> {
        let began = Instant::now();
        if let Some(token) = credential.map(Credential::expose).filter(|text| text.starts_with(TOKEN_PREFIX))
            && self.auth.open_caller().is_none()
        {
            let caller = self.tokens.redeem(token, began);
            let result = if caller.is_some() { AuthResult::Ok } else { AuthResult::Unknown };
            metrics::auth_attempt(result, began.elapsed());
            return caller.ok_or_else(|| Fault::new(FaultCode::InvalidCredentials, "the key is not valid"));
        }
        let checked = self.auth.check(credential, from).await;
        metrics::auth_attempt(checked.result, began.elapsed());
        checked.caller
    }

    /// Notes what a stream has used. What was refused used nothing; open mode has no key to count for.
    pub fn note_use(&self, caller: &Caller, end: &StreamEnd) {
        let Some(key) = caller.key.as_deref() else { return };
        if end.outcome != Outcome::Refused {
            let used = Usage { characters: end.characters, audio_ms: end.audio_ms, streams: 1 };
            self.ledger.note(key, used);
            metrics::usage_recorded();
        }
    }

    /// A place for a session that has not shown its key yet, given back by drop.
    ///
    /// # Errors
    /// `overloaded` when too many wait already, in all or from this address.
    pub fn admit_stranger(&self, source: IpAddr) -> Result<Stranger, Fault> {
        self.strangers.enter(source).ok_or_else(|| {
            metrics::overloaded(metrics::Overload::Unauthenticated);
            Fault::new(FaultCode::Overloaded, "too many sessions have not shown a key").retry_after(1000)
        })
    }
}

#[derive(Debug, Clone)]
struct Gate {
    open: Arc<AtomicUsize>,
    limit: usize,
}

impl Gate {
    fn enter(&self) -> Option<Place> {
        let place = Place { open: self.open.clone() };
        (place.open.fetch_add(1, Ordering::Relaxed) < self.limit).then_some(place)
    }
}

/// The place of one session.
#[derive(Debug)]
pub struct Place {
    open: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sessions that have not shown a key, by source; no entry at zero, so `limit` bounds the table.
#[derive(Debug, Clone)]
struct Strangers {
    waiting: Arc<Mutex<HashMap<IpAddr, usize>>>,
    limit: usize,
    per_source: usize,
}

impl Strangers {
    fn enter(&self, source: IpAddr) -> Option<Stranger> {
        let mut waiting = held(&self.waiting);
        let from_here = waiting.get(&source).copied().unwrap_or(0);
        if from_here >= self.per_source || waiting.values().sum::<usize>() >= self.limit {
            return None;
        }
        waiting.insert(source, from_here + 1);
        Some(Stranger { waiting: self.waiting.clone(), source })
    }
}

/// The place of a session that has not shown its key.
#[derive(Debug)]
pub struct Stranger {
    waiting: Arc<Mutex<HashMap<IpAddr, usize>>>,
    source: IpAddr,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut waiting = held(&self.waiting);
        if let Some(count) = waiting.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.source);
            }
        }
    }
}

/// The counts are whole between any two statements, so a panic elsewhere spoils nothing.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_bounded_in_all_and_by_source_and_leave_no_trace() {
        let strangers = Strangers { waiting: Arc::default(), limit: 3, per_source: 2 };
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let here = [strangers.enter(address(1)), strangers.enter(address(1))];
        assert!(here.iter().all(Option::is_some));
        assert!(strangers.enter(address(1)).is_none(), "a third from one address");
        let other = strangers.enter(address(2));
        assert!(other.is_some());
        assert!(strangers.enter(address(3)).is_none(), "a fourth in all");
        drop(here);
        assert!(strangers.enter(address(3)).is_some());
        drop(other);
        assert!(held(&strangers.waiting).is_empty());
    }
}
