//! One client's conversation: the shell around the pure [`Session`]. It waits for one input, hands
//! it over, obeys every action, and waits again.

pub mod client;
mod greet;
mod meter;
mod signals;
mod socket;
mod streams;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};
use voxrelay_protocol::session::{Action, Session, Settings};
use voxrelay_protocol::{Event, Fault, FaultCode, Reply};

use client::{Client, Incoming, Lost};
pub use greet::{Greeting, Shown, serve};
use signals::{Signal, Signals};
pub use socket::{Abort, SocketClient, websocket_config};
use streams::{Checked, Streams};

use crate::app::App;
use crate::auth::Caller;
use crate::metrics;

/// How a conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Close with this code and reason.
    Close(u16, &'static str),
    /// The client is gone.
    Gone,
    /// The client does not read: cut it off.
    Stalled,
}

/// What the loop waits for.
enum Input {
    Client(Incoming),
    Checked(u16, Checked),
    Event(u16, Event),
    Unblocked,
    Timeout,
    Signal(Signal),
    Lost(Lost),
}

/// Converses until the client leaves, breaks a rule, or the relay goes away. Every stream is over
/// and everything it held is given back when this returns.
pub async fn converse(
    client: &mut impl Client,
    caller: &Arc<Caller>,
    app: &App,
    dialect: metrics::Dialect,
    auth: Duration,
) -> Ended {
    let mut session = Session::new(settings(app, caller, auth), Instant::now().into_std());
    let mut streams = Streams::new(app.clone(), caller.clone(), dialect);
    let mut waits = Waits { timer: Box::pin(tokio::time::sleep(Duration::MAX)), blocked: false };
    let mut signals = Signals::new(app, caller);
    loop {
        let input = std::future::poll_fn(|cx| {
            if signals.have_waited()
                && let Poll::Ready(signal) = signals.poll(cx)
            {
                return Poll::Ready(Input::Signal(signal));
            }
            if let Poll::Ready(input) = waits.poll_input(cx, client, &mut session, &mut streams) {
                return Poll::Ready(input);
            }
            signals.poll(cx).map(Input::Signal)
        })
        .await;
        let since = Instant::now();
        if let Some(ended) = take(input, since, &mut session, app) {
            session.on_gone();
            obey(since, &mut session, &mut streams, client);
            return ended;
        }
        if let Some(ended) = obey(since, &mut session, &mut streams, client) {
            return ended;
        }
    }
}

fn settings(app: &App, caller: &Caller, auth: Duration) -> Settings {
    let limits = &app.config.limits;
    Settings {
        streams: limits.session_streams,
        characters_per_stream: limits.characters_per_stream,
        text_buffer: limits.text_buffer,
        pace_buffer: limits.stream_buffer,
        idle: limits.idle_timeout,
        text_idle: limits.text_idle,
        auth,
        keyless: caller.key.is_none(),
    }
}

/// Hands one input to the session; `Some` when there is nobody left to talk to.
fn take(input: Input, since: Instant, session: &mut Session, app: &App) -> Option<Ended> {
    let now = since.into_std();
    match input {
        Input::Client(Incoming::Request(request)) => session.on_request(now, request),
        Input::Client(Incoming::Violation(fault, code)) => session.on_end(&fault, code),
        Input::Client(Incoming::Gone) | Input::Lost(Lost::Gone) => return Some(Ended::Gone),
        Input::Lost(Lost::Stalled) => {
            metrics::slow_consumer(metrics::LinkKind::Exclusive);
            return Some(Ended::Stalled);
        }
        Input::Checked(index, Checked::Leased(leased)) => session.on_leased(now, index, leased),
        Input::Checked(index, Checked::Refused(fault)) => session.on_refused(now, index, fault),
        Input::Checked(index, Checked::Failed(fault)) => {
            session.on_event(now, index, Event::Failed(fault));
        }
        Input::Event(index, event) => session.on_event(now, index, event),
        Input::Unblocked => session.on_unblocked(now),
        Input::Timeout => {
            if let Some(late) = session.next_frame_at().and_then(|due| now.checked_duration_since(due)) {
                metrics::pace_late(late);
            }
            session.on_timeout(now);
        }
        Input::Signal(Signal::Drain) => session.on_drain(app.config.drain),
        Input::Signal(Signal::Revoked) => {
            let fault = Fault::new(FaultCode::InvalidCredentials, "the key is not valid any more");
            session.on_end(&fault, 3000);
        }
        Input::Signal(Signal::Cut) => {
            metrics::drain_cut(session.open_streams() as u64);
            session.on_end(&Fault::new(FaultCode::Draining, "the relay is going away now"), 1001);
        }
    }
    None
}

/// Does what the session asks for, until it asks for nothing more.
fn obey(
    since: Instant,
    session: &mut Session,
    streams: &mut Streams,
    client: &mut impl Client,
) -> Option<Ended> {
    while let Some(action) = session.poll_action() {
        let now = || Instant::now().into_std();
        match action {
            Action::Reply(reply) => {
                client.tell(&reply);
                if let Reply::Cancelled(..) = reply {
                    metrics::cancelled(metrics::CancelStep::Ack, since.elapsed());
                }
            }
            Action::Upstream { index, command } => {
                if let Err(command) = streams.send(index, command) {
                    session.on_full(now(), index, command);
                }
            }
            Action::Admit { index, start } => match streams.admit(index, &start) {
                Ok(routes) => session.on_admitted(now(), index, routes),
                Err(fault) => session.on_refused(now(), index, fault),
            },
            Action::Checkout { index, route } => streams.checkout(index, route),
            Action::Detach { index, fault } => streams.detach(index, &fault),
            Action::Release { end, .. } => streams.release(&end),
            Action::Refused(code) => metrics::frame_refused(code),
            Action::Close { code, reason } => return Some(Ended::Close(code, reason)),
        }
    }
    None
}

/// What the loop must remember from one wait to the next.
struct Waits {
    timer: Pin<Box<Sleep>>,
    blocked: bool,
}

impl Waits {
    /// The order is the priority: what the client says (a cancel is never behind audio), then
    /// leases, then audio while there is room for it, then one write for all of it, then time.
    fn poll_input(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut impl Client,
        session: &mut Session,
        streams: &mut Streams,
    ) -> Poll<Input> {
        loop {
            if let Poll::Ready(incoming) = client.poll_incoming(cx) {
                return Poll::Ready(Input::Client(incoming));
            }
            if let Poll::Ready((index, checked)) = streams.poll_checkouts(cx) {
                return Poll::Ready(Input::Checked(index, checked));
            }
            let had_room = client.has_room();
            if had_room {
                if std::mem::take(&mut self.blocked) {
                    return Poll::Ready(Input::Unblocked);
                }
                if let Poll::Ready((index, event)) = streams.poll_events(cx, |index| session.wants(index)) {
                    return Poll::Ready(Input::Event(index, event));
                }
            }
            match client.poll_flush(cx) {
                Poll::Ready(Err(lost)) => return Poll::Ready(Input::Lost(lost)),
                // What has been written has made room: look for audio again.
                Poll::Ready(Ok(())) if !had_room => continue,
                Poll::Ready(Ok(())) => {}
                Poll::Pending => self.blocked |= !client.has_room(),
            }
            return self.poll_timer(cx, session);
        }
    }

    /// The timer is moved only when it would ring too late: one that rings early costs less than
    /// moving it at every chunk. While the client's socket is full, silence is not the upstream's.
    fn poll_timer(&mut self, cx: &mut Context<'_>, session: &Session) -> Poll<Input> {
        if self.blocked {
            return Poll::Pending;
        }
        let Some(deadline) = session.poll_timeout().map(Instant::from_std) else { return Poll::Pending };
        loop {
            if deadline < self.timer.deadline() {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if deadline <= Instant::now() {
                self.timer.as_mut().reset(deadline + Duration::from_secs(3600));
                return Poll::Ready(Input::Timeout);
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}
