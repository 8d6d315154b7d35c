//! The task of one link: wait for one input, act on it, never wait while acting.
//!
//! `poll` waits and says what happened; here is what follows from it, in `outgoing` what is written.

mod outgoing;
mod poll;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::SinkExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use voxrelay_protocol::provider::{ProviderCodec, Sharing};
use voxrelay_protocol::{Command, ContextId, Event, FaultClass, FaultKind, FrameRef, UpstreamFault};

use self::outgoing::Outgoing;
use self::poll::Signals;
use super::contexts::{Contexts, Delivery};
use super::watch::{Due, Watch};
use super::{Link, LinkSettings, Meter, Opening, ToLink};
use crate::drain::Drain;
use crate::metrics::{DropReason, Point, RetireReason};
use crate::transport::{Incoming, Transport};

/// Broken frames a link survives.
const BAD_FRAMES_MAX: u32 = 1;
/// How long a closing handshake may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Drives one link until it ends.
pub struct Driver {
    link: Arc<Link>,
    transport: Transport,
    codec: Box<dyn ProviderCodec>,
    inbox: mpsc::Receiver<ToLink>,
    exclusive: bool,
    settings: LinkSettings,
    contexts: Contexts,
    /// Events not yet passed on; more than none only while an exclusive stream has no room.
    decoded: VecDeque<(ContextId, Event)>,
    /// Room for what one frame means, kept from frame to frame.
    events: Vec<(ContextId, Event)>,
    out: VecDeque<Outgoing>,
    unflushed: bool,
    want_ping: bool,
    bad_frames: u32,
    turns: u32,
    /// The exclusive stream without room, for which reading rests.
    paused: Option<ContextId>,
    rested: Option<Instant>,
    watch: Watch,
    retired: Option<RetireReason>,
    meter: Meter,
}

/// The one thing that happened.
enum Input {
    Abandoned(Vec<(ContextId, Instant)>),
    Received(Incoming),
    Room,
    Asked(ToLink),
    Gone(Option<UpstreamFault>),
    Tick,
    Retire,
    DrainBegun,
    DrainCut,
}

/// Why and with what fault the link ends.
struct Ending {
    reason: RetireReason,
    fault: Option<UpstreamFault>,
}

type Step = ControlFlow<Ending>;

impl Driver {
    pub(super) fn new(
        link: Arc<Link>,
        transport: Transport,
        codec: Box<dyn ProviderCodec>,
        inbox: mpsc::Receiver<ToLink>,
        settings: &LinkSettings,
        meter: Meter,
    ) -> Self {
        let keep_alive = codec.keep_alive().map(|alive| alive.every);
        Self {
            link,
            transport,
            codec,
            inbox,
            exclusive: !matches!(settings.capabilities.sharing, Sharing::Contexts { .. }),
            settings: settings.clone(),
            contexts: Contexts::default(),
            decoded: VecDeque::new(),
            events: Vec::new(),
            out: VecDeque::new(),
            unflushed: false,
            want_ping: false,
            bad_frames: 0,
            turns: 0,
            paused: None,
            rested: None,
            watch: Watch::new(Instant::now(), settings.idle, settings.max_age).keeping_alive(keep_alive),
            retired: None,
            meter,
        }
    }

    /// Runs the link to its end and says why it ended.
    pub async fn run(mut self, drain: Drain) -> RetireReason {
        let mut signals = Signals::new(drain);
        let ending = loop {
            let input = std::future::poll_fn(|cx| self.poll_input(&mut signals, cx)).await;
            let now = Instant::now();
            if let ControlFlow::Break(ending) = self.apply(input, now) {
                break ending;
            }
            self.watch.set_idle(self.contexts.is_empty(), now);
            self.meter.holds(self.contexts.any_live(), !self.contexts.is_empty());
            if let Some(reason) = self.finished() {
                break Ending { reason, fault: None };
            }
        };
        self.close(&ending).await;
        ending.reason
    }

    /// A retired link ends with its last stream, once that one's cancel has been written.
    fn finished(&self) -> Option<RetireReason> {
        let over = self.contexts.is_empty() && self.out.is_empty() && !self.link.is_promised();
        self.retired.filter(|_| over)
    }

    async fn close(&mut self, ending: &Ending) {
        self.link.retire();
        self.inbox.close();
        let told = self.contexts.fail_all(ending.fault.as_ref());
        let own = ending.fault.iter().filter(|_| told.is_empty()).map(|fault| fault.kind);
        own.chain(told.iter().copied()).for_each(|kind| self.meter.fault(kind));
        // Streams that were just being opened find their outlet dropped.
        while self.inbox.try_recv().is_ok() {}
        let _ = tokio::time::timeout(CLOSE_WITHIN, self.transport.close()).await;
    }

    fn apply(&mut self, input: Input, now: Instant) -> Step {
        match input {
            Input::Abandoned(contexts) => {
                for (context, since) in contexts {
                    self.cancel(context, None, since, now);
                }
                self.pass_on(now)
            }
            Input::Received(Incoming::Closed(code, reason)) => self.closed(code, &reason, now),
            Input::Received(incoming) => {
                self.watch.heard(now);
                incoming.frame().map_or(Step::Continue(()), |frame| self.receive(frame, now))
            }
            Input::Room => self.pass_on(now),
            Input::Asked(ToLink::Open(opening)) => self.open(*opening, now),
            Input::Asked(ToLink::Command(context, command)) => self.command(context, command, now),
            Input::Gone(fault) => gone(fault),
            Input::Tick => self.tick(now),
            Input::Retire => self.retire(RetireReason::Age),
            Input::DrainBegun => self.retire(RetireReason::Drain),
            Input::DrainCut => end(RetireReason::Drain, None),
        }
    }

    fn open(&mut self, opening: Opening, now: Instant) -> Step {
        let Opening { context, spec, outlet, hold } = opening;
        if !outlet.shared().is_abandoned() {
            self.contexts.insert(context, outlet, hold);
            self.encode(context, &Command::Start(spec), 0);
        }
        self.pass_on(now)
    }

    fn command(&mut self, context: ContextId, command: Command, now: Instant) -> Step {
        if let Some(shared) = self.contexts.live(context) {
            shared.command_taken();
            let text = if let Command::Text(text) = &command { text.len() } else { 0 };
            self.encode(context, &command, text);
        }
        self.pass_on(now)
    }

    fn closed(&mut self, code: u16, reason: &str, now: Instant) -> Step {
        let fault = self.codec.closed(code, reason);
        self.settle();
        self.pass_on(now)?;
        gone(fault)
    }

    fn receive(&mut self, frame: FrameRef<'_>, now: Instant) -> Step {
        let mut events = std::mem::take(&mut self.events);
        let result = self.codec.decode(frame, &mut events);
        // A frame that means nothing (a greeting, a note on the account) may come at any time.
        if self.exclusive && self.contexts.is_empty() && (result.is_err() || !events.is_empty()) {
            return end(RetireReason::UnexpectedData, None);
        }
        events.iter().for_each(|(_, event)| self.meter.received(event));
        self.decoded.extend(events.drain(..));
        self.events = events;
        self.settle();
        self.pass_on(now)?;
        let Err(fault) = result else { return Step::Continue(()) };
        self.bad_frames += 1;
        if fault.kind == FaultKind::BadFrame && self.bad_frames <= BAD_FRAMES_MAX {
            self.meter.fault(fault.kind);
            return Step::Continue(());
        }
        end(RetireReason::Faulted, Some(fault))
    }

    fn pass_on(&mut self, now: Instant) -> Step {
        let grace = self.settings.capabilities.cancel_grace;
        while let Some((context, event)) = self.decoded.pop_front() {
            let (bytes, failed) = (event.audio_len(), fault_of(&event));
            match self.contexts.deliver(context, event, grace, now) {
                Delivery::Passed => {}
                Delivery::Late => self.meter.dropped(DropReason::Late, bytes),
                Delivery::Foreign => self.foreign(context, bytes)?,
                Delivery::NoRoom(event) if self.exclusive => {
                    self.decoded.push_front((context, event));
                    self.pause(Some(context), now);
                    return Step::Continue(());
                }
                Delivery::NoRoom(_) => {
                    self.meter.slow_consumer();
                    self.meter.dropped(DropReason::SlowConsumer, bytes);
                    let fault = UpstreamFault::new(FaultKind::SlowConsumer, "the stream's buffer is full");
                    self.cancel(context, Some(Event::Failed(fault)), now, now);
                }
                Delivery::Over { clean, wanted } => {
                    if let Some(kind) = failed.filter(|_| wanted) {
                        self.meter.fault(kind);
                    }
                    self.over(context, clean)?;
                }
            }
        }
        self.pause(None, now);
        Step::Continue(())
    }

    /// Lets reading rest until the stream has room, or begin again. A stream's reader wakes the link
    /// only while it is marked, so its room is looked at again after marking.
    fn pause(&mut self, stream: Option<ContextId>, now: Instant) {
        if self.paused == stream {
            return;
        }
        for (context, paused) in [(self.paused, false), (stream, true)] {
            if let Some(shared) = context.and_then(|context| self.contexts.live(context)) {
                shared.set_paused(paused);
            }
        }
        self.paused = stream;
        if let Some(since) = self.rested.take() {
            self.meter.waited(Point::StreamBuffer, now.duration_since(since));
        }
        self.rested = stream.map(|_| now);
        self.watch.set_paused(stream.is_some(), now);
    }

    /// For a stream that is over or was never ours. On an exclusive link it cannot be explained.
    fn foreign(&mut self, context: ContextId, bytes: usize) -> Step {
        let late = context != ContextId::FOREIGN && self.link.has_opened(context);
        self.meter.dropped(if late { DropReason::Late } else { DropReason::Foreign }, bytes);
        if self.exclusive { self.retire(RetireReason::UnexpectedData) } else { Step::Continue(()) }
    }

    /// A stream is over upstream. What it held is given back last, when it is clear whether this link
    /// can be used again.
    fn over(&mut self, context: ContextId, clean: bool) -> Step {
        self.out.retain(|outgoing| outgoing.context != context);
        if self.exclusive {
            if self.settings.capabilities.sharing == Sharing::Once {
                self.retire(RetireReason::Spent)?;
            } else if !clean {
                self.retire(RetireReason::Faulted)?;
            }
        }
        self.contexts.remove(context);
        Step::Continue(())
    }

    fn retire(&mut self, reason: RetireReason) -> Step {
        self.retired.get_or_insert(reason);
        self.link.retire();
        Step::Continue(())
    }

    fn tick(&mut self, now: Instant) -> Step {
        while let Some(context) = self.contexts.expired(now) {
            if self.exclusive {
                self.retire(RetireReason::Dirty)?;
            } else {
                self.watch.doubt(now);
            }
            self.contexts.remove(context);
        }
        match self.watch.due(now) {
            None => Step::Continue(()),
            Some(Due::Ping) => {
                self.want_ping = true;
                Step::Continue(())
            }
            Some(Due::KeepAlive) => {
                self.keep_alive();
                Step::Continue(())
            }
            Some(Due::Old) => self.retire(RetireReason::Age),
            Some(Due::Idle) if self.link.is_promised() => {
                self.watch.set_idle(false, now);
                Step::Continue(())
            }
            Some(Due::Idle) => end(RetireReason::Idle, None),
            Some(Due::Silent) => {
                let fault = UpstreamFault::new(FaultKind::Stalled, "the link does not answer");
                end(RetireReason::Dead, Some(fault))
            }
            Some(Due::WriteStalled) => {
                let fault = UpstreamFault::new(FaultKind::WriteStall, "the vendor does not read");
                end(RetireReason::Dead, Some(fault))
            }
        }
    }
}

/// The connection has ended, with `fault` if it says more than that.
fn gone(fault: Option<UpstreamFault>) -> Step {
    let broken = fault.as_ref().is_some_and(|fault| fault.kind.class() == FaultClass::Protocol);
    end(if broken { RetireReason::Faulted } else { RetireReason::Dead }, fault)
}

fn end(reason: RetireReason, fault: Option<UpstreamFault>) -> Step {
    ControlFlow::Break(Ending { reason, fault })
}

fn fault_of(event: &Event) -> Option<FaultKind> {
    if let Event::Failed(fault) = event { Some(fault.kind) } else { None }
}
