//! Where the milliseconds to the first audio went.

use std::time::{Duration, Instant};

use crate::reply::Timing;

/// The moments of one stream, each set once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamps {
    started: Instant,
    text: Option<Instant>,
    checkout: Instant,
    slot: Option<Instant>,
    link: Option<Instant>,
    sent: Option<Instant>,
    audio: Option<Instant>,
}

impl Stamps {
    pub(super) fn new(now: Instant) -> Self {
        Self { started: now, text: None, checkout: now, slot: None, link: None, sent: None, audio: None }
    }

    pub(super) fn text(&mut self, now: Instant) {
        self.text.get_or_insert(now);
    }

    /// Another route was taken: what the first one cost stays in `relay_ms`.
    pub(super) fn checkout(&mut self, now: Instant) {
        self.checkout = now;
        self.slot = None;
        self.link = None;
        self.sent = None;
    }

    pub(super) fn leased(&mut self, queued: Duration, connected: Duration) {
        let slot = self.checkout + queued;
        self.slot = Some(slot);
        self.link = Some(slot + connected);
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.sent.get_or_insert(now);
    }

    pub(super) fn audio(&mut self, now: Instant) {
        self.audio.get_or_insert(now);
    }

    /// The wait for the first audio, which went `out` then, and its parts. It begins when there is
    /// something to speak: at the first text, or at the start if that came later. Without audio there
    /// was no wait for it.
    pub(super) fn timing(&self, auth: Duration, out: Option<Instant>) -> (Option<f64>, Timing) {
        let mut timing = Timing { auth_ms: ms(micros(auth)), ..Timing::default() };
        let (Some(out), Some(text), Some(audio)) = (out, self.text, self.audio) else {
            return (None, timing);
        };
        let from = text.max(self.started);
        let within = |begin: Option<Instant>, end: Option<Instant>| match (begin, end) {
            (Some(begin), Some(end)) => micros(end.min(out).saturating_duration_since(begin.max(from))),
            _ => 0,
        };
        let total = micros(out.saturating_duration_since(from));
        let queue = within(Some(self.checkout), self.slot);
        let connect = within(self.slot, self.link);
        let upstream = within(self.sent.max(self.link), Some(audio));
        timing.queue_ms = ms(queue);
        timing.connect_ms = ms(connect);
        timing.upstream_ms = ms(upstream);
        timing.relay_ms = ms(total.saturating_sub(queue + connect + upstream));
        (Some(ms(total)), timing)
    }
}

/// Microseconds are all that can be told apart; more digits would only be noise on the wire.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "exact up to 285 years")]
fn ms(micros: u64) -> f64 {
    micros as f64 / 1e3
}
