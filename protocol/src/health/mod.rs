//! Whether an upstream is worth trying now. Pure; the time and the random numbers are arguments.
//!
//! Faults of the vendor open the [`Breaker`], faults of the account make its [`Credential`] bad, faults of
//! rate narrow the [`Throttle`], and faults of the input say nothing about the upstream. Both the breaker
//! and the credential let one stream through as a probe when their pause is over.

mod breaker;
mod credential;
mod retries;
mod throttle;

use std::time::{Duration, Instant};

pub use breaker::Breaker;
pub use credential::Credential;
pub use retries::Retries;
pub use throttle::Throttle;

use crate::{FaultClass, FaultKind, UpstreamFault};

/// What an upstream's streams have shown of it.
#[derive(Debug)]
pub struct Health {
    breaker: Breaker,
    credential: Credential,
}

/// What a stream was let through as. Its outcome is told with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Of the breaker when it was let through: what began before a change proves nothing after it.
    epoch: u64,
    /// When the next stream may try the bad credential, if this one tries it.
    credential: Option<Instant>,
}

/// Why no stream is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// How it is called towards the session.
    pub kind: FaultKind,
    /// When it is worth asking again.
    pub retry_after: Duration,
}

impl Closed {
    fn new(kind: FaultKind, retry_after: Duration) -> Self {
        Self { kind, retry_after }
    }
}

impl Health {
    /// An upstream nothing is known of: trusted.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { breaker: Breaker::new(now), credential: Credential::default() }
    }

    /// Whether a stream would be let through now; changes nothing.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, now: Instant) -> Result<(), Closed> {
        self.credential.check(now)?;
        self.breaker.check(now)
    }

    /// Lets a stream through.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&mut self, now: Instant) -> Result<Pass, Closed> {
        self.credential.check(now)?;
        let epoch = self.breaker.admit(now)?;
        Ok(Pass { epoch, credential: self.credential.admit(now) })
    }

    /// The stream was spoken.
    pub fn succeeded(&mut self, pass: Pass, now: Instant) {
        self.breaker.succeeded(pass.epoch, now);
        if pass.credential.is_some() {
            self.credential.succeeded();
        }
    }

    /// The stream failed; `draw` is random, 0 to 1.
    pub fn failed(&mut self, pass: Pass, fault: &UpstreamFault, draw: f64, now: Instant) {
        match fault.kind.class() {
            FaultClass::Account | FaultClass::Quota => {
                self.credential.failed(fault.kind, now);
                // It says nothing about the vendor, who did answer.
                self.breaker.abandoned(pass.epoch, now);
            }
            FaultClass::VendorDown | FaultClass::Protocol => {
                self.breaker.failed(pass.epoch, draw, now);
                self.credential.abandoned(pass.credential, now);
            }
            FaultClass::Rate | FaultClass::Input => self.abandoned(pass, now),
        }
    }

    /// A dial failed, whoever it was for.
    pub fn dial_failed(&mut self, fault: &UpstreamFault, draw: f64, now: Instant) {
        let pass = Pass { epoch: self.breaker.epoch(), credential: None };
        match fault.kind.class() {
            // The stream that waits for it, perhaps the probe, gives up its place by itself.
            FaultClass::Rate | FaultClass::Input => {}
            _ => self.failed(pass, fault, draw, now),
        }
    }

    /// The stream went away before anything was known.
    pub fn abandoned(&mut self, pass: Pass, now: Instant) {
        self.breaker.abandoned(pass.epoch, now);
        self.credential.abandoned(pass.credential, now);
    }

    /// Whether the breaker is open, or half open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// Whether the credential is out.
    #[must_use]
    pub fn is_credential_bad(&self) -> bool {
        self.credential.is_bad()
    }
}
