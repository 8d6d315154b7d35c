//! Links to upstreams: chosen, dialled, kept warm, and counted against what an account may run.
//!
//! A stream takes a slot of the account first, then a seat on a link. A seat is found on a live link
//! with room, or the stream joins the queue for one and dials for itself meanwhile; whichever comes
//! first is taken, so nobody waits behind another's dial. Slot and seat travel with the stream onto
//! the link and come back when it is over upstream, not merely when nobody listens any more.

mod dials;
mod slots;
mod state;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};
use voxrelay_protocol::provider::{Dial, Sharing};
use voxrelay_protocol::{FaultKind, SynthesisSpec, UpstreamFault};

use self::dials::{Dials, MayDial};
use self::slots::{Slot, Slots};
use self::state::{Place, Reach, State, Waiter};
use crate::config::Upstream;
use crate::drain::Drain;
use crate::lease::{Checkout, CheckoutKind, Lease, Reopen};
use crate::link::{Driver, Link, LinkSettings, Stream};
use crate::transport::{self, Transport};

/// How often spares are looked after when nothing happens.
const SPARES_EVERY: Duration = Duration::from_secs(30);

/// Why no lease was given.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CheckoutError {
    /// Every slot of the account, or every seat of its links, was taken until the deadline.
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
type Dialer = Arc<dyn Fn(Arc<Dial>, Duration) -> Dialing + Send + Sync>;

/// The pools of a relay, one per upstream.
#[derive(Clone)]
pub struct Pools(Arc<HashMap<Arc<str>, Arc<Pool>>>);

impl Pools {
    /// One pool per upstream; `stream_buffer` and `text_buffer` are bytes per stream. Must be called
    /// within a runtime.
    #[must_use]
    pub fn new(upstreams: &[Arc<Upstream>], drain: Drain, stream_buffer: usize, text_buffer: usize) -> Self {
        let dialer: Dialer =
            Arc::new(|dial, limit| Box::pin(async move { transport::dial(&dial, limit).await }));
        Self::with_dialer(upstreams, &drain, stream_buffer, text_buffer, &dialer)
    }

    fn with_dialer(
        upstreams: &[Arc<Upstream>],
        drain: &Drain,
        stream_buffer: usize,
        text_buffer: usize,
        dialer: &Dialer,
    ) -> Self {
        let pool = |upstream: &Arc<Upstream>| {
            let pool = Pool::new(upstream, drain, stream_buffer, text_buffer, Arc::clone(dialer));
            (Arc::clone(&upstream.name), Arc::new(pool))
        };
        let pools: HashMap<_, _> = upstreams.iter().map(pool).collect();
        for pool in pools.values().filter(|pool| pool.upstream.pool.warm > 0) {
            drain.spawn(Arc::clone(pool).keep_spares());
        }
        Self(Arc::new(pools))
    }

    /// A lease for one stream on this upstream, started with `spec`. Waits for a slot and a link, at
    /// most `deadline`. Dropping the future gives back everything it had.
    ///
    /// # Errors
    /// See [`CheckoutError`].
    pub async fn checkout(
        &self,
        upstream: &Arc<Upstream>,
        spec: SynthesisSpec,
        deadline: Duration,
    ) -> Result<Lease, CheckoutError> {
        let unknown = || UpstreamFault::new(FaultKind::Refused, "the upstream is not configured");
        let pool = self.0.get(&upstream.name).ok_or_else(unknown)?;
        if pool.drain.has_begun() {
            return Err(CheckoutError::Draining);
        }
        pool.checkout(Box::new(spec), deadline).await
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
    slots: Slots,
    state: Mutex<State>,
    /// A link or a dial has ended: whoever waits may try again.
    changed: Notify,
    /// Spares may be wanted.
    spares: Notify,
}

impl Pool {
    fn new(
        upstream: &Arc<Upstream>,
        drain: &Drain,
        stream_buffer: usize,
        text_buffer: usize,
        dialer: Dialer,
    ) -> Self {
        let capabilities = upstream.provider.capabilities();
        let per_link = match capabilities.sharing {
            Sharing::Contexts { per_link } => per_link.max(1),
            Sharing::Lease | Sharing::Once => 1,
        };
        let dials = Dials::new(upstream.pool.dials_per_second, Instant::now());
        Self {
            settings: LinkSettings {
                idle: upstream.pool.idle.min(capabilities.idle),
                max_age: upstream.pool.max_age,
                capabilities,
                stream_buffer,
                text_buffer,
            },
            dialer,
            drain: drain.clone(),
            slots: Slots::new(upstream.streams),
            state: Mutex::new(State::new(per_link, upstream.pool.max_links.max(1), dials)),
            changed: Notify::new(),
            spares: Notify::new(),
            upstream: Arc::clone(upstream),
        }
    }

    async fn checkout(
        self: &Arc<Self>,
        spec: Box<SynthesisSpec>,
        deadline: Duration,
    ) -> Result<Lease, CheckoutError> {
        let asked = Instant::now();
        let until = asked + deadline;
        let slot = self.slots.take(until).await?;
        let queued = asked.elapsed();
        let dial = self.upstream.provider.dial(&self.upstream.account, &spec);
        let dial = self.state().intern(dial, Instant::now());
        let (seat, kind) = self.seat(&dial, None, until).await?;
        let connected = asked.elapsed().saturating_sub(queued);
        self.spares.notify_one();
        let reopen = (kind != CheckoutKind::Cold).then(|| self.reopen(dial, spec.clone(), deadline));
        let stream = seat.open(spec, slot);
        let checkout = Checkout { queued, connected, kind };
        Ok(Lease::new(stream, checkout, reopen, self.settings.text_buffer))
    }

    /// How to open the same stream once more, on a link that is fresh for certain: the others may
    /// have died together with the one that failed.
    fn reopen(self: &Arc<Self>, dial: Arc<Dial>, spec: Box<SynthesisSpec>, deadline: Duration) -> Reopen {
        let pool = Arc::clone(self);
        Box::new(move || {
            Box::pin(async move {
                let now = Instant::now();
                let until = now + deadline;
                let opened = async {
                    let slot = pool.slots.take(until).await?;
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

    /// A seat on a link for this dial, by `until`.
    async fn seat(
        self: &Arc<Self>,
        dial: &Arc<Dial>,
        born_after: Option<Instant>,
        until: Instant,
    ) -> Result<(Seat, CheckoutKind), CheckoutError> {
        let mut ticket = match self.join(dial, born_after) {
            Joined::Seated(seat, kind) => return Ok((seat, kind)),
            Joined::Waiting(ticket) => ticket,
        };
        let mut own: Option<oneshot::Receiver<Result<(), UpstreamFault>>> = None;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let again = match own {
                None => self.try_dial(dial, &mut own)?.unwrap_or(until).min(until),
                Some(_) => until,
            };
            tokio::select! {
                biased;
                Ok(seated) = &mut ticket.handed => return Ok(seated),
                dialed = outcome(&mut own) => {
                    own = None;
                    dialed?;
                }
                () = changed, if own.is_none() => {}
                () = sleep_until(again) => {
                    if Instant::now() >= until {
                        return Err(self.too_late());
                    }
                }
            }
        }
    }

    /// A free seat, or a place in the queue for one.
    fn join(self: &Arc<Self>, dial: &Arc<Dial>, born_after: Option<Instant>) -> Joined {
        let mut state = self.state();
        if let Some(Place { id, link, kind, .. }) = state.take(dial, born_after, Instant::now()) {
            return Joined::Seated(Seat::new(self, id, link), kind);
        }
        let (hand, handed) = oneshot::channel();
        let number = state.number();
        state.wait(Waiter { ticket: number, dial: Arc::clone(dial), born_after, hand });
        Joined::Waiting(Ticket { pool: Arc::clone(self), number, handed })
    }

    /// Begins a dial if there may be one, else says when to ask again.
    ///
    /// # Errors
    /// Dialling has just failed, and nothing else can bring a link.
    fn try_dial(
        self: &Arc<Self>,
        dial: &Arc<Dial>,
        own: &mut Option<oneshot::Receiver<Result<(), UpstreamFault>>>,
    ) -> Result<Option<Instant>, UpstreamFault> {
        let mut state = self.state();
        match state.reach(dial, Instant::now()) {
            Reach::Dial => {
                drop(state);
                *own = Some(self.begin_dial(Arc::clone(dial)));
                Ok(None)
            }
            Reach::Not(MayDial::Refused(fault, _)) if !state.has_hope(dial) => Err(fault),
            Reach::Not(MayDial::At(at) | MayDial::Refused(_, at)) => Ok(Some(at)),
            Reach::Not(MayDial::Now) | Reach::Full => Ok(None),
        }
    }

    fn too_late(&self) -> CheckoutError {
        let state = self.state();
        let (limit, used) = state.seats();
        if used >= limit {
            return CheckoutError::Slots { limit, used };
        }
        CheckoutError::Upstream(UpstreamFault::new(FaultKind::ConnectTimeout, "no link in time"))
    }

    /// Dials in the background, in the place that was reserved, and goes on to drive the link. It is
    /// not tied to whoever asked: should that one be served otherwise, the link becomes a spare.
    fn begin_dial(self: &Arc<Self>, dial: Arc<Dial>) -> oneshot::Receiver<Result<(), UpstreamFault>> {
        let (tell, told) = oneshot::channel();
        let pool = Arc::clone(self);
        self.drain.spawn(async move {
            let mut reserved = Reserved { pool: &pool, dial: &dial, link: None };
            let limit = pool.upstream.watchdogs.connect;
            let dialed = tokio::select! {
                () = pool.drain.cut_off() => return,
                dialed = (pool.dialer)(Arc::clone(&dial), limit) => dialed,
            };
            match dialed {
                Ok(transport) => {
                    let driver = reserved.connected(transport);
                    let _ = tell.send(Ok(()));
                    driver.run(pool.drain.clone()).await;
                }
                Err(fault) => {
                    pool.state().dials.failed(&fault, spread(), Instant::now());
                    let _ = tell.send(Err(fault));
                }
            }
        });
        told
    }

    /// Gives free seats to those who wait.
    fn serve(self: &Arc<Self>) {
        let mut state = self.state();
        let now = Instant::now();
        while let Some((waiter, Place { id, link, kind, .. })) = state.serve(now) {
            if let Err((seat, _)) = waiter.hand.send((Seat::new(self, id, link), kind)) {
                // It has just gone; under the lock a seat is given back by hand.
                seat.defuse();
                state.give_back(id, now);
            }
        }
    }

    /// Keeps spare links for the dials in use, until the relay goes away.
    async fn keep_spares(self: Arc<Self>) {
        loop {
            let (wanted, again) = self.state().spares(self.upstream.pool.warm, Instant::now());
            for dial in wanted {
                drop(self.begin_dial(dial));
            }
            let again = again.unwrap_or_else(|| Instant::now() + SPARES_EVERY);
            tokio::select! {
                () = self.drain.begun() => return,
                () = self.spares.notified() => {}
                () = sleep_until(again) => {}
            }
        }
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

/// The outcome of one's own dial; never, while there is none.
async fn outcome(
    own: &mut Option<oneshot::Receiver<Result<(), UpstreamFault>>>,
) -> Result<(), UpstreamFault> {
    match own {
        Some(told) => told.await.unwrap_or(Ok(())),
        None => std::future::pending().await,
    }
}

/// A random number from 0 to 1, for spreading things out in time.
fn spread() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

enum Joined {
    Seated(Seat, CheckoutKind),
    Waiting(Ticket),
}

/// A place in the queue for a seat, given up when dropped.
struct Ticket {
    pool: Arc<Pool>,
    number: u64,
    handed: oneshot::Receiver<(Seat, CheckoutKind)>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.pool.state().forget(self.number);
    }
}

/// The place of a link in its pool, from the dial to its end, whatever way that comes.
struct Reserved<'a> {
    pool: &'a Arc<Pool>,
    dial: &'a Arc<Dial>,
    link: Option<u64>,
}

impl Reserved<'_> {
    fn connected(&mut self, transport: Transport) -> Driver {
        let pool = self.pool;
        let mut settings = pool.settings.clone();
        // Links that were dialled together must not all grow old together.
        settings.max_age = settings.max_age.mul_f64(1.0 - 0.2 * spread());
        let seed = getrandom::u64().unwrap_or_default();
        let codec = pool.upstream.provider.codec(seed);
        let (link, driver) = Link::new(transport, codec, &settings);
        let now = Instant::now();
        {
            let mut state = pool.state();
            state.dials.succeeded();
            self.link = state.dialed(self.dial, Some(link), now);
        }
        pool.serve();
        driver
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.pool.state();
            match self.link {
                Some(id) => state.ended(id),
                None => drop(state.dialed(self.dial, None, Instant::now())),
            }
        }
        self.pool.changed.notify_waiters();
        self.pool.spares.notify_one();
    }
}

/// A seat on a link, free again when dropped.
struct Seat {
    pool: Option<Arc<Pool>>,
    id: u64,
    link: Arc<Link>,
}

impl Seat {
    fn new(pool: &Arc<Pool>, id: u64, link: Arc<Link>) -> Self {
        link.promise();
        Self { pool: Some(Arc::clone(pool)), id, link }
    }

    /// Opens a stream that holds this seat and the slot for as long as the vendor works for it.
    fn open(self, spec: Box<SynthesisSpec>, slot: Slot) -> Stream {
        let link = Arc::clone(&self.link);
        link.open(spec, Box::new((self, slot)))
    }

    /// Drops the seat without giving it back to the pool.
    fn defuse(mut self) {
        self.pool = None;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.link.release();
        if let Some(pool) = self.pool.take() {
            pool.state().give_back(self.id, Instant::now());
            pool.serve();
        }
    }
}

#[cfg(test)]
mod tests;
