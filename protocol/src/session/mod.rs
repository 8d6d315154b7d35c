//! What happens next: requests, upstream events and the time go in, [`Action`]s come out.
//!
//! Order, limits, cancel, deadlines and the move to another route are decided here and nowhere
//! else. The rule of use: make one call, then take actions until [`Session::poll_action`] gives
//! none, then make the next call. Nothing here waits; what takes time is asked for by an action and
//! its outcome comes back as a call.

mod action;
mod ended;
mod requests;
mod stream;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use action::{Action, Leased, RouteFacts, Settings};
pub use ended::{Outcome, StreamEnd};
use stream::{Judgement, Stream};

use crate::{Command, Event, Fault, FaultClass, FaultCode, FaultKind, Reply, StreamName, UpstreamFault};

/// Most names of failed streams that are remembered, so that text already on its way for them is
/// not answered with an error each.
const FAILED_NAMES: usize = 32;
/// One client's conversation.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    streams: Vec<Stream>,
    failed: VecDeque<StreamName>,
    refusals: VecDeque<Instant>,
    actions: VecDeque<Action>,
    next_index: u16,
    /// The last time the client spoke or a stream was open.
    busy: Instant,
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
            busy: now,
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
        let idle = self.streams.is_empty().then(|| self.busy + self.settings.idle);
        streams.into_iter().chain(idle).min()
    }

    /// When the next frame of a paced stream is due, to see how late it goes out.
    #[must_use]
    pub fn next_frame_at(&self) -> Option<Instant> {
        self.streams.iter().filter_map(Stream::next_frame_at).min()
    }

    /// Whether upstream events of this stream have room now.
    #[must_use]
    pub fn wants(&self, index: u16) -> bool {
        self.streams.iter().any(|stream| stream.index == index && stream.has_room())
    }

    /// How many streams are open.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// The voice is known and a permit is held; `routes` in order of preference, never empty.
    pub fn on_admitted(&mut self, now: Instant, index: u16, routes: Vec<RouteFacts>) {
        let Some(stream) = self.stream(index) else { return };
        stream.admit(now, routes);
        self.actions.push_back(Action::Checkout { index, route: 0 });
        self.settle(now, index);
        self.leave_if_drained();
    }

    /// The stream cannot be: no voice, no permit, no slot.
    pub fn on_refused(&mut self, now: Instant, index: u16, fault: Fault) {
        self.note_busy(now);
        let Some(stream) = self.stream(index) else { return };
        if stream.next_route(now) {
            self.move_on(index, UpstreamFault::new(FaultKind::Throttled, "no slot in time"));
        } else {
            self.finish(index, Outcome::Refused, fault);
        }
        self.leave_if_drained();
    }

    /// A lease is held.
    pub fn on_leased(&mut self, now: Instant, index: u16, leased: Leased) {
        self.note_busy(now);
        let Some(at) = self.position(index) else { return };
        match self.streams[at].open(now, leased, &mut self.actions) {
            Ok(()) => self.settle(now, index),
            Err(fault) => self.finish(index, Outcome::Refused, fault),
        }
        self.leave_if_drained();
    }

    /// The lease had no room for this command; it will be offered again, and all that follows it.
    pub fn on_full(&mut self, now: Instant, index: u16, command: Command) {
        let mut back = vec![command];
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Upstream { index: other, command } if other == index => back.push(command),
                action => self.actions.push_back(action),
            }
        }
        if let Some(stream) = self.stream(index) {
            stream.take_back(now, &back);
        }
    }

    /// Something from the stream's upstream.
    pub fn on_event(&mut self, now: Instant, index: u16, event: Event) {
        self.note_busy(now);
        let Some(at) = self.position(index) else { return };
        match self.streams[at].on_event(now, event, &mut self.actions) {
            Ok(()) => self.settle(now, index),
            Err(fault) => self.upstream_failed(now, index, fault),
        }
        self.leave_if_drained();
    }

    /// Time has passed: deadlines are judged, paced audio is released.
    pub fn on_timeout(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        self.note_busy(now);
        let indices: Vec<u16> = self.streams.iter().map(|stream| stream.index).collect();
        for index in indices {
            let Some(at) = self.position(index) else { continue };
            match self.streams[at].on_timeout(now, &self.settings, &mut self.actions) {
                Judgement::Fine => self.settle(now, index),
                Judgement::Silent(fault) => self.upstream_failed(now, index, fault),
                Judgement::Forgotten => {
                    let fault = Fault::new(FaultCode::IdleTimeout, "the stream was opened and given no text");
                    self.finish(index, Outcome::Refused, fault);
                }
            }
        }
        self.leave_if_drained();
        if self.streams.is_empty() && now >= self.busy + self.settings.idle {
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
        while let Some(stream) = self.streams.first() {
            self.finish(stream.index, Outcome::Failed, fault.clone());
        }
        let told = Reply::Error { stream: None, fault: fault.clone(), ended: false };
        self.actions.push_back(Action::Reply(told));
        self.close(code, fault.code.as_str());
    }

    /// The client is gone: every stream is released and nobody is told.
    pub fn on_gone(&mut self) {
        self.closed = true;
        for stream in std::mem::take(&mut self.streams) {
            self.actions.push_back(release(stream, Outcome::Cancelled, None));
        }
    }

    /// What follows when a stream has changed: it may be over.
    fn settle(&mut self, now: Instant, index: u16) {
        let Some(at) = self.position(index) else { return };
        let stream = &mut self.streams[at];
        stream.end_unspoken(now, &mut self.actions);
        stream.release(now, &mut self.actions);
        match stream.outcome() {
            None => {}
            Some(Ok(())) => {
                let stream = self.streams.remove(at);
                stream.tell_done(self.settings.auth, &mut self.actions);
                self.actions.push_back(release(stream, Outcome::Done, None));
            }
            Some(Err(fault)) => self.finish(index, Outcome::Failed, fault),
        }
    }

    /// Before the first audio another route may take over; after it the stream ends cleanly.
    fn upstream_failed(&mut self, now: Instant, index: u16, fault: UpstreamFault) {
        let Some(at) = self.position(index) else { return };
        let stream = &mut self.streams[at];
        if fault.kind.class() != FaultClass::Input && stream.next_route(now) {
            return self.move_on(index, fault);
        }
        stream.break_off(now, Fault::from(&fault), &mut self.actions);
        self.actions.push_back(Action::Detach { index, fault });
        self.settle(now, index);
    }

    fn move_on(&mut self, index: u16, fault: UpstreamFault) {
        let route = self.stream(index).map_or(0, |stream| stream.route());
        self.actions.push_back(Action::Detach { index, fault });
        self.actions.push_back(Action::Checkout { index, route });
    }

    /// The stream ends with this fault; what its client still says to it is answered by that.
    fn finish(&mut self, index: u16, outcome: Outcome, fault: Fault) {
        let Some(at) = self.position(index) else { return };
        let stream = self.streams.remove(at);
        let (name, code) = (stream.name.clone(), fault.code);
        let fault = match stream.audio_sent() {
            Some(sent_ms) => fault.after_audio(sent_ms),
            None => fault,
        };
        self.remember_failed(name.clone());
        self.actions.push_back(Action::Reply(Reply::Error { stream: Some(name), fault, ended: true }));
        self.actions.push_back(release(stream, outcome, Some(code)));
    }

    fn remember_failed(&mut self, name: StreamName) {
        self.failed.retain(|failed| *failed != name);
        if self.failed.len() == FAILED_NAMES {
            self.failed.pop_front();
        }
        self.failed.push_back(name);
    }

    fn note_busy(&mut self, now: Instant) {
        if !self.streams.is_empty() {
            self.busy = now;
        }
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

fn release(stream: Stream, outcome: Outcome, code: Option<FaultCode>) -> Action {
    let end = Box::new(stream.into_end(outcome, code));
    Action::Release { index: end.index, end }
}
