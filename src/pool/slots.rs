//! The account's budget of running streams: who waits, in fair order and with a deadline. The order
//! itself is [`FairSlots`]; here are its lock, its waiters and their time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use voxrelay_protocol::health::Throttle;
use voxrelay_protocol::slots::{Asked, FairSlots, Need, Ticket};
use voxrelay_protocol::{FaultKind, UpstreamFault};

use super::{Asker, CheckoutError};
use crate::metrics::{Held, UpstreamMetrics};

/// Told when there is a slot; dropped when there is no place in the queue any more.
type Hand = oneshot::Sender<()>;
/// How often one who waits looks for slots that have come back with time.
const LOOK: Duration = Duration::from_secs(1);

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
    queue: Mutex<Queue>,
    metrics: Arc<UpstreamMetrics>,
}

#[derive(Debug)]
struct Queue {
    fair: Fair,
    throttle: Throttle,
}

impl Slots {
    pub(super) fn new(limit: usize, queue: usize, metrics: &Arc<UpstreamMetrics>) -> Arc<Self> {
        metrics.slots_limit(limit);
        let queue = Mutex::new(Queue { fair: Fair::new(limit, queue), throttle: Throttle::new(limit) });
        Arc::new(Self { queue, metrics: Arc::clone(metrics) })
    }

    /// Waits for a slot, in turn with other askers.
    pub(super) async fn take(self: &Arc<Self>, asker: &Asker, until: Instant) -> Result<Slot, CheckoutError> {
        let asked = Instant::now();
        let _waiter = self.metrics.slot_waiter();
        let (hand, handed) = oneshot::channel();
        let answer = {
            let mut queue = self.queue();
            if let Some(held) = queue.throttle.held(asked.into_std()) {
                return Err(throttled(held).into());
            }
            self.turn(&mut queue);
            queue.fair.ask(asker.clone(), Need::FirstAudio, hand)
        };
        match answer {
            Asked::Granted(_) => Ok(self.slot(asked)),
            Asked::Full(_) => Err(self.taken()),
            // Dropping the hand of the one who lost its place tells it.
            Asked::Waiting { ticket, displaced } => {
                drop(displaced);
                let waiting = Waiting { slots: self, ticket, handed, over: false };
                waiting.until(until).await?;
                Ok(self.slot(asked))
            }
        }
    }

    /// The vendor has refused a stream as one too many, with this advice when to come back.
    pub(super) fn refused(&self, retry_after: Option<Duration>) {
        let mut queue = self.queue();
        let running = queue.fair.running();
        queue.throttle.refused(running, retry_after, Instant::now().into_std());
        self.turn(&mut queue);
    }

    pub(super) fn used(&self) -> usize {
        self.queue().fair.running()
    }

    pub(super) fn limit(&self) -> usize {
        self.queue().fair.limit()
    }

    fn slot(self: &Arc<Self>, asked: Instant) -> Slot {
        Slot { slots: Arc::clone(self), _counted: self.metrics.slot_taken(asked.elapsed()) }
    }

    fn taken(&self) -> CheckoutError {
        let fair = &self.queue().fair;
        CheckoutError::Slots { limit: fair.limit() as u64, used: fair.running() as u64 }
    }

    /// Gives free slots to those who wait, as many as there are at this time.
    fn turn(&self, queue: &mut Queue) {
        let now = Instant::now().into_std();
        let limit = queue.throttle.slots(now);
        if limit != queue.fair.limit() {
            queue.fair.set_limit(limit);
            self.metrics.slots_limit(limit);
        }
        if queue.throttle.held(now).is_some() {
            return;
        }
        while let Some(hand) = queue.fair.grant() {
            if hand.send(()).is_err() {
                queue.fair.give_back();
            }
        }
    }

    fn give_back(&self) {
        let mut queue = self.queue();
        queue.fair.give_back();
        self.turn(&mut queue);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn throttled(held: Duration) -> UpstreamFault {
    let ms = u64::try_from(held.as_millis()).unwrap_or(u64::MAX).max(1);
    let fault = UpstreamFault::new(FaultKind::Throttled, "the vendor wants no stream now");
    UpstreamFault { retry_after_ms: Some(ms), ..fault }
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

impl Waiting<'_> {
    /// Waits for a slot. Slots that come back with time and not with a stream's end are given out by
    /// whoever waits for them.
    async fn until(mut self, until: Instant) -> Result<(), CheckoutError> {
        loop {
            tokio::select! {
                biased;
                handed = &mut self.handed => {
                    self.over = handed.is_ok();
                    return handed.map_err(|_| self.slots.taken());
                }
                () = sleep_until(until.min(Instant::now() + LOOK)) => {
                    if Instant::now() >= until {
                        return Err(self.slots.taken());
                    }
                    self.slots.turn(&mut self.slots.queue());
                }
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // A slot that was handed over and never picked up goes to the next one.
        let mut queue = self.slots.queue();
        queue.fair.leave(self.ticket);
        if self.handed.try_recv().is_ok() {
            queue.fair.give_back();
        }
        self.slots.turn(&mut queue);
    }
}
