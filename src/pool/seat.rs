//! Seats: found on a live link, or waited for while dialling for oneself.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use voxrelay_protocol::provider::Dial;
use voxrelay_protocol::{FaultKind, SynthesisSpec, UpstreamFault};

use super::dials::MayDial;
use super::slots::Slot;
use super::state::{Place, Reach, Waiter};
use super::{CheckoutError, Pool};
use crate::lease::CheckoutKind;
use crate::link::{Link, Stream};

/// How one's own dial went.
type Told = oneshot::Receiver<Result<(), UpstreamFault>>;

impl Pool {
    /// A seat on a link for this dial, by `until`.
    pub(super) async fn seat(
        self: &Arc<Self>,
        dial: &Arc<Dial>,
        born_after: Option<Instant>,
        until: Instant,
    ) -> Result<(Seat, CheckoutKind), CheckoutError> {
        let mut ticket = match self.join(dial, born_after) {
            Joined::Seated(seat, kind) => return Ok((seat, kind)),
            Joined::Waiting(ticket) => ticket,
        };
        let mut own: Option<Told> = None;
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
        own: &mut Option<Told>,
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

    /// Gives free seats to those who wait.
    pub(super) fn serve(self: &Arc<Self>) {
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
}

/// The outcome of one's own dial; never, while there is none.
async fn outcome(own: &mut Option<Told>) -> Result<(), UpstreamFault> {
    match own {
        Some(told) => told.await.unwrap_or(Ok(())),
        None => std::future::pending().await,
    }
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

/// A seat on a link, free again when dropped.
pub(super) struct Seat {
    pool: Option<Arc<Pool>>,
    id: u64,
    link: Arc<Link>,
}

impl Seat {
    pub(super) fn new(pool: &Arc<Pool>, id: u64, link: Arc<Link>) -> Self {
        link.promise();
        Self { pool: Some(Arc::clone(pool)), id, link }
    }

    /// Opens a stream that holds this seat and the slot for as long as the vendor works for it.
    pub(super) fn open(self, spec: Box<SynthesisSpec>, slot: Slot) -> Stream {
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
