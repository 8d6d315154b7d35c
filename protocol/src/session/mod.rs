//! What happens next: requests, upstream events and the time go in, [`Action`]s come out.
//!
//! Order, limits, cancel, deadlines and the move to another route are decided here and nowhere
//! else. The rule of use: make one call, then take actions until [`Session::poll_action`] gives
//! none, then make the next call. Nothing here waits; what takes time is asked for by an action and
//! its outcome comes back as a call.

mod ended;
mod stream;
mod timing;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use ended::{Outcome, StreamEnd};
use stream::Stream;
pub use stream::{Leased, RouteFacts};

use crate::reply::Cancelled;
use crate::request::{Framing, Start};
use crate::{
    Command, Event, Fault, FaultCode, QuotaScope, Refusal, Reply, Request, StreamName, UpstreamFault,
};

/// Most names of failed streams that are remembered, so that text already on its way for them is
/// not answered with an error each.
const FAILED_NAMES: usize = 32;
/// This many refused messages within [`REFUSAL_WINDOW`] end the session.
const REFUSALS: usize = 50;
const REFUSAL_WINDOW: Duration = Duration::from_secs(10);

/// The bounds of one session.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Streams at once.
    pub streams: usize,
    /// Characters one stream may carry.
    pub characters_per_stream: u64,
    /// Bytes of text that may wait for an upstream, per stream.
    pub text_buffer: usize,
    /// Bytes of audio that may wait for its clock, per paced stream.
    pub pace_buffer: usize,
    /// A session without streams and messages ends after this.
    pub idle: Duration,
    /// A stream without text is ended after this.
    pub text_idle: Duration,
    /// How long checking the key took.
    pub auth: Duration,
}

/// What the shell must do now, in this order.
#[derive(Debug)]
pub enum Action {
    /// Resolve the voice and take a permit; answer with [`Session::on_admitted`] or
    /// [`Session::on_refused`] at once.
    Admit {
        /// The stream's number.
        index: u16,
        /// What the client wants.
        start: Box<Start>,
    },
    /// Begin to get a lease on this route; answer with [`Session::on_leased`],
    /// [`Session::on_refused`] or [`Session::on_event`] with `Failed`.
    Checkout {
        /// The stream's number.
        index: u16,
        /// Which of the admitted routes.
        route: usize,
    },
    /// Hand this to the stream's lease; if it has no room, give it back with [`Session::on_full`].
    Upstream {
        /// The stream's number.
        index: u16,
        /// The command.
        command: Command,
    },
    /// Drop the lease (or its pending checkout) but keep the permit: another route follows.
    Detach {
        /// The stream's number.
        index: u16,
        /// Why, for the log and the metrics.
        fault: UpstreamFault,
    },
    /// Drop lease and permit: the stream is over.
    Release {
        /// The stream's number.
        index: u16,
        /// How it ended.
        end: Box<StreamEnd>,
    },
    /// Tell the client.
    Reply(Reply),
    /// A message was refused (for the metrics; the reply is an action of its own).
    Refused(FaultCode),
    /// Close the connection after what was said.
    Close {
        /// Close code.
        code: u16,
        /// Close reason: an error code's name.
        reason: &'static str,
    },
}

/// One client's conversation.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    streams: Vec<Stream>,
    failed: VecDeque<StreamName>,
    refusals: VecDeque<Instant>,
    actions: VecDeque<Action>,
    next_index: u16,
    heard_from: Instant,
    draining: bool,
    closed: bool,
}

impl Session {
    /// A session that has just become ready.
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            streams: Vec::new(),
            failed: VecDeque::new(),
            refusals: VecDeque::new(),
            actions: VecDeque::new(),
            next_index: 0,
            heard_from: now,
            draining: false,
            closed: false,
        }
    }

    /// The next thing to do, if any.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Session::on_timeout`] must be called, if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let streams = self.streams.iter().filter_map(|stream| stream.deadline(&self.settings)).min();
        let idle = self.streams.is_empty().then(|| self.heard_from + self.settings.idle);
        streams.into_iter().chain(idle).min()
    }

    /// Whether upstream events of this stream have room now.
    #[must_use]
    pub fn wants(&self, index: u16) -> bool {
        self.streams.iter().any(|stream| stream.index == index && stream.has_room(&self.settings))
    }

    /// How many streams are open.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// One request of the client, or what its dialect refused.
    pub fn on_request(&mut self, now: Instant, request: Result<Request, Fault>) {
        if self.closed {
            return;
        }
        self.heard_from = now;
        let (name, outcome) = match request {
            Err(fault) => (None, Err(fault)),
            Ok(Request::Auth(_)) => {
                (None, Err(Fault::invalid("type", "the session is already authenticated")))
            }
            Ok(Request::Start(name, start)) => {
                let begun = self.start(now, name.clone(), start);
                if begun.is_err() && self.index_of(&name).is_none() {
                    self.remember_failed(name.clone());
                }
                (Some(name), begun)
            }
            Ok(Request::Text(name, text)) => self
                .with_stream(name, |stream, settings, actions| stream.on_text(now, text, settings, actions)),
            Ok(Request::Flush(name, mark)) => {
                self.with_stream(name, |stream, _, actions| stream.on_flush(now, mark, actions))
            }
            Ok(Request::End(name)) => self.end(now, name),
            Ok(Request::Cancel(name, played_ms)) => self.cancel(now, name, played_ms),
        };
        if let Err(fault) = outcome {
            self.refuse(now, name, fault);
        }
    }

    /// The voice is known and a permit is held; `routes` in order of preference, never empty.
    pub fn on_admitted(&mut self, now: Instant, index: u16, routes: Vec<RouteFacts>) {
        if let Some(stream) = self.stream(index) {
            stream.admit(now, routes);
            self.actions.push_back(Action::Checkout { index, route: 0 });
        }
    }

    /// The stream cannot be: no voice, no permit, no slot.
    pub fn on_refused(&mut self, now: Instant, index: u16, fault: Fault) {
        let Some(stream) = self.stream(index) else { return };
        if stream.next_route(now).is_some() {
            self.move_on(index, UpstreamFault::new(crate::FaultKind::Throttled, "no slot in time"));
        } else {
            self.finish(index, Outcome::Refused, Some(fault));
        }
    }

    /// A lease is held.
    pub fn on_leased(&mut self, now: Instant, index: u16, leased: Leased) {
        let Some(at) = self.position(index) else { return };
        match self.streams[at].open(now, leased, &mut self.actions) {
            Ok(()) => self.settle(now, index),
            Err(fault) => self.finish(index, Outcome::Refused, Some(fault)),
        }
    }

    /// The lease had no room for this command; it will be offered again.
    pub fn on_full(&mut self, index: u16, command: Command) {
        let mut back = vec![command];
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Upstream { index: other, command } if other == index => back.push(command),
                action => self.actions.push_back(action),
            }
        }
        if let Some(stream) = self.stream(index) {
            stream.take_back(back);
        }
    }

    /// Something from the stream's upstream.
    pub fn on_event(&mut self, now: Instant, index: u16, event: Event) {
        let Some(at) = self.position(index) else { return };
        match self.streams[at].on_event(now, event, &mut self.actions) {
            Ok(()) => self.settle(now, index),
            Err(fault) => self.upstream_failed(now, index, fault),
        }
    }

    /// Time has passed: deadlines are judged, paced audio is released.
    pub fn on_timeout(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        let indices: Vec<u16> = self.streams.iter().map(|stream| stream.index).collect();
        for index in indices {
            let Some(at) = self.position(index) else { continue };
            match self.streams[at].on_timeout(now, &self.settings, &mut self.actions) {
                stream::Judgement::Fine => self.settle(now, index),
                stream::Judgement::Silent(fault) => self.upstream_failed(now, index, fault),
                stream::Judgement::Forgotten => self.finish(
                    index,
                    Outcome::Refused,
                    Some(Fault::new(FaultCode::IdleTimeout, "the stream was opened and given no text")),
                ),
            }
        }
        if self.streams.is_empty() && now >= self.heard_from + self.settings.idle {
            let fault = Fault::new(FaultCode::IdleTimeout, "nothing was said for too long");
            self.on_end(&fault, 3008);
        }
    }

    /// The client's socket was stuck and has room again: silence in between was ours.
    pub fn on_unblocked(&mut self, now: Instant) {
        for stream in &mut self.streams {
            stream.forgive_silence(now);
        }
    }

    /// The relay is going away; streams may run for `deadline`.
    pub fn on_drain(&mut self, deadline: Duration) {
        if self.draining || self.closed {
            return;
        }
        self.draining = true;
        let ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        self.actions.push_back(Action::Reply(Reply::Draining(ms)));
        self.leave_if_drained();
    }

    /// The session must end now with this fault: every stream ends, the client is told, the
    /// connection is closed with `code`.
    pub fn on_end(&mut self, fault: &Fault, code: u16) {
        if self.closed {
            return;
        }
        let indices: Vec<u16> = self.streams.iter().map(|stream| stream.index).collect();
        for index in indices {
            self.finish(index, Outcome::Failed, Some(fault.clone()));
        }
        if self.closed {
            return;
        }
        self.actions.push_back(Action::Reply(Reply::Error {
            stream: None,
            fault: fault.clone(),
            ended: false,
        }));
        self.close(code, fault.code.as_str());
    }

    /// The client is gone: every stream is released and nobody is told.
    pub fn on_gone(&mut self) {
        self.closed = true;
        for stream in std::mem::take(&mut self.streams) {
            let end = Box::new(stream.into_end(Outcome::Cancelled, None));
            self.actions.push_back(Action::Release { index: end.index, end });
        }
    }

    fn start(&mut self, now: Instant, name: StreamName, start: Box<Start>) -> Result<(), Fault> {
        self.failed.retain(|failed| *failed != name);
        if self.draining {
            return Err(Fault::new(
                FaultCode::Draining,
                "the relay is going away: open new streams elsewhere",
            ));
        }
        if self.streams.iter().any(|stream| stream.name == name) {
            return Err(Fault::new(FaultCode::StreamExists, "a stream of that name is open"));
        }
        let raw = |stream: &Stream| stream.framing() == Framing::Raw;
        if !self.streams.is_empty() && (start.framing == Framing::Raw || self.streams.iter().any(raw)) {
            let detail =
                "raw frames cannot be told apart: one open stream at a time, or frames tagged or json";
            return Err(Fault::new(FaultCode::StreamConflict, detail));
        }
        if self.streams.len() >= self.settings.streams {
            return Err(self.too_many());
        }
        crate::audio::available(&start.format)?;
        let index = self.free_index();
        self.streams.push(Stream::new(now, index, name, (*start).clone())?);
        self.actions.push_back(Action::Admit { index, start });
        Ok(())
    }

    fn end(&mut self, now: Instant, name: StreamName) -> (Option<StreamName>, Result<(), Fault>) {
        let told = self.with_stream(name, |stream, _, actions| stream.on_end(now, actions));
        if let Some(index) = told.0.as_ref().and_then(|name| self.index_of(name)) {
            self.settle(now, index);
        }
        told
    }

    fn cancel(
        &mut self,
        now: Instant,
        name: StreamName,
        played_ms: Option<u64>,
    ) -> (Option<StreamName>, Result<(), Fault>) {
        let mut cancelled = None;
        let told = self.with_stream(name, |stream, _, _| {
            cancelled = Some((stream.index, stream.cancelled(now, played_ms)));
            Ok(())
        });
        if let Some((index, facts)) = cancelled {
            self.finish_cancelled(index, facts);
        }
        told
    }

    /// Runs `act` on the open stream of that name. Text for a stream that has just failed is
    /// already answered: it is dropped without a word.
    fn with_stream(
        &mut self,
        name: StreamName,
        act: impl FnOnce(&mut Stream, &Settings, &mut VecDeque<Action>) -> Result<(), Fault>,
    ) -> (Option<StreamName>, Result<(), Fault>) {
        let outcome = match self.streams.iter_mut().find(|stream| stream.name == name) {
            Some(stream) => act(stream, &self.settings, &mut self.actions),
            None if self.failed.contains(&name) => Ok(()),
            None => Err(Fault::new(FaultCode::UnknownStream, "no open stream of that name")),
        };
        (Some(name), outcome)
    }

    /// What follows when a stream has changed: it may be complete.
    fn settle(&mut self, now: Instant, index: u16) {
        let Some(at) = self.position(index) else { return };
        self.streams[at].release_audio(now, &mut self.actions);
        if !self.streams[at].is_complete() {
            return;
        }
        let stream = self.streams.remove(at);
        let name = stream.name.clone();
        stream.say_done(self.settings.auth, &mut self.actions);
        let end = Box::new(stream.into_end(Outcome::Done, None));
        debug_assert_eq!(end.name, name);
        self.actions.push_back(Action::Release { index, end });
        self.leave_if_drained();
    }

    /// Before the first audio another route may take over; after it the stream ends cleanly.
    fn upstream_failed(&mut self, now: Instant, index: u16, fault: UpstreamFault) {
        let Some(stream) = self.stream(index) else { return };
        let ours = matches!(fault.kind, crate::FaultKind::Rejected | crate::FaultKind::SlowConsumer);
        if !ours && stream.next_route(now).is_some() {
            return self.move_on(index, fault);
        }
        let mut told = Fault::from(&fault);
        if let Some(sent_ms) = stream.audio_sent() {
            told = told.after_audio(sent_ms);
        }
        self.actions.push_back(Action::Detach { index, fault });
        self.finish(index, Outcome::Failed, Some(told));
    }

    fn move_on(&mut self, index: u16, fault: UpstreamFault) {
        let route = self.stream(index).map_or(0, |stream| stream.route());
        self.actions.push_back(Action::Detach { index, fault });
        self.actions.push_back(Action::Checkout { index, route });
    }

    fn finish(&mut self, index: u16, outcome: Outcome, fault: Option<Fault>) {
        let Some(at) = self.position(index) else { return };
        let stream = self.streams.remove(at);
        let code = fault.as_ref().map(|fault| fault.code);
        if let Some(fault) = fault {
            self.remember_failed(stream.name.clone());
            let stream = Some(stream.name.clone());
            self.actions.push_back(Action::Reply(Reply::Error { stream, fault, ended: true }));
        }
        self.actions.push_back(Action::Release { index, end: Box::new(stream.into_end(outcome, code)) });
        self.leave_if_drained();
    }

    fn finish_cancelled(&mut self, index: u16, facts: Cancelled) {
        let Some(at) = self.position(index) else { return };
        let stream = self.streams.remove(at);
        self.actions.push_back(Action::Reply(Reply::Cancelled(stream.name.clone(), Box::new(facts))));
        let end = Box::new(stream.into_end(Outcome::Cancelled, None));
        self.actions.push_back(Action::Release { index, end });
        self.leave_if_drained();
    }

    fn refuse(&mut self, now: Instant, name: Option<StreamName>, fault: Fault) {
        self.actions.push_back(Action::Refused(fault.code));
        let ended = name.as_ref().is_some_and(|name| self.index_of(name).is_none());
        self.actions.push_back(Action::Reply(Reply::Error { stream: name, fault, ended }));
        self.refusals.push_back(now);
        while self.refusals.front().is_some_and(|at| *at + REFUSAL_WINDOW < now) {
            self.refusals.pop_front();
        }
        if self.refusals.len() > REFUSALS {
            let fault = Fault::new(FaultCode::RateLimited, "too many refused messages");
            self.on_end(&fault, 1008);
        }
    }

    fn remember_failed(&mut self, name: StreamName) {
        if self.failed.len() == FAILED_NAMES {
            self.failed.pop_front();
        }
        self.failed.push_back(name);
    }

    fn leave_if_drained(&mut self) {
        if self.draining && self.streams.is_empty() {
            self.close(1001, FaultCode::Draining.as_str());
        }
    }

    fn close(&mut self, code: u16, reason: &'static str) {
        if !self.closed {
            self.closed = true;
            self.actions.push_back(Action::Close { code, reason });
        }
    }

    fn too_many(&self) -> Fault {
        let limit = self.settings.streams as u64;
        let used = self.streams.len() as u64;
        Fault::new(FaultCode::QuotaExceeded, "this session runs as many streams as it may")
            .with_quota(Refusal { limit, used, scope: QuotaScope::Session })
    }

    fn free_index(&mut self) -> u16 {
        loop {
            let index = self.next_index;
            self.next_index = self.next_index.wrapping_add(1);
            if self.position(index).is_none() {
                return index;
            }
        }
    }

    fn position(&self, index: u16) -> Option<usize> {
        self.streams.iter().position(|stream| stream.index == index)
    }

    fn index_of(&self, name: &StreamName) -> Option<u16> {
        self.streams.iter().find(|stream| stream.name == *name).map(|stream| stream.index)
    }

    fn stream(&mut self, index: u16) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.index == index)
    }
}
