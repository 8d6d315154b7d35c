//! One credential, one answer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use voxrelay_protocol::request::Credential;
use voxrelay_protocol::{Fault, FaultCode};

use super::table::Table;
use super::{Caller, Throttle};
use crate::config::{AuthMode, Config, DEFAULT_NAME, Plan};
use crate::keys::{KeyFault, KeyHash, Secret};
use crate::metrics::{self, AuthResult, StoreOp};
use crate::store::{Found, Store, StoreError};

/// A look-up that takes longer counts as a store that is away.
const LOOK_UP: Duration = Duration::from_secs(1);
/// What a caller is told to wait when the store is away, in ms.
const STORE_RETRY_MS: u64 = 1_000;
/// Readings of a key that the watcher overtook before the check gives up.
const READINGS: u32 = 3;

/// Whether the caller guessed: these count towards the throttle. Callers see less: every bad key gets
/// the same answer.
const fn is_guess(result: AuthResult) -> bool {
    use AuthResult::{Checksum, Expired, Malformed, Revoked, Unknown};
    matches!(result, Malformed | Checksum | Unknown | Revoked | Expired)
}

impl From<KeyFault> for AuthResult {
    fn from(fault: KeyFault) -> Self {
        match fault {
            KeyFault::Malformed => Self::Malformed,
            KeyFault::Checksum => Self::Checksum,
        }
    }
}

/// The outcome of a check: the caller, or what they are told; and the label for metrics.
#[derive(Debug)]
pub struct Checked {
    /// Who it is, or the fault to answer with.
    pub caller: Result<Arc<Caller>, Fault>,
    /// How it went.
    pub result: AuthResult,
}

/// Tells callers apart. Shared by every listener of the relay.
#[derive(Debug)]
pub struct Authenticator {
    pub(super) store: Store,
    plans: BTreeMap<String, Plan>,
    default_plan: Plan,
    open: Option<Arc<Caller>>,
    table: Mutex<Table>,
    throttle: Mutex<Throttle>,
}

impl Authenticator {
    /// An authenticator over this store, with the plans and the mode of the config.
    #[must_use]
    pub fn new(config: &Config, store: Store) -> Self {
        let default_plan = config.plans.get(DEFAULT_NAME).cloned().unwrap_or_default();
        let open = config.auth.mode == AuthMode::Open;
        Self {
            store,
            plans: config.plans.clone(),
            open: open.then(|| Arc::new(Caller::open(&default_plan))),
            default_plan,
            table: Mutex::default(),
            throttle: Mutex::default(),
        }
    }

    /// The caller of open mode, if that is the mode.
    #[must_use]
    pub fn open_caller(&self) -> Option<Arc<Caller>> {
        self.open.clone()
    }

    /// Checks what a caller at `source` sent. In open mode everybody is let in. Malformed, mistyped,
    /// unknown, revoked and expired keys all get the same `invalid_credentials`; none at all gets
    /// `missing_credentials`, too many failures `rate_limited`, a store that is away `overloaded`.
    pub async fn check(&self, credential: Option<&Credential>, source: IpAddr) -> Checked {
        if let Some(open) = &self.open {
            return Checked { caller: Ok(open.clone()), result: AuthResult::Ok };
        }
        let now = Instant::now();
        if let Some(left) = held(&self.throttle).refused(now, source) {
            return refusal(AuthResult::Throttled, Some(left));
        }
        let Some(credential) = credential.filter(|credential| !credential.expose().is_empty()) else {
            return Checked { caller: Err(missing()), result: AuthResult::Malformed };
        };
        match self.look_up(credential, now).await {
            Ok(caller) => Checked { caller: Ok(caller), result: AuthResult::Ok },
            Err(result) => {
                if is_guess(result) {
                    held(&self.throttle).failed(now, source);
                }
                refusal(result, None)
            }
        }
    }

    /// Sources refused for guessing, now.
    #[must_use]
    pub fn throttled_sources(&self) -> usize {
        held(&self.throttle).refused_sources(Instant::now())
    }

    async fn look_up(&self, credential: &Credential, now: Instant) -> Result<Arc<Caller>, AuthResult> {
        let hash = Secret::parse(credential.expose())?.hash(self.store.pepper());
        if let Some(caller) = self.table().fresh(&hash, now) {
            return unexpired(caller);
        }
        for _ in 0..READINGS {
            let asked = Instant::now();
            let found = tokio::time::timeout(LOOK_UP, self.store.find_by_hash(&hash)).await;
            metrics::store_used(StoreOp::Read, asked.elapsed(), matches!(found, Ok(Ok(_))));
            let found = match found {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => return self.without_store(&hash, Some(&error)),
                Err(_) => return self.without_store(&hash, None),
            };
            let usable = usable(found);
            let mut table = self.table();
            let found = usable.inspect_err(|_| table.forget(&hash))?;
            let plan = self.plans.get(&found.key.plan).unwrap_or(&self.default_plan);
            if let Some(caller) = table.admit(hash, found, plan, Instant::now()) {
                return Ok(caller);
            }
        }
        Err(AuthResult::Store)
    }

    /// Who was known a while ago stays known; nobody else gets in.
    fn without_store(&self, hash: &KeyHash, error: Option<&StoreError>) -> Result<Arc<Caller>, AuthResult> {
        match error {
            Some(error) => tracing::warn!(%error, "the key store cannot be read"),
            None => tracing::warn!("the key store is too slow"),
        }
        self.table().stale(hash, Instant::now()).ok_or(AuthResult::Store).and_then(unexpired)
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        held(&self.table)
    }
}

fn usable(found: Option<Found>) -> Result<Found, AuthResult> {
    let found = found.ok_or(AuthResult::Unknown)?;
    if found.key.revoked.is_some() {
        return Err(AuthResult::Revoked);
    }
    if found.key.has_expired(SystemTime::now()) {
        return Err(AuthResult::Expired);
    }
    Ok(found)
}

fn unexpired(caller: Arc<Caller>) -> Result<Arc<Caller>, AuthResult> {
    let expired = caller.expires.is_some_and(|expires| expires <= SystemTime::now());
    if expired { Err(AuthResult::Expired) } else { Ok(caller) }
}

fn missing() -> Fault {
    Fault::new(
        FaultCode::MissingCredentials,
        "a key is needed: send Authorization: Bearer sk-…, or an auth message first",
    )
}

fn refusal(result: AuthResult, wait: Option<Duration>) -> Checked {
    let fault = match result {
        AuthResult::Throttled => {
            let ms = wait.map_or(0, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)).max(1);
            Fault::new(FaultCode::RateLimited, "too many failed keys from this address").retry_after(ms)
        }
        AuthResult::Store => Fault::new(FaultCode::Overloaded, "keys cannot be checked at the moment")
            .retry_after(STORE_RETRY_MS),
        _ => Fault::new(FaultCode::InvalidCredentials, "the key is not valid"),
    };
    Checked { caller: Err(fault), result }
}

/// What these mutexes guard is whole between any two statements, so a panic elsewhere spoils nothing.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
