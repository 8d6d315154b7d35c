//! What the client asks of its session, and what it is refused.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::stream::Stream;
use super::{Action, Outcome, Session, Settings, release};
use crate::request::{Framing, Start};
use crate::{Fault, FaultCode, QuotaScope, Refusal, Reply, Request, StreamName};

/// More refused messages than this within [`REFUSAL_WINDOW`] end the session.
const REFUSALS: usize = 50;
const REFUSAL_WINDOW: Duration = Duration::from_secs(10);

/// What came of a request, and the stream it was about.
type Told = (Option<StreamName>, Result<(), Fault>);

impl Session {
    /// One request of the client, or what its dialect refused.
    pub fn on_request(&mut self, now: Instant, request: Result<Request, Fault>) {
        if self.closed {
            return;
        }
        self.busy = now;
        let (name, outcome) = match request {
            Err(fault) => (None, Err(fault)),
            Ok(Request::Auth(_)) if self.settings.keyless => (None, Ok(())),
            Ok(Request::Auth(_)) => {
                (None, Err(Fault::invalid("type", "the session is already authenticated")))
            }
            Ok(Request::Start(name, start)) => self.start(now, name, start),
            Ok(Request::BadStart(name, fault)) => self.refuse_start(name, fault),
            Ok(Request::Text(name, text)) => self
                .with_stream(name, |stream, settings, actions| stream.on_text(now, &text, settings, actions)),
            Ok(Request::Flush(name, mark)) => {
                self.with_stream(name, |stream, _, actions| stream.on_flush(now, mark, actions))
            }
            Ok(Request::End(name)) => self.end(now, name),
            Ok(Request::Cancel(name, played_ms)) => self.cancel(now, name, played_ms),
        };
        if let Err(fault) = outcome {
            self.refuse(now, name, fault);
        }
        self.leave_if_drained();
    }

    fn start(&mut self, now: Instant, name: StreamName, start: Box<Start>) -> Told {
        match self.open(now, &name, start) {
            Ok(()) => (Some(name), Ok(())),
            Err(fault) => self.refuse_start(name, fault),
        }
    }

    /// What the client has already sent for the stream is answered by this one error.
    fn refuse_start(&mut self, name: StreamName, fault: Fault) -> Told {
        if self.index_of(&name).is_none() {
            self.remember_failed(name.clone());
        }
        (Some(name), Err(fault))
    }

    fn open(&mut self, now: Instant, name: &StreamName, start: Box<Start>) -> Result<(), Fault> {
        if self.draining {
            let detail = "the relay is going away: open new streams elsewhere";
            return Err(Fault::new(FaultCode::Draining, detail));
        }
        if self.index_of(name).is_some() {
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
        self.streams.push(Stream::new(now, index, name.clone(), (*start).clone(), &self.settings)?);
        self.failed.retain(|failed| failed != name);
        self.actions.push_back(Action::Admit { index, start });
        Ok(())
    }

    fn end(&mut self, now: Instant, name: StreamName) -> Told {
        let index = self.index_of(&name);
        let told = self.with_stream(name, |stream, _, actions| stream.on_end(now, actions));
        if let Some(index) = index {
            self.settle(now, index);
        }
        told
    }

    fn cancel(&mut self, now: Instant, name: StreamName, played_ms: Option<u64>) -> Told {
        let Some(at) = self.index_of(&name).and_then(|index| self.position(index)) else {
            return self.with_stream(name, |_, _, _| Ok(()));
        };
        let stream = self.streams.remove(at);
        let facts = Box::new(stream.cancelled(now, played_ms));
        self.actions.push_back(Action::Reply(Reply::Cancelled(name.clone(), facts)));
        self.actions.push_back(release(stream, Outcome::Cancelled, None));
        (Some(name), Ok(()))
    }

    /// Runs `act` on the open stream of that name. Text for a stream that has just failed is
    /// already answered: it is dropped without a word.
    fn with_stream(
        &mut self,
        name: StreamName,
        act: impl FnOnce(&mut Stream, &Settings, &mut VecDeque<Action>) -> Result<(), Fault>,
    ) -> Told {
        let outcome = match self.streams.iter_mut().find(|stream| stream.name == name) {
            Some(stream) => act(stream, &self.settings, &mut self.actions),
            None if self.failed.contains(&name) => Ok(()),
            None => Err(Fault::new(FaultCode::UnknownStream, "no open stream of that name")),
        };
        (Some(name), outcome)
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

    fn too_many(&self) -> Fault {
        let limit = self.settings.streams as u64;
        let used = self.streams.len() as u64;
        Fault::new(FaultCode::QuotaExceeded, "this session runs as many streams as it may")
            .with_quota(Refusal { limit, used, scope: QuotaScope::Session })
            .retry_after(1000)
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
}
