//! Links to upstreams: chosen, dialled, kept warm, and counted against what an account may run.
//!
//! A stream takes a slot of the account first, then a seat on a link. A seat is found on a live link
//! with room, or the stream joins the queue for one and dials for itself meanwhile; whichever comes
//! first is taken, so nobody waits behind another's dial. Slot and seat travel with the stream onto
//! the link and come back when it is over upstream, not merely when nobody listens any more.

mod dialing;
mod dials;
mod health;
mod seat;
mod slots;
mod starts;
mod state;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use voxrelay_protocol::provider::{Dial, Sharing};
use voxrelay_protocol::{FaultKind, SynthesisSpec, UpstreamFault};

use self::dials::Dials;
use self::health::Doctor;
use self::slots::Slots;
use self::state::State;
use crate::config::{Limits, Upstream};
use crate::drain::Drain;
use crate::lease::{Checkout, CheckoutKind, Lease, Reopen};
use crate::link::LinkSettings;
use crate::metrics::{CheckoutResult, UpstreamMetrics};
use crate::transport::{self, Transport};

/// On whose behalf a stream runs: slots are shared fairly between askers. Says nothing else of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker(Arc<str>);

impl Asker {
    /// Whoever has that id.
    #[must_use]
    pub fn new(id: &Arc<str>) -> Self {
        Self(Arc::clone(id))
    }
}

/// Why no lease was given.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CheckoutError {
    /// Every slot of the account, or every seat of its links, was taken until the deadline; or too many
    /// wait for one already.
    #[error("{used} of {limit} streams are running upstream")]
    Slots {
        /// What the account may run.
        limit: u64,
        /// What it runs.
        used: u64,
    },
    /// No link could be had.
    #[error(transparent)]
    Upstream(#[from] UpstreamFault),
    /// The relay is going away.
    #[error("the relay is going away")]
    Draining,
}

/// What a pool has right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolCounts {
    /// Connected links.
    pub links: usize,
    /// Those without a stream.
    pub idle: usize,
    /// Dials under way.
    pub dialing: usize,
    /// Streams waiting for a link.
    pub waiting: usize,
    /// Slots in use.
    pub slots: usize,
    /// Slots there are.
    pub slots_limit: usize,
}

type Dialing = Pin<Box<dyn Future<Output = Result<Transport, UpstreamFault>> + Send>>;
/// How a dial becomes a transport.
type Dialer = Arc<dyn Fn(Arc<Dial>, Duration, Arc<UpstreamMetrics>) -> Dialing + Send + Sync>;

/// The pools of a relay, one per upstream.
#[derive(Clone)]
pub struct Pools(Arc<HashMap<Arc<str>, Arc<Pool>>>);

impl Pools {
    /// One pool per upstream, with the bounds of a stream and of a queue. Must be called within a
    /// runtime.
    #[must_use]
    pub fn new(upstreams: &[Arc<Upstream>], drain: &Drain, limits: &Limits) -> Self {
        let dialer: Dialer = Arc::new(|dial, limit, metrics| {
            Box::pin(async move { transport::dial(&dial, limit, &metrics).await })
        });
        Self::with_dialer(upstreams, drain, limits, &dialer)
    }

    fn with_dialer(upstreams: &[Arc<Upstream>], drain: &Drain, limits: &Limits, dialer: &Dialer) -> Self {
        let pool = |upstream: &Arc<Upstream>| {
            let pool = Pool::new(upstream, drain, limits, Arc::clone(dialer));
            (Arc::clone(&upstream.name), Arc::new(pool))
        };
        let pools: HashMap<_, _> = upstreams.iter().map(pool).collect();
        for pool in pools.values().filter(|pool| pool.upstream.pool.warm > 0) {
            drain.spawn(Arc::clone(pool).keep_spares());
        }
        Self(Arc::new(pools))
    }

    /// A lease for one stream on this upstream, started with `spec` on behalf of `asker`. Waits for a
    /// slot and a link, at most `deadline`. Dropping the future gives back everything it had.
    ///
    /// # Errors
    /// See [`CheckoutError`].
    pub async fn checkout(
        &self,
        upstream: &Arc<Upstream>,
        asker: &Asker,
        spec: SynthesisSpec,
        deadline: Duration,
    ) -> Result<Lease, CheckoutError> {
        let asked = Instant::now();
        let unknown = || UpstreamFault::new(FaultKind::Refused, "the upstream is not configured");
        let pool = self.0.get(&upstream.name).ok_or_else(unknown)?;
        if pool.drain.has_begun() {
            return Err(CheckoutError::Draining);
        }
        let leased = pool.checkout(asker, Box::new(spec), deadline).await;
        pool.count_checkout(&leased, asked);
        leased
    }

    /// Forgets what has gone wrong with an upstream, because it or its account has been mended: it is
    /// tried again at once.
    pub fn trust(&self, upstream: &Upstream) {
        if let Some(pool) = self.0.get(&upstream.name) {
            pool.doctor.trust();
        }
    }

    /// What the upstream's pool has right now.
    #[must_use]
    pub fn counts(&self, upstream: &Upstream) -> PoolCounts {
        self.0.get(&upstream.name).map(|pool| pool.counts()).unwrap_or_default()
    }
}

/// The links of one upstream.
struct Pool {
    upstream: Arc<Upstream>,
    settings: LinkSettings,
    dialer: Dialer,
    drain: Drain,
    slots: Arc<Slots>,
    doctor: Arc<Doctor>,
    metrics: Arc<UpstreamMetrics>,
    state: Mutex<State>,
    /// A link or a dial has ended: whoever waits may try again.
    changed: Notify,
    /// Spares may be wanted.
    spares: Notify,
}

impl Pool {
    fn new(upstream: &Arc<Upstream>, drain: &Drain, limits: &Limits, dialer: Dialer) -> Self {
        let capabilities = upstream.provider.capabilities(&upstream.account);
        let per_link = match capabilities.sharing {
            Sharing::Contexts { per_link } => per_link.max(1),
            Sharing::Lease | Sharing::Once => 1,
        };
        let metrics = UpstreamMetrics::of(&upstream.name);
        let slots = Slots::new(upstream.streams, limits.queue_streams, &metrics);
        let dials = Dials::new(upstream.pool.dials_per_second, Instant::now());
        Self {
            settings: LinkSettings {
                idle: upstream.pool.idle.min(capabilities.idle),
                max_age: upstream.pool.max_age,
                capabilities,
                stream_buffer: limits.stream_buffer,
                text_buffer: limits.text_buffer,
            },
            dialer,
            drain: drain.clone(),
            doctor: Doctor::new(&slots, &metrics),
            slots,
            metrics,
            state: Mutex::new(State::new(per_link, upstream.pool.max_links.max(1), dials)),
            changed: Notify::new(),
            spares: Notify::new(),
            upstream: Arc::clone(upstream),
        }
    }

    async fn checkout(
        self: &Arc<Self>,
        asker: &Asker,
        spec: Box<SynthesisSpec>,
        deadline: Duration,
    ) -> Result<Lease, CheckoutError> {
        let asked = Instant::now();
        let until = asked + deadline;
        self.doctor.check()?;
        let slot = self.slots.take(asker, until).await?;
        let patient = self.doctor.admit()?;
        let queued = asked.elapsed();
        let dial = self.upstream.provider.dial(&self.upstream.account, &spec);
        let dial = self.state().intern(dial, Instant::now());
        let (seat, kind) = self.seat(&dial, None, until).await?;
        let connected = asked.elapsed().saturating_sub(queued);
        self.spares.notify_one();
        let reopen = self.reopen(asker.clone(), dial, spec.clone(), deadline);
        let stream = seat.open(spec, slot);
        let checkout = Checkout { queued, connected, kind };
        Ok(Lease::new(stream, checkout, reopen, Box::new(patient), self.settings.text_buffer))
    }

    /// How to open the same stream once more, on a link that is fresh for certain: the others may
    /// have died together with the one that failed.
    fn reopen(
        self: &Arc<Self>,
        asker: Asker,
        dial: Arc<Dial>,
        spec: Box<SynthesisSpec>,
        deadline: Duration,
    ) -> Reopen {
        let pool = Arc::clone(self);
        Box::new(move || {
            Box::pin(async move {
                if !pool.doctor.allows_retry() {
                    let note = "too many links die under their streams";
                    return Err(UpstreamFault::new(FaultKind::ClosedEarly, note));
                }
                let now = Instant::now();
                let until = now + deadline;
                pool.metrics.checkout(CheckoutResult::Stale, Duration::ZERO);
                let opened = async {
                    let slot = pool.slots.take(&asker, until).await?;
                    let (seat, _) = pool.seat(&dial, Some(now), until).await?;
                    Ok(seat.open(spec, slot))
                };
                opened.await.map_err(|error: CheckoutError| match error {
                    CheckoutError::Upstream(fault) => fault,
                    _ => UpstreamFault::new(FaultKind::ClosedEarly, "no fresh link in time"),
                })
            })
        })
    }

    fn count_checkout(&self, leased: &Result<Lease, CheckoutError>, asked: Instant) {
        let (result, waited) = match leased.as_ref().map(Lease::checkout) {
            Ok(Checkout { kind: CheckoutKind::Hit, connected, .. }) => (CheckoutResult::Hit, *connected),
            Ok(Checkout { kind: CheckoutKind::Warm, connected, .. }) => (CheckoutResult::Warm, *connected),
            Ok(Checkout { kind: CheckoutKind::Cold, connected, .. }) => (CheckoutResult::Cold, *connected),
            Err(_) => (CheckoutResult::Refused, asked.elapsed()),
        };
        self.metrics.checkout(result, waited);
    }

    fn counts(&self) -> PoolCounts {
        let (links, idle, dialing, waiting) = self.state().counts();
        PoolCounts {
            links,
            idle,
            dialing,
            waiting,
            slots: self.slots.used(),
            slots_limit: self.slots.limit(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
