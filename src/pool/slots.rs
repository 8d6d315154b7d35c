//! The account's budget of running streams: first come, first served, with a deadline.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::CheckoutError;

/// A slot, free again when dropped.
pub(super) type Slot = OwnedSemaphorePermit;

#[derive(Debug)]
pub(super) struct Slots {
    limit: usize,
    free: Arc<Semaphore>,
}

impl Slots {
    pub(super) fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { limit, free: Arc::new(Semaphore::new(limit)) }
    }

    /// Waits for a slot, in order of asking.
    pub(super) async fn take(&self, until: Instant) -> Result<Slot, CheckoutError> {
        match timeout_at(until, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(slot)) => Ok(slot),
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
