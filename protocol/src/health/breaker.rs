//! The circuit breaker of one upstream.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Closed;
use crate::FaultKind;

/// So many faults in a row open it.
const IN_A_ROW: u32 = 5;
/// So do as many faults as successes, among at least [`ENOUGH`] streams in [`WINDOW`].
const ENOUGH: u32 = 20;
const WINDOW: Duration = Duration::from_secs(30);
/// The window moves in steps of this.
const STEP: Duration = Duration::from_secs(1);
/// How long it stays open; doubled each time it opens again, up to the longest.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A probe that has shown nothing in this time is followed by another.
const PROBE_WITHIN: Duration = Duration::from_secs(10);
/// After a success the share of streams let through grows from [`RAMP_FROM`] to all of them.
const RAMP: Duration = Duration::from_secs(10);
const RAMP_FROM: f64 = 0.1;
/// But one in this time always is, so that an upstream in little use is back at once.
const RAMP_LEAST: Duration = Duration::from_millis(333);

/// Closed: streams pass. Open: none does. Half open: one does, and decides.
#[derive(Debug)]
pub struct Breaker {
    state: State,
    /// Counts the changes of `state` that make what began before them worthless.
    epoch: u64,
    in_a_row: u32,
    /// At most one entry per step of the window.
    recent: VecDeque<Sample>,
    /// Times it has opened without being wholly closed in between.
    openings: u32,
    origin: Instant,
}

#[derive(Debug)]
enum State {
    Closed,
    Ramp {
        since: Instant,
        /// Streams earned and not let through yet.
        earned: f64,
        last: Option<Instant>,
    },
    /// Nothing passes before `until`. While a probe runs, that is when the next may.
    Open {
        until: Instant,
        probing: bool,
    },
}

/// Streams whose outcome came in one step of time.
#[derive(Debug)]
struct Sample {
    step: u128,
    streams: u32,
    faults: u32,
}

impl Breaker {
    /// Closed, with nothing in its memory.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let recent = VecDeque::new();
        Self { state: State::Closed, epoch: 0, in_a_row: 0, recent, openings: 0, origin: now }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether a stream could pass now.
    pub(super) fn check(&self, now: Instant) -> Result<(), Closed> {
        match self.state {
            State::Open { until, .. } if now < until => Err(Closed::new(FaultKind::Refused, until - now)),
            _ => Ok(()),
        }
    }

    /// Lets a stream pass, as of the epoch given back.
    pub(super) fn admit(&mut self, now: Instant) -> Result<u64, Closed> {
        self.check(now)?;
        match &mut self.state {
            State::Closed => {}
            State::Open { .. } => {
                self.epoch += 1;
                self.state = State::Open { until: now + PROBE_WITHIN, probing: true };
            }
            State::Ramp { since, .. } if now >= *since + RAMP => {
                self.openings = 0;
                self.state = State::Closed;
            }
            State::Ramp { since, earned, last } => {
                let done = now.duration_since(*since).as_secs_f64() / RAMP.as_secs_f64();
                *earned += RAMP_FROM + (1.0 - RAMP_FROM) * done;
                let due = last.is_none_or(|last| now >= last + RAMP_LEAST);
                if *earned < 1.0 && !due {
                    return Err(Closed::new(FaultKind::Refused, RAMP_LEAST));
                }
                *earned = (*earned - 1.0).max(0.0);
                *last = Some(now);
            }
        }
        Ok(self.epoch)
    }

    /// A stream of that epoch was spoken.
    pub(super) fn succeeded(&mut self, epoch: u64, now: Instant) {
        if epoch != self.epoch {
            return;
        }
        match self.state {
            State::Closed | State::Ramp { .. } => {
                self.in_a_row = 0;
                self.remember(false, now);
            }
            State::Open { probing: true, .. } => {
                self.epoch += 1;
                self.state = State::Ramp { since: now, earned: 0.0, last: None };
            }
            State::Open { probing: false, .. } => {}
        }
    }

    /// A stream of that epoch failed by the vendor's fault; `draw` is random, 0 to 1.
    pub(super) fn failed(&mut self, epoch: u64, draw: f64, now: Instant) {
        if epoch != self.epoch {
            return;
        }
        match self.state {
            State::Closed | State::Ramp { .. } => {
                self.in_a_row += 1;
                self.remember(true, now);
                let (streams, faults) = self.counts();
                if self.in_a_row >= IN_A_ROW || streams >= ENOUGH && faults * 2 >= streams {
                    self.open(draw, now);
                }
            }
            State::Open { probing: true, .. } => self.open(draw, now),
            State::Open { probing: false, .. } => {}
        }
    }

    /// A stream of that epoch has shown nothing. If it was the probe, the next one is it.
    pub(super) fn abandoned(&mut self, epoch: u64, now: Instant) {
        if let State::Open { until, probing } = &mut self.state
            && *probing
            && epoch == self.epoch
        {
            (*until, *probing) = (now, false);
        }
    }

    fn open(&mut self, draw: f64, now: Instant) {
        let pause = PAUSE.saturating_mul(2_u32.saturating_pow(self.openings)).min(PAUSE_MAX);
        self.openings += 1;
        self.epoch += 1;
        self.in_a_row = 0;
        self.recent.clear();
        let until = now + pause.mul_f64(0.8 + 0.4 * draw.clamp(0.0, 1.0));
        self.state = State::Open { until, probing: false };
    }

    fn remember(&mut self, fault: bool, now: Instant) {
        let step = now.duration_since(self.origin).as_nanos() / STEP.as_nanos();
        let first = (step + 1).saturating_sub(WINDOW.as_nanos() / STEP.as_nanos());
        while self.recent.front().is_some_and(|sample| sample.step < first) {
            self.recent.pop_front();
        }
        if self.recent.back().is_none_or(|sample| sample.step < step) {
            self.recent.push_back(Sample { step, streams: 0, faults: 0 });
        }
        if let Some(sample) = self.recent.back_mut() {
            sample.streams = sample.streams.saturating_add(1);
            sample.faults = sample.faults.saturating_add(u32::from(fault));
        }
    }

    fn counts(&self) -> (u32, u32) {
        self.recent.iter().fold((0, 0), |(streams, faults), sample| {
            (sample.streams.saturating_add(streams), sample.faults.saturating_add(faults))
        })
    }

    /// Whether nothing passes but a probe.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }
}
