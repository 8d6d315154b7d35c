//! When a pool may dial: so many a second, and after failures not at once. Pure; the time and the
//! random numbers are arguments.

use std::time::Duration;

use tokio::time::Instant;
use voxrelay_protocol::{FaultClass, UpstreamFault};

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A credential that was refused is tried again after this.
const ACCOUNT_BACKOFF: Duration = Duration::from_secs(60);
/// A vendor that says "too many" without saying until when.
const RATE_BACKOFF: Duration = Duration::from_secs(1);
/// A vendor's own advice is followed up to this.
const ADVICE_MAX: Duration = Duration::from_secs(60);

/// The answer to "may I dial?".
#[derive(Debug, Clone, PartialEq)]
pub(super) enum MayDial {
    /// Yes, and a token is spent.
    Now,
    /// Not before this: the rate is spent.
    At(Instant),
    /// Dialling has just failed like this; not before then.
    Refused(UpstreamFault, Instant),
}

#[derive(Debug)]
pub(super) struct Dials {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
    failures: u32,
    refused: Option<(UpstreamFault, Instant)>,
}

impl Dials {
    pub(super) fn new(per_second: f64, now: Instant) -> Self {
        let per_second = per_second.max(0.01);
        let burst = per_second.ceil().max(1.0);
        Self { per_second, burst, tokens: burst, filled: now, failures: 0, refused: None }
    }

    /// Whether a stream that waits may dial.
    pub(super) fn ask(&mut self, now: Instant) -> MayDial {
        self.take(1.0, now)
    }

    /// Whether a spare may be dialled: only while a token is left for the next stream.
    pub(super) fn ask_for_spare(&mut self, now: Instant) -> MayDial {
        self.take(self.burst.min(2.0), now)
    }

    fn take(&mut self, needed: f64, now: Instant) -> MayDial {
        if let Some((fault, until)) = &self.refused
            && now < *until
        {
            let mut fault = fault.clone();
            fault.retry_after_ms = Some(until.duration_since(now).as_millis() as u64);
            return MayDial::Refused(fault, *until);
        }
        let earned = now.duration_since(self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + earned).min(self.burst);
        self.filled = now;
        if self.tokens < needed {
            let wait = Duration::from_secs_f64((needed - self.tokens) / self.per_second);
            return MayDial::At(now + wait + Duration::from_millis(1));
        }
        self.tokens -= 1.0;
        MayDial::Now
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.refused = None;
    }

    /// `spread` is random, 0 to 1.
    pub(super) fn failed(&mut self, fault: &UpstreamFault, spread: f64, now: Instant) {
        let advice = fault.retry_after_ms.map(|ms| Duration::from_millis(ms).min(ADVICE_MAX));
        let pause = match fault.kind.class() {
            // One caller's voice or option is in the address: nobody else's dial is the worse for it.
            FaultClass::Input => return,
            FaultClass::Account | FaultClass::Quota => ACCOUNT_BACKOFF,
            FaultClass::Rate => advice.unwrap_or(RATE_BACKOFF),
            _ => advice.unwrap_or(BACKOFF_FIRST * 2_u32.pow(self.failures.min(6))).min(BACKOFF_MAX),
        };
        self.failures = self.failures.saturating_add(1);
        // Never shorter than advised, and spread so that relays do not come back together.
        let until = now + pause.mul_f64(1.0 + 0.2 * spread);
        self.refused = Some((fault.clone(), until));
    }
}

#[cfg(test)]
mod tests {
    use voxrelay_protocol::FaultKind;

    use super::*;

    #[test]
    fn a_refused_voice_holds_up_no_other_dial() {
        let now = Instant::now();
        let mut dials = Dials::new(5.0, now);
        dials.failed(&UpstreamFault::new(FaultKind::Rejected, "a voice"), 0.0, now);
        assert_eq!(dials.ask(now), MayDial::Now);
        dials.failed(&UpstreamFault::new(FaultKind::Refused, "an outage"), 0.0, now);
        assert_ne!(dials.ask(now), MayDial::Now);
    }

    #[test]
    fn dials_come_in_a_burst_and_then_at_the_rate() {
        let start = Instant::now();
        let mut dials = Dials::new(5.0, start);
        assert!((0..5).all(|_| dials.ask(start) == MayDial::Now));
        let MayDial::At(next) = dials.ask(start) else { panic!("over the rate") };
        assert_eq!(dials.ask(next), MayDial::Now);
        let in_a_second = (0..1000).filter(|ms| dials.ask(next + Duration::from_millis(*ms)) == MayDial::Now);
        assert!(in_a_second.count() <= 5);
    }

    #[test]
    fn a_spare_leaves_a_token_for_a_stream() {
        let start = Instant::now();
        let mut dials = Dials::new(2.0, start);
        assert_eq!(dials.ask_for_spare(start), MayDial::Now);
        assert!(matches!(dials.ask_for_spare(start), MayDial::At(_)));
        assert_eq!(dials.ask(start), MayDial::Now);
    }

    #[test]
    fn failures_are_answered_at_once_until_the_pause_is_over() {
        let start = Instant::now();
        for (kind, advice, least, most) in [
            (FaultKind::Refused, None, 100, 120),
            (FaultKind::Http5xx, Some(2_000), 2_000, 2_400),
            (FaultKind::Http5xx, Some(60_000), 5_000, 6_000),
            (FaultKind::Throttled, Some(30_000), 30_000, 36_000),
            (FaultKind::Auth, None, 60_000, 72_000),
            (FaultKind::Payment, Some(10), 60_000, 72_000),
        ] {
            for (spread, ms) in [(0.0, least), (1.0, most)] {
                let mut dials = Dials::new(5.0, start);
                let fault = UpstreamFault { retry_after_ms: advice, ..UpstreamFault::new(kind, "") };
                dials.failed(&fault, spread, start);
                let MayDial::Refused(told, until) = dials.ask(start) else { panic!("{kind:?}") };
                assert_eq!((told.kind, told.retry_after_ms), (kind, Some(ms)));
                assert_eq!(dials.ask(until), MayDial::Now);
            }
        }
    }

    #[test]
    fn the_pause_doubles_up_to_its_bound_and_ends_with_a_success() {
        let mut now = Instant::now();
        let mut dials = Dials::new(100.0, now);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            dials.failed(&UpstreamFault::new(FaultKind::Refused, ""), 0.0, now);
            let MayDial::Refused(fault, until) = dials.ask(now) else { panic!("no pause") };
            pauses.push(fault.retry_after_ms.unwrap());
            now = until;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        dials.succeeded();
        assert_eq!(dials.ask(now), MayDial::Now);
    }
}
