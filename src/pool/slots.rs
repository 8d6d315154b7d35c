//! The account's budget of running streams: first come, first served, with a deadline.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::CheckoutError;
use crate::metrics::{Held, UpstreamMetrics};

/// A slot, free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
    _counted: Held,
}

#[derive(Debug)]
pub(super) struct Slots {
    limit: usize,
    free: Arc<Semaphore>,
    metrics: Arc<UpstreamMetrics>,
}

impl Slots {
    pub(super) fn new(limit: usize, metrics: &Arc<UpstreamMetrics>) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        metrics.slots_limit(limit);
        Self { limit, free: Arc::new(Semaphore::new(limit)), metrics: Arc::clone(metrics) }
    }

    /// Waits for a slot, in order of asking.
    pub(super) async fn take(&self, until: Instant) -> Result<Slot, CheckoutError> {
        let asked = Instant::now();
        let _waiter = self.metrics.slot_waiter();
        match timeout_at(until, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(permit)) => {
                Ok(Slot { _permit: permit, _counted: self.metrics.slot_taken(asked.elapsed()) })
            }
            Ok(Err(_)) | Err(_) => {
                Err(CheckoutError::Slots { limit: self.limit as u64, used: self.used() as u64 })
            }
        }
    }

    pub(super) fn used(&self) -> usize {
        self.limit - self.free.available_permits()
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }
}
