//! Who guesses too often waits: failures per source address, counted over a window.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Failures within [`WINDOW`] that bring a refusal.
const FAILURES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// The first refusal, and the longest; each one after another doubles.
const SHORTEST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Sources remembered. When the table is full of sources that matter, the least recent is forgotten.
const SOURCES: usize = 10_000;

/// Counts failures by source. Knows no clock: each call brings the time.
#[derive(Debug, Default)]
pub struct Throttle {
    sources: HashMap<IpAddr, Record>,
}

#[derive(Debug)]
struct Record {
    failures: u32,
    window_began: Instant,
    refused_until: Option<Instant>,
    penalty: Duration,
    last: Instant,
}

impl Throttle {
    /// How much longer this source is refused, if it is.
    #[must_use]
    pub fn refused(&self, now: Instant, source: IpAddr) -> Option<Duration> {
        let until = self.sources.get(&source)?.refused_until?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// A credential from this source failed.
    pub fn failed(&mut self, now: Instant, source: IpAddr) {
        if !self.sources.contains_key(&source) && self.sources.len() >= SOURCES {
            self.make_room(now);
        }
        let record = self.sources.entry(source).or_insert(Record {
            failures: 0,
            window_began: now,
            refused_until: None,
            penalty: SHORTEST,
            last: now,
        });
        if now.duration_since(record.window_began) >= WINDOW {
            record.failures = 0;
            record.window_began = now;
        }
        if now.duration_since(record.last) >= LONGEST {
            record.penalty = SHORTEST;
        }
        record.last = now;
        record.failures += 1;
        if record.failures >= FAILURES {
            record.refused_until = Some(now + record.penalty);
            record.penalty = (record.penalty * 2).min(LONGEST);
            record.failures = 0;
        }
    }

    /// Sources refused now.
    #[must_use]
    pub fn refused_sources(&self, now: Instant) -> usize {
        self.sources.values().filter(|record| record.refused_until.is_some_and(|until| until > now)).count()
    }

    fn make_room(&mut self, now: Instant) {
        let stale = |record: &Record| {
            now.duration_since(record.last) >= WINDOW && record.refused_until.is_none_or(|until| until <= now)
        };
        self.sources.retain(|_, record| !stale(record));
        if self.sources.len() >= SOURCES {
            let oldest = self.sources.iter().min_by_key(|(_, record)| record.last).map(|(source, _)| *source);
            oldest.and_then(|source| self.sources.remove(&source));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn twenty_failures_in_a_minute_refuse_for_thirty_seconds_then_twice_as_long() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        fail(&mut throttle, start, 19);
        assert_eq!(throttle.refused(start, source(1)), None);
        fail(&mut throttle, start, 1);
        assert_eq!(throttle.refused(start, source(1)), Some(Duration::from_secs(30)));
        assert_eq!(throttle.refused(start, source(2)), None, "others are not touched");
        let later = start + Duration::from_secs(30);
        assert_eq!(throttle.refused(later, source(1)), None);
        fail(&mut throttle, later, 20);
        assert_eq!(throttle.refused(later, source(1)), Some(Duration::from_secs(60)));
    }

    #[test]
    fn refusals_double_up_to_fifteen_minutes_and_start_over_after_peace() {
        let (mut throttle, mut now) = (Throttle::default(), Instant::now());
        let mut told = Vec::new();
        for _ in 0..7 {
            fail(&mut throttle, now, 20);
            let left = throttle.refused(now, source(1)).unwrap();
            told.push(left.as_secs());
            now += left - Duration::from_secs(1);
        }
        assert_eq!(told, [30, 60, 120, 240, 480, 900, 900]);
        now += Duration::from_secs(900);
        fail(&mut throttle, now, 20);
        assert_eq!(throttle.refused(now, source(1)), Some(Duration::from_secs(30)));
    }

    #[test]
    fn failures_spread_over_minutes_refuse_nobody() {
        let (mut throttle, mut now) = (Throttle::default(), Instant::now());
        for _ in 0..200 {
            fail(&mut throttle, now, 1);
            now += Duration::from_secs(4);
        }
        assert_eq!(throttle.refused(now, source(1)), None);
    }

    #[test]
    fn the_table_stays_bounded_and_keeps_the_newest() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..SOURCES as u32 + 50 {
            throttle.failed(now + Duration::from_millis(number.into()), source(number));
        }
        assert_eq!(throttle.sources.len(), SOURCES);
        assert!(throttle.sources.contains_key(&source(SOURCES as u32 + 49)));
        assert!(!throttle.sources.contains_key(&source(0)));
    }

    fn fail(throttle: &mut Throttle, now: Instant, times: u32) {
        for _ in 0..times {
            throttle.failed(now, source(1));
        }
    }

    fn source(number: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + number).into()
    }
}
