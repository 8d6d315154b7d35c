//! What a session's open streams hold in the world outside: permits, checkouts, leases.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use voxrelay_protocol::request::Start;
use voxrelay_protocol::session::{Outcome, RouteFacts, StreamEnd};
use voxrelay_protocol::{
    AudioFormat, Command, Event, Fault, FaultCode, FaultKind, QuotaScope, Refusal, UpstreamFault,
};

use crate::app::App;
use crate::auth::Caller;
use crate::lease::{Lease, SendError};
use crate::metrics::{self, Playback, UpstreamMetrics};
use crate::pool::{Asker, CheckoutError};
use crate::quota::Permit;
use crate::voices::{self, Plan};

type Pending = Pin<Box<dyn Future<Output = Result<Lease, CheckoutError>> + Send>>;

/// The outside of every open stream of one session; few, so that a walk is cheaper than a map.
pub struct Streams {
    app: App,
    caller: Arc<Caller>,
    dialect: metrics::Dialect,
    open: Vec<Holding>,
    next: usize,
}

struct Holding {
    index: u16,
    permit: Permit,
    _counted: (metrics::Held, Option<metrics::Held>),
    plans: Vec<Plan>,
    route: usize,
    checkout: Option<Pending>,
    lease: Option<Lease>,
    running: Option<Running>,
}

/// What is counted while a stream runs on an upstream.
struct Running {
    playback: Playback,
    format: AudioFormat,
    _stream: metrics::Held,
}

impl Streams {
    /// No streams yet.
    pub fn new(app: App, caller: Arc<Caller>, dialect: metrics::Dialect) -> Self {
        Self { app, caller, dialect, open: Vec::new(), next: 0 }
    }

    /// Finds the ways to speak the stream and takes its permit.
    ///
    /// # Errors
    /// The voice is unknown or forbidden, or a quota is used up.
    pub fn admit(&mut self, index: u16, start: &Start) -> Result<Vec<RouteFacts>, Fault> {
        let plans = voices::plan(&self.app.config, &self.caller, start)?;
        let permit = self.app.quota.acquire(&self.caller)?;
        let facts = plans.iter().map(Plan::facts).collect();
        let counted = (metrics::lease_taken(), start.pace.map(|_| metrics::paced_stream()));
        let holding = Holding {
            index,
            permit,
            _counted: counted,
            plans,
            route: 0,
            checkout: None,
            lease: None,
            running: None,
        };
        self.open.push(holding);
        Ok(facts)
    }

    /// Begins to get a lease on a route.
    pub fn checkout(&mut self, index: u16, route: usize) {
        let deadline = self.app.config.limits.queue_timeout;
        let pools = self.app.pools.clone();
        let asker = Asker::new(self.caller.key.as_ref().unwrap_or(&self.caller.org));
        let Some(holding) = self.holding(index) else { return };
        let Some(plan) = holding.plans.get(route).cloned() else { return };
        if let Some(left) = holding.plans.get(holding.route).filter(|_| route != holding.route) {
            let (from, to) =
                (UpstreamMetrics::of(&left.upstream.name), UpstreamMetrics::of(&plan.upstream.name));
            metrics::failover(&from, &to, metrics::Phase::BeforeAudio);
        }
        holding.route = route;
        holding.checkout =
            Some(Box::pin(async move { pools.checkout(&plan.upstream, &asker, plan.spec, deadline).await }));
    }

    /// Hands a command to the stream's lease.
    ///
    /// # Errors
    /// The command, when there is no room now.
    pub fn send(&mut self, index: u16, command: Command) -> Result<(), Command> {
        let Some(lease) = self.holding(index).and_then(|holding| holding.lease.as_mut()) else {
            return Ok(());
        };
        match lease.send(command) {
            Ok(()) => Ok(()),
            Err(SendError::Full(command)) => Err(command),
            // The link is gone: its last event says so, and decides what happens next.
            Err(SendError::Closed) => Ok(()),
        }
    }

    /// The stream leaves this upstream: another route follows, or the end.
    pub fn detach(&mut self, index: u16, fault: &UpstreamFault) {
        let Some(holding) = self.holding(index) else { return };
        let found_here = holding.lease.as_mut().is_some_and(|lease| lease.failed(fault));
        holding.checkout = None;
        holding.lease = None;
        holding.running = None;
        let from = holding.plans.get(holding.route).map(|plan| plan.upstream.clone());
        if let Some(upstream) = from {
            if found_here {
                count_found(&UpstreamMetrics::of(&upstream.name), fault.kind);
            }
            tracing::warn!(
                upstream = %upstream.name,
                kind = fault.kind.as_str(),
                note = %fault.note,
                "an upstream failed a stream"
            );
        }
    }

    /// The stream is over: everything it held is given back, and it is counted.
    pub fn release(&mut self, end: &StreamEnd) {
        let Some(at) = self.open.iter().position(|holding| holding.index == end.index) else {
            return self.count_refused(end);
        };
        let holding = self.open.swap_remove(at);
        let upstream = holding.plans.get(holding.route).map(|plan| UpstreamMetrics::of(&plan.upstream.name));
        if let Some(lease) = &holding.lease
            && end.outcome == Outcome::Cancelled
        {
            metrics::audio_dropped(metrics::DropReason::Cancelled, lease.buffered_bytes());
        }
        if let Some(upstream) = upstream {
            upstream.stream_ended(self.dialect, outcome(end.outcome));
            upstream.characters(end.characters);
            self.count_first_audio(end, &upstream, holding.lease.as_ref());
        }
        if let Some(code) = end.code {
            metrics::stream_failed(code);
        }
        self.app.note_use(&self.caller, end);
        drop(holding.permit);
    }

    fn count_refused(&self, end: &StreamEnd) {
        UpstreamMetrics::of("other").stream_ended(self.dialect, outcome(end.outcome));
        if let Some(code) = end.code {
            metrics::stream_failed(code);
        }
    }

    fn count_first_audio(&self, end: &StreamEnd, upstream: &UpstreamMetrics, lease: Option<&Lease>) {
        let (Some(first), Some(lease)) = (end.first_audio_ms, lease) else { return };
        upstream.first_audio(lease.checkout().kind, millis(first));
        metrics::first_audio_part(metrics::Part::Queue, millis(end.timing.queue_ms));
        metrics::first_audio_part(metrics::Part::Connect, millis(end.timing.connect_ms));
        metrics::first_audio_part(metrics::Part::Upstream, millis(end.timing.upstream_ms));
        metrics::first_audio_part(metrics::Part::Relay, millis(end.timing.relay_ms));
    }

    /// A checkout that has come to an end.
    pub fn poll_checkouts(&mut self, cx: &mut Context<'_>) -> Poll<(u16, Checked)> {
        for holding in &mut self.open {
            let Some(checkout) = &mut holding.checkout else { continue };
            let Poll::Ready(outcome) = checkout.as_mut().poll(cx) else { continue };
            holding.checkout = None;
            return Poll::Ready((holding.index, holding.checked(outcome)));
        }
        Poll::Pending
    }

    /// The next event of any stream that `wants` one, each in turn.
    pub fn poll_events(&mut self, cx: &mut Context<'_>, wants: impl Fn(u16) -> bool) -> Poll<(u16, Event)> {
        let count = self.open.len();
        for step in 0..count {
            let at = (self.next + step) % count;
            let holding = &mut self.open[at];
            let Some(lease) = &mut holding.lease else { continue };
            if !wants(holding.index) {
                continue;
            }
            if let Poll::Ready(Some(event)) = lease.poll_event(cx) {
                self.next = at + 1;
                if let (Event::Audio(audio), Some(running)) = (&event, &mut holding.running) {
                    running.heard(audio.len());
                }
                return Poll::Ready((holding.index, event));
            }
        }
        Poll::Pending
    }

    fn holding(&mut self, index: u16) -> Option<&mut Holding> {
        self.open.iter_mut().find(|holding| holding.index == index)
    }
}

/// How a checkout ended.
pub enum Checked {
    /// A lease is held.
    Leased(voxrelay_protocol::session::Leased),
    /// The upstream cannot be reached.
    Failed(UpstreamFault),
    /// There is no slot, or the relay is going away.
    Refused(Fault),
}

impl Holding {
    fn checked(&mut self, outcome: Result<Lease, CheckoutError>) -> Checked {
        match outcome {
            Ok(lease) => {
                let facts = voxrelay_protocol::session::Leased {
                    queued: lease.checkout().queued,
                    connected: lease.checkout().connected,
                };
                if let Some(plan) = self.plans.get(self.route) {
                    let upstream = UpstreamMetrics::of(&plan.upstream.name);
                    let _stream = upstream.stream_started();
                    let format = plan.spec.format;
                    self.running = Some(Running { playback: Playback::new(upstream), format, _stream });
                }
                self.lease = Some(lease);
                Checked::Leased(facts)
            }
            Err(CheckoutError::Upstream(fault)) => Checked::Failed(fault),
            Err(CheckoutError::Slots { limit, used }) => {
                metrics::quota_refused(metrics::Limit::Streams, QuotaScope::Upstream);
                let detail = "the upstream account runs as many streams as it may";
                let refusal = Refusal { limit, used, scope: QuotaScope::Upstream };
                let fault = Fault::new(FaultCode::QuotaExceeded, detail).with_quota(refusal);
                Checked::Refused(fault.retry_after(1000))
            }
            Err(CheckoutError::Draining) => {
                Checked::Refused(Fault::new(FaultCode::Draining, "the relay is going away"))
            }
        }
    }
}

impl Running {
    fn heard(&mut self, bytes: usize) {
        let per_second = self.format.bytes_per_second().unwrap_or(u64::MAX).max(1);
        let length = Duration::from_micros(bytes as u64 * 1_000_000 / per_second);
        self.playback.chunk(Instant::now().into_std(), length);
        metrics::audio_bytes(metrics::Direction::Out, bytes);
    }
}

/// What the session itself has found, and nobody before it has counted.
fn count_found(upstream: &UpstreamMetrics, kind: FaultKind) {
    let watchdog = match kind {
        FaultKind::FirstAudio => Some(metrics::Watchdog::FirstAudio),
        FaultKind::Stalled => Some(metrics::Watchdog::Gap),
        FaultKind::NoEnd => Some(metrics::Watchdog::End),
        _ => None,
    };
    upstream.fault(kind);
    if let Some(watchdog) = watchdog {
        upstream.watchdog_fired(watchdog);
    }
}

fn outcome(outcome: Outcome) -> metrics::Outcome {
    match outcome {
        Outcome::Done => metrics::Outcome::Done,
        Outcome::Cancelled => metrics::Outcome::Cancelled,
        Outcome::Failed => metrics::Outcome::Failed,
        Outcome::Refused => metrics::Outcome::Refused,
    }
}

fn millis(ms: f64) -> Duration {
    Duration::from_secs_f64((ms / 1e3).max(0.0))
}
