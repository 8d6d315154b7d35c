//! What one upstream does: its streams, links, slots and faults. Looked up once per upstream or
//! stream, never per chunk.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};
use voxrelay_protocol::FaultKind;

use super::catalogue as row;
use super::labels::{
    Checkout, CheckoutResult, DialPhase, DialResult, Dialect, Label, LinkState, Outcome, RetireReason,
    Watchdog,
};
use super::recorder::{Family, Seconds, counter, gauge, histogram};

/// Most upstream names that become label values; the rest share `other`.
const MAX_NAMES: usize = 64;
/// The name of whatever has no name of its own.
pub const OTHER: &str = "other";

static KNOWN: LazyLock<Mutex<BTreeMap<String, Arc<UpstreamMetrics>>>> =
    LazyLock::new(|| Mutex::new(BTreeMap::from([(OTHER.to_owned(), Arc::new(UpstreamMetrics::new(OTHER)))])));

/// Makes label values of the upstreams of a config, as far as there is room.
pub(super) fn register(names: impl IntoIterator<Item = impl AsRef<str>>) {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    for name in names {
        let name = name.as_ref();
        if known.len() <= MAX_NAMES && !known.contains_key(name) {
            known.insert(name.to_owned(), Arc::new(UpstreamMetrics::new(name)));
        }
    }
}

/// The handles of one upstream.
pub struct UpstreamMetrics {
    name: String,
    streams: Gauge,
    streams_total: Family<Dialect, Family<Outcome, Counter>>,
    first_audio: Family<Checkout, Histogram>,
    pub(super) chunk_gap: Histogram,
    pub(super) realtime_factor: Histogram,
    pub(super) underruns: Counter,
    pub(super) underrun_seconds: Seconds,
    pub(super) audio_seconds: Seconds,
    characters: Counter,
    links: Family<LinkState, Gauge>,
    links_retired: Family<RetireReason, Counter>,
    dials: Family<DialResult, Counter>,
    dial_seconds: Family<DialPhase, Histogram>,
    checkouts: Family<CheckoutResult, Counter>,
    checkout_wait: Histogram,
    slots: Gauge,
    slots_limit: Gauge,
    slot_waiters: Gauge,
    slot_wait: Histogram,
    breaker_open: Gauge,
    credential_bad: Gauge,
    faults: Family<FaultKind, Counter>,
    watchdogs: Family<Watchdog, Counter>,
}

impl std::fmt::Debug for UpstreamMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamMetrics").field("name", &self.name).finish_non_exhaustive()
    }
}

impl UpstreamMetrics {
    /// The handles of that upstream; those of `other` when no config has the name.
    #[must_use]
    pub fn of(name: &str) -> Arc<Self> {
        let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).or_else(|| known.get(OTHER)).cloned().unwrap_or_else(|| Arc::new(Self::new(OTHER)))
    }

    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            streams: gauge(&row::STREAMS, &[name]),
            streams_total: Family::new(|dialect: Dialect| {
                Family::new(|outcome: Outcome| {
                    counter(&row::STREAMS_TOTAL, &[name, dialect.text(), outcome.text()])
                })
            }),
            first_audio: Family::new(|way: Checkout| {
                histogram(&row::FIRST_AUDIO_SECONDS, &[name, way.text()])
            }),
            chunk_gap: histogram(&row::CHUNK_GAP_SECONDS, &[name]),
            realtime_factor: histogram(&row::REALTIME_FACTOR, &[name]),
            underruns: counter(&row::UNDERRUNS, &[name]),
            underrun_seconds: Seconds::new(&row::UNDERRUN_SECONDS, &[name]),
            audio_seconds: Seconds::new(&row::AUDIO_SECONDS, &[name]),
            characters: counter(&row::CHARACTERS, &[name]),
            links: Family::new(|state: LinkState| gauge(&row::LINKS, &[name, state.text()])),
            links_retired: Family::new(|why: RetireReason| counter(&row::LINKS_RETIRED, &[name, why.text()])),
            dials: Family::new(|result: DialResult| counter(&row::DIALS, &[name, result.text()])),
            dial_seconds: Family::new(|phase: DialPhase| {
                histogram(&row::DIAL_SECONDS, &[name, phase.text()])
            }),
            checkouts: Family::new(|result: CheckoutResult| counter(&row::CHECKOUTS, &[name, result.text()])),
            checkout_wait: histogram(&row::CHECKOUT_WAIT_SECONDS, &[name]),
            slots: gauge(&row::SLOTS, &[name]),
            slots_limit: gauge(&row::SLOTS_LIMIT, &[name]),
            slot_waiters: gauge(&row::SLOT_WAITERS, &[name]),
            slot_wait: histogram(&row::SLOT_WAIT_SECONDS, &[name]),
            breaker_open: gauge(&row::BREAKER_OPEN, &[name]),
            credential_bad: gauge(&row::CREDENTIAL_BAD, &[name]),
            faults: Family::new(|kind: FaultKind| counter(&row::UPSTREAM_FAULTS, &[name, kind.text()])),
            watchdogs: Family::new(|which: Watchdog| counter(&row::WATCHDOG_FIRES, &[name, which.text()])),
        }
    }

    /// The name in labels.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A stream runs here until the guard is dropped.
    pub fn stream_started(&self) -> Held {
        Held::one(&self.streams)
    }

    /// A stream ended here. Pair it with [`super::stream_failed`] when there is a code.
    pub fn stream_ended(&self, dialect: Dialect, outcome: Outcome) {
        self.streams_total.of(dialect).of(outcome).increment(1);
    }

    /// From the first text to the first audio sent.
    pub fn first_audio(&self, checkout: Checkout, took: Duration) {
        self.first_audio.of(checkout).record(took);
    }

    /// Characters sent to this upstream.
    pub fn characters(&self, sent: u64) {
        self.characters.increment(sent);
    }

    /// A link is in this state until the guard moves on or is dropped.
    pub fn link(self: &Arc<Self>, state: LinkState) -> LinkGuard {
        self.links.of(state).increment(1);
        LinkGuard { upstream: self.clone(), state }
    }

    /// A link was closed or lost.
    pub fn link_retired(&self, reason: RetireReason) {
        self.links_retired.of(reason).increment(1);
    }

    /// A dial ended.
    pub fn dialed(&self, result: DialResult) {
        self.dials.of(result).increment(1);
    }

    /// A phase of a dial took this long.
    pub fn dial_phase(&self, phase: DialPhase, took: Duration) {
        self.dial_seconds.of(phase).record(took);
    }

    /// A link was asked for; `waited` until there was one or none could be had.
    pub fn checkout(&self, result: CheckoutResult, waited: Duration) {
        self.checkouts.of(result).increment(1);
        self.checkout_wait.record(waited);
    }

    /// The account's limit.
    pub fn slots_limit(&self, limit: usize) {
        self.slots_limit.set(float(limit));
    }

    /// A slot of the account is held until the guard is dropped.
    pub fn slot_taken(&self, waited: Duration) -> Held {
        self.slot_wait.record(waited);
        Held::one(&self.slots)
    }

    /// A stream waits for a slot until the guard is dropped.
    pub fn slot_waiter(&self) -> Held {
        Held::one(&self.slot_waiters)
    }

    /// Whether streams are kept away from it because it fails.
    pub fn breaker_open(&self, open: bool) {
        self.breaker_open.set(float(open.into()));
    }

    /// Whether it refuses our account.
    pub fn credential_bad(&self, bad: bool) {
        self.credential_bad.set(float(bad.into()));
    }

    /// Something went wrong here or on the way here.
    pub fn fault(&self, kind: FaultKind) {
        self.faults.of(kind).increment(1);
    }

    /// A time limit ran out.
    pub fn watchdog_fired(&self, which: Watchdog) {
        self.watchdogs.of(which).increment(1);
    }
}

/// One of something that is counted while it lasts.
#[must_use]
pub struct Held {
    gauge: Gauge,
    amount: f64,
}

impl Held {
    pub(super) fn one(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self { gauge: gauge.clone(), amount: 1.0 }
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("amount", &self.amount).finish_non_exhaustive()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gauge.decrement(self.amount);
    }
}

/// A link in the state it is in.
#[derive(Debug)]
#[must_use]
pub struct LinkGuard {
    upstream: Arc<UpstreamMetrics>,
    state: LinkState,
}

impl LinkGuard {
    /// The link is in this state now.
    pub fn moved_to(&mut self, state: LinkState) {
        if state != self.state {
            self.upstream.links.of(self.state).decrement(1);
            self.upstream.links.of(state).increment(1);
            self.state = state;
        }
    }
}

impl Drop for LinkGuard {
    fn drop(&mut self) {
        self.upstream.links.of(self.state).decrement(1);
    }
}

#[allow(clippy::cast_precision_loss)] // far below 2^53
pub(super) fn float(number: usize) -> f64 {
    number as f64
}
