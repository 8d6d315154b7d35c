//! How long an upstream that owes something has been silent.

use std::time::Instant;

use crate::FaultKind;
use crate::session::RouteFacts;

#[derive(Debug)]
pub(super) struct Watch {
    since: Instant,
    /// Audio has come since the upstream began to owe something.
    heard: bool,
}

impl Watch {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, heard: false }
    }

    /// From now on something may be owed; nothing was before.
    pub(super) fn begin(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    pub(super) fn life(&mut self, now: Instant, audio: bool) {
        self.since = now;
        self.heard |= audio;
    }

    /// The silence until now was not the upstream's.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.since = now;
    }

    /// When the silence is too long, and what it is called then. With `all_spoken` nothing is owed any
    /// more but the end.
    pub(super) fn limit(&self, route: &RouteFacts, all_spoken: bool) -> (Instant, FaultKind) {
        if all_spoken {
            (self.since + route.end, FaultKind::NoEnd)
        } else if self.heard {
            (self.since + route.gap, FaultKind::Stalled)
        } else {
            (self.since + route.first_audio, FaultKind::FirstAudio)
        }
    }
}
