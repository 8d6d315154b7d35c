//! How often a stream may be tried a second time on the same upstream.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What counts as now.
const WINDOW: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_secs(1);
/// Second tries for each so many starts in the window.
const STARTS_PER_RETRY: u64 = 5;
/// But three a second are always allowed: links that an idle vendor has closed come to few streams.
const LEAST: u64 = 3 * (WINDOW.as_secs() / STEP.as_secs());

/// Starts and second tries of the last seconds.
#[derive(Debug)]
pub struct Retries {
    origin: Instant,
    /// Step, starts, second tries; at most one entry per step of the window.
    recent: VecDeque<(u128, u64, u64)>,
}

impl Retries {
    /// With nothing in its memory.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { origin: now, recent: VecDeque::new() }
    }

    /// A stream was started for the first time.
    pub fn started(&mut self, now: Instant) {
        self.present(now).1 += 1;
    }

    /// Whether one more second try is allowed; if so it is counted.
    pub fn allow(&mut self, now: Instant) -> bool {
        self.present(now);
        let (starts, retries) =
            self.recent.iter().fold((0, 0), |sum, (_, starts, retries)| (sum.0 + starts, sum.1 + retries));
        let allowed = retries < LEAST || (retries + 1) * STARTS_PER_RETRY <= starts;
        if allowed {
            self.present(now).2 += 1;
        }
        allowed
    }

    fn present(&mut self, now: Instant) -> &mut (u128, u64, u64) {
        let step = now.duration_since(self.origin).as_nanos() / STEP.as_nanos();
        let first = (step + 1).saturating_sub(WINDOW.as_nanos() / STEP.as_nanos());
        self.recent.retain(|(at, ..)| *at >= first);
        if self.recent.back().is_none_or(|(at, ..)| *at < step) {
            self.recent.push_back((step, 0, 0));
        }
        let last = self.recent.len() - 1;
        &mut self.recent[last]
    }
}
