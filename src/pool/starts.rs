//! How often a dial has been asked for of late: a new link takes a good part of a second, and those who
//! start in that time should find one.

use std::time::Duration;

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(1);

/// Starts in this second and in the one before.
#[derive(Debug)]
pub(super) struct Starts {
    since: Instant,
    now: usize,
    before: usize,
}

impl Starts {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, now: 0, before: 0 }
    }

    pub(super) fn note(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        if passed >= WINDOW {
            self.before = if passed < WINDOW * 2 { self.now } else { 0 };
            self.now = 0;
            self.since = now;
        }
        self.now = self.now.saturating_add(1);
    }

    /// The most there were in a second, of the last two.
    pub(super) fn in_a_second(&self, now: Instant) -> usize {
        match now.saturating_duration_since(self.since) {
            passed if passed < WINDOW => self.now.max(self.before),
            passed if passed < WINDOW * 2 => self.now,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busier_of_two_seconds_counts_and_is_forgotten() {
        let start = Instant::now();
        let mut starts = Starts::new(start);
        for _ in 0..5 {
            starts.note(start);
        }
        assert_eq!(starts.in_a_second(start), 5);
        starts.note(start + WINDOW);
        assert_eq!(starts.in_a_second(start + WINDOW), 5);
        assert_eq!(starts.in_a_second(start + WINDOW * 2), 1);
        assert_eq!(starts.in_a_second(start + WINDOW * 3), 0);
        starts.note(start + WINDOW * 9);
        assert_eq!(starts.in_a_second(start + WINDOW * 9), 1);
    }
}
