//! The account's budget of running streams: who waits, in fair order and with a deadline. The order
//! itself is [`FairSlots`]; here are its lock, its waiters and their time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use voxrelay_protocol::slots::{Asked, FairSlots, Need, Ticket};

use super::{Asker, CheckoutError};
use crate::metrics::{Held, UpstreamMetrics};

/// Told when there is a slot; dropped when there is no place in the queue any more.
type Hand = oneshot::Sender<()>;
type Fair = FairSlots<Asker, Hand>;

/// A slot, free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    _counted: Held,
}

#[derive(Debug)]
pub(super) struct Slots {
    /// Its queue is bounded by `limits.queue_streams`; over it whoever has most there is refused. Seen
    /// in `slot_waiters` and `checkouts_total{result="refused"}`.
    fair: Mutex<Fair>,
    metrics: Arc<UpstreamMetrics>,
}

impl Slots {
    pub(super) fn new(limit: usize, queue: usize, metrics: &Arc<UpstreamMetrics>) -> Arc<Self> {
        metrics.slots_limit(limit);
        let fair = Mutex::new(Fair::new(limit, queue));
        Arc::new(Self { fair, metrics: Arc::clone(metrics) })
    }

    /// Waits for a slot, in turn with other askers.
    pub(super) async fn take(self: &Arc<Self>, asker: &Asker, until: Instant) -> Result<Slot, CheckoutError> {
        let asked = Instant::now();
        let _waiter = self.metrics.slot_waiter();
        let (hand, handed) = oneshot::channel();
        let answer = self.fair().ask(asker.clone(), Need::FirstAudio, hand);
        match answer {
            Asked::Granted(_) => return Ok(self.slot(asked)),
            Asked::Full(_) => return Err(self.taken()),
            // Dropping the hand of the one who lost its place tells it.
            Asked::Waiting { ticket, displaced } => {
                drop(displaced);
                let mut waiting = Waiting { slots: self, ticket, handed, over: false };
                match timeout_at(until, &mut waiting.handed).await {
                    Ok(Ok(())) => {
                        waiting.over = true;
                        Ok(self.slot(asked))
                    }
                    Ok(Err(_)) | Err(_) => Err(self.taken()),
                }
            }
        }
    }

    pub(super) fn used(&self) -> usize {
        self.fair().running()
    }

    pub(super) fn limit(&self) -> usize {
        self.fair().limit()
    }

    fn slot(self: &Arc<Self>, asked: Instant) -> Slot {
        Slot { slots: Arc::clone(self), _counted: self.metrics.slot_taken(asked.elapsed()) }
    }

    fn taken(&self) -> CheckoutError {
        let fair = self.fair();
        CheckoutError::Slots { limit: fair.limit() as u64, used: fair.running() as u64 }
    }

    /// Gives free slots to those who wait.
    fn serve(fair: &mut Fair) {
        while let Some(hand) = fair.grant() {
            if hand.send(()).is_err() {
                fair.give_back();
            }
        }
    }

    fn give_back(&self) {
        let mut fair = self.fair();
        fair.give_back();
        Self::serve(&mut fair);
    }

    fn fair(&self) -> MutexGuard<'_, Fair> {
        self.fair.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.give_back();
    }
}

/// A place in the queue, given up when dropped.
struct Waiting<'a> {
    slots: &'a Slots,
    ticket: Ticket,
    handed: oneshot::Receiver<()>,
    over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // A slot that was handed over and never picked up goes to the next one.
        let mut fair = self.slots.fair();
        fair.leave(self.ticket);
        if self.handed.try_recv().is_ok() {
            fair.give_back();
        }
        Slots::serve(&mut fair);
    }
}
