//! What a pool knows of its upstream's health, told by its streams and dials.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use voxrelay_protocol::health::{Closed, Health, Pass, Retries};
use voxrelay_protocol::{FaultClass, UpstreamFault};

use super::Slots;
use super::dialing::spread;
use crate::lease::Witness;
use crate::metrics::UpstreamMetrics;

/// The health of one upstream and its credential, shared by all its streams.
#[derive(Debug)]
pub(super) struct Doctor {
    inner: Mutex<Inner>,
    slots: Arc<Slots>,
    metrics: Arc<UpstreamMetrics>,
}

#[derive(Debug)]
struct Inner {
    health: Health,
    retries: Retries,
}

impl Doctor {
    pub(super) fn new(slots: &Arc<Slots>, metrics: &Arc<UpstreamMetrics>) -> Arc<Self> {
        let now = now();
        let inner = Mutex::new(Inner { health: Health::new(now), retries: Retries::new(now) });
        Arc::new(Self { inner, slots: Arc::clone(slots), metrics: Arc::clone(metrics) })
    }

    /// Whether it is worth waiting for a slot.
    pub(super) fn check(&self) -> Result<(), UpstreamFault> {
        self.inner().health.check(now()).map_err(refusal)
    }

    /// Lets a stream through; the outcome is told to the witness.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Patient, UpstreamFault> {
        let mut inner = self.inner();
        let now = now();
        let pass = inner.health.admit(now).map_err(refusal)?;
        inner.retries.started(now);
        Ok(Patient { doctor: Arc::clone(self), pass, seen: false })
    }

    /// Whether a stream may be tried a second time.
    pub(super) fn allows_retry(&self) -> bool {
        self.inner().retries.allow(now())
    }

    /// Whether links may be dialled that nobody waits for.
    pub(super) fn is_well(&self) -> bool {
        let inner = self.inner();
        !inner.health.is_open() && !inner.health.is_credential_bad()
    }

    pub(super) fn dial_failed(&self, fault: &UpstreamFault) {
        self.change(|health| health.dial_failed(fault, spread(), now()));
        self.note_rate(fault);
    }

    fn failed(&self, pass: Pass, fault: &UpstreamFault) {
        self.change(|health| health.failed(pass, fault, spread(), now()));
        self.note_rate(fault);
    }

    fn note_rate(&self, fault: &UpstreamFault) {
        if fault.kind.class() == FaultClass::Rate {
            self.slots.refused(fault.retry_after_ms.map(Duration::from_millis));
        }
    }

    /// Changes what is known, and says so where it matters.
    fn change(&self, change: impl FnOnce(&mut Health)) {
        let mut inner = self.inner();
        let known = |health: &Health| (health.is_open(), health.is_credential_bad());
        let before = known(&inner.health);
        change(&mut inner.health);
        let (open, bad) = known(&inner.health);
        drop(inner);
        if open != before.0 {
            self.metrics.breaker_open(open);
            let upstream = self.metrics.name();
            if open {
                tracing::warn!(upstream, "the upstream fails: its breaker is open");
            } else {
                tracing::info!(upstream, "the upstream speaks again: its breaker closes");
            }
        }
        if bad != before.1 {
            self.metrics.credential_bad(bad);
            let upstream = self.metrics.name();
            if bad {
                tracing::error!(upstream, "the upstream refuses the relay's account");
            } else {
                tracing::info!(upstream, "the upstream takes the relay's account again");
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that was let through. Dropped before it has shown anything, it has shown nothing.
pub(super) struct Patient {
    doctor: Arc<Doctor>,
    pass: Pass,
    seen: bool,
}

impl Witness for Patient {
    fn spoke(&mut self) {
        self.seen = true;
        self.doctor.change(|health| health.succeeded(self.pass, now()));
    }

    fn failed(&mut self, fault: &UpstreamFault) {
        self.seen = true;
        self.doctor.failed(self.pass, fault);
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        if !self.seen {
            self.doctor.change(|health| health.abandoned(self.pass, now()));
        }
    }
}

fn refusal(Closed { kind, retry_after }: Closed) -> UpstreamFault {
    let ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX).max(1);
    UpstreamFault { retry_after_ms: Some(ms), ..UpstreamFault::new(kind, "it has failed and is left alone") }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
