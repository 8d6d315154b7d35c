//! Whether the upstream takes our credential.

use std::time::{Duration, Instant};

use super::Closed;
use crate::FaultKind;

/// A refused credential is tried again this often.
const TRY_EVERY: Duration = Duration::from_secs(60);

/// Good until it is refused; then one stream in a while tries it.
#[derive(Debug, Default)]
pub struct Credential {
    /// How it was refused, and when the next stream may try it.
    bad: Option<(FaultKind, Instant)>,
}

impl Credential {
    /// Whether a stream may use it now.
    pub(super) fn check(&self, now: Instant) -> Result<(), Closed> {
        match self.bad {
            Some((kind, until)) if now < until => Err(Closed::new(kind, until - now)),
            _ => Ok(()),
        }
    }

    /// A stream that was checked uses it. If it tries a bad one: when the next may.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Instant> {
        let (_, until) = self.bad.as_mut()?;
        *until = now + TRY_EVERY;
        Some(*until)
    }

    /// The stream that tried it was spoken.
    pub(super) fn succeeded(&mut self) {
        self.bad = None;
    }

    /// It was refused.
    pub(super) fn failed(&mut self, kind: FaultKind, now: Instant) {
        self.bad = Some((kind, now + TRY_EVERY));
    }

    /// The stream that was to try it, and after which the next was to be at `next`, has not: unless it
    /// was refused meanwhile, the next one may.
    pub(super) fn abandoned(&mut self, next: Option<Instant>, now: Instant) {
        if let Some((_, until)) = &mut self.bad
            && next == Some(*until)
        {
            *until = now;
        }
    }

    /// Whether it was refused the last time it was tried.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.bad.is_some()
    }
}
