//! The relay itself: its listeners, its load, its life.

use std::sync::LazyLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};
use tokio::time::{Instant, MissedTickBehavior};

use super::catalogue as row;
use super::labels::{Label, Listener, Overload};
use super::recorder::{Family, counter, gauge, histogram, upkeep};
use super::upstream::{Held, float};
use crate::drain::Drain;

/// Without upkeep, and without scrapes, samples pile up: 20 million take 300 MiB.
const UPKEEP: Duration = Duration::from_secs(5);
const LAG_PROBE: Duration = Duration::from_millis(100);

struct Relay {
    overload: Family<Overload, Counter>,
    connections: Family<Listener, Gauge>,
    accept_errors: Family<Listener, Counter>,
    log_dropped: Counter,
    panics: Counter,
    loop_lag: Histogram,
    tasks: Gauge,
    ready: Gauge,
    draining: Gauge,
    drain_cut: Counter,
}

static RELAY: LazyLock<Relay> = LazyLock::new(|| {
    let commit = option_env!("VOXRELAY_COMMIT").unwrap_or("unknown");
    gauge(&row::BUILD_INFO, &[env!("CARGO_PKG_VERSION"), commit]).set(1);
    Relay {
        overload: Family::new(|reason: Overload| counter(&row::OVERLOAD_REFUSALS, &[reason.text()])),
        connections: Family::new(|at: Listener| gauge(&row::CONNECTIONS, &[at.text()])),
        accept_errors: Family::new(|at: Listener| counter(&row::ACCEPT_ERRORS, &[at.text()])),
        log_dropped: counter(&row::LOG_DROPPED, &[]),
        panics: counter(&row::PANICS, &[]),
        loop_lag: histogram(&row::LOOP_LAG_SECONDS, &[]),
        tasks: gauge(&row::TASKS, &[]),
        ready: gauge(&row::READY, &[]),
        draining: gauge(&row::DRAINING, &[]),
        drain_cut: counter(&row::DRAIN_CUT_STREAMS, &[]),
    }
});

pub(super) fn expose_relay() {
    LazyLock::force(&RELAY);
}

/// Keeps the recorder small and measures the scheduler until the end. Call once a relay.
pub fn keep(drain: &Drain) {
    let own = drain.clone();
    drain.spawn_until_cut(async move { probe(&own).await });
}

async fn probe(drain: &Drain) {
    let mut probe = tokio::time::interval(LAG_PROBE);
    probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept = Instant::now();
    loop {
        let due = probe.tick().await;
        RELAY.loop_lag.record(due.elapsed());
        RELAY.tasks.set(float(drain.running()));
        if kept.elapsed() >= UPKEEP {
            kept = Instant::now();
            upkeep();
        }
    }
}

/// Work was refused because a bound of the relay was reached.
pub fn overloaded(reason: Overload) {
    RELAY.overload.of(reason).increment(1);
}

/// A socket is open until the guard is dropped.
pub fn connection_opened(listener: Listener) -> Held {
    Held::one(RELAY.connections.of(listener))
}

/// The system could not hand over a connection.
pub fn accept_failed(listener: Listener) {
    RELAY.accept_errors.of(listener).increment(1);
}

/// Log lines were dropped.
pub fn log_dropped(lines: u64) {
    RELAY.log_dropped.increment(lines);
}

/// A task ended in a panic.
pub fn panicked() {
    RELAY.panics.increment(1);
}

/// Whether new sessions are welcome.
pub fn ready(yes: bool) {
    RELAY.ready.set(f64::from(u8::from(yes)));
}

/// Whether running streams are finishing before the end.
pub fn draining(yes: bool) {
    RELAY.draining.set(f64::from(u8::from(yes)));
}

/// Streams were cut off at the deadline of a drain.
pub fn drain_cut(streams: u64) {
    RELAY.drain_cut.increment(streams);
}
