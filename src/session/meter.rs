//! How fast a client may send: a bucket that takes the time as an argument.

use std::time::{Duration, Instant};

/// A token bucket.
#[derive(Debug)]
pub struct Meter {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Meter {
    /// A full bucket of `burst` that gains `per_second`.
    #[must_use]
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self {
            per_second: f64::from(per_second.max(1)),
            burst: f64::from(burst.max(1)),
            tokens: f64::from(burst.max(1)),
            at: now,
        }
    }

    /// Takes one; when that was the last, how long to wait before the next.
    ///
    /// # Errors
    /// The wait.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.at = now;
        self.tokens = (self.tokens + gained).min(self.burst) - 1.0;
        if self.tokens >= 1.0 {
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_waits_for_the_rate() {
        let now = Instant::now();
        let mut meter = Meter::new(100, 10, now);
        for _ in 0..9 {
            assert_eq!(meter.take(now), Ok(()));
        }
        assert_eq!(meter.take(now), Err(Duration::from_millis(10)));
        let later = now + Duration::from_millis(20);
        assert_eq!(meter.take(later), Ok(()));
    }
}
