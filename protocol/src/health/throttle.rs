//! How many streams a vendor really takes, when it has said "too many".

use std::time::{Duration, Instant};

/// One more stream is tried after each of these.
const GROW_EVERY: Duration = Duration::from_secs(10);
/// Refusals that come together halve the streams once.
const TOGETHER: Duration = Duration::from_secs(1);
/// A vendor's own advice is followed up to this.
const ADVICE_MAX: Duration = Duration::from_secs(60);

/// Streams that may run: as many as configured, until the vendor refuses one.
#[derive(Debug)]
pub struct Throttle {
    most: usize,
    /// What was left at the last halving, and when that was.
    cut: Option<(usize, Instant)>,
    /// Refusals before this belong to the last halving.
    deaf: Option<Instant>,
    /// The vendor wants none before this.
    held: Option<Instant>,
}

impl Throttle {
    /// All of `most` may run.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, cut: None, deaf: None, held: None }
    }

    /// How many may run now.
    #[must_use]
    pub fn slots(&self, now: Instant) -> usize {
        let Some((left, since)) = self.cut else { return self.most };
        let grown = now.duration_since(since).as_nanos() / GROW_EVERY.as_nanos();
        left.saturating_add(usize::try_from(grown).unwrap_or(usize::MAX)).min(self.most)
    }

    /// How long the vendor wants no stream at all.
    #[must_use]
    pub fn held(&self, now: Instant) -> Option<Duration> {
        self.held.filter(|until| now < *until).map(|until| until - now)
    }

    /// The vendor has refused a stream while `running` of them ran, and gave this advice.
    pub fn refused(&mut self, running: usize, retry_after: Option<Duration>, now: Instant) {
        let advice = retry_after.map(|advice| advice.min(ADVICE_MAX));
        if let Some(advice) = advice {
            self.held = self.held.max(Some(now + advice));
        }
        if self.deaf.is_some_and(|until| now < until) {
            return;
        }
        let half = self.slots(now).min(running.max(1)) / 2;
        self.cut = Some((half.max(1).min(self.most), now));
        self.deaf = Some(now + advice.unwrap_or_default().max(TOGETHER));
    }
}
