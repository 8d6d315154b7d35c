//! A session, a clock that only a test moves, and a shell that obeys and writes down what it did.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Map;
use voxrelay_protocol::request::{Framing, Pace, VoiceChoice};
use voxrelay_protocol::session::{Action, Leased, Outcome, RouteFacts, Session, Settings, StreamEnd};
use voxrelay_protocol::{
    AudioFormat, Command, Event, Fault, FaultKind, Reply, Request, Start, StreamName, UpstreamFault, Word,
};

/// 20 ms of the default format, in bytes.
pub(crate) const FRAME: usize = 960;

pub(crate) struct Talk {
    pub session: Session,
    pub now: Instant,
    /// What `Admit` is answered with.
    pub routes: Result<Vec<RouteFacts>, Fault>,
    /// How many commands leases take before they are full.
    pub room: usize,
    /// Everything the client was told.
    pub replies: Vec<Reply>,
    /// How streams ended.
    pub ends: Vec<StreamEnd>,
    lines: Vec<String>,
}

impl Talk {
    pub(crate) fn new() -> Self {
        Self::with(settings())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let now = some_instant();
        Self {
            session: Session::new(settings, now),
            now,
            routes: Ok(vec![route("one"), route("two")]),
            room: usize::MAX,
            replies: Vec::new(),
            ends: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// A stream with raw frames whose lease is held.
    pub(crate) fn speaking() -> Self {
        let mut talk = Self::new();
        talk.open("a", start());
        talk
    }

    pub(crate) fn open(&mut self, name: &str, start: Start) {
        self.start(name, start);
        let index = self.last_index();
        self.leased(index);
    }

    fn last_index(&self) -> u16 {
        let checkout = self.lines.last().and_then(|line| line.split_once(' '));
        checkout.and_then(|(index, _)| index.parse().ok()).unwrap()
    }

    pub(crate) fn start(&mut self, stream: &str, start: Start) -> Vec<String> {
        self.ask(Request::Start(name(stream), Box::new(start)))
    }

    pub(crate) fn text(&mut self, stream: &str, text: &str) -> Vec<String> {
        self.ask(Request::Text(name(stream), text.to_owned()))
    }

    pub(crate) fn flush(&mut self, stream: &str, mark: &str) -> Vec<String> {
        self.ask(Request::Flush(name(stream), Some(mark.to_owned())))
    }

    pub(crate) fn end(&mut self, stream: &str) -> Vec<String> {
        self.ask(Request::End(name(stream)))
    }

    pub(crate) fn cancel(&mut self, stream: &str, played_ms: Option<u64>) -> Vec<String> {
        self.ask(Request::Cancel(name(stream), played_ms))
    }

    pub(crate) fn ask(&mut self, request: Request) -> Vec<String> {
        self.act(|session, now| session.on_request(now, Ok(request)))
    }

    pub(crate) fn leased(&mut self, index: u16) -> Vec<String> {
        let leased = Leased { queued: Duration::ZERO, connected: Duration::ZERO };
        self.act(|session, now| session.on_leased(now, index, leased))
    }

    pub(crate) fn event(&mut self, index: u16, event: Event) -> Vec<String> {
        self.act(|session, now| session.on_event(now, index, event))
    }

    pub(crate) fn audio(&mut self, index: u16, bytes: usize) -> Vec<String> {
        self.event(index, Event::Audio(Bytes::from(vec![0; bytes])))
    }

    pub(crate) fn words(&mut self, index: u16, words: &[(&str, u64, u64)]) -> Vec<String> {
        let word = |(text, start_ms, end_ms): &(&str, u64, u64)| Word {
            text: (*text).to_owned(),
            start_ms: *start_ms,
            end_ms: *end_ms,
        };
        self.event(index, Event::Words { words: words.iter().map(word).collect(), estimated: false })
    }

    pub(crate) fn failed(&mut self, index: u16, kind: FaultKind) -> Vec<String> {
        self.event(index, Event::Failed(UpstreamFault::new(kind, "as the test wants it")))
    }

    /// Lets time pass, ringing the timer whenever it is due.
    pub(crate) fn wait(&mut self, ms: u64) -> Vec<String> {
        let until = self.now + Duration::from_millis(ms);
        let mut lines = Vec::new();
        let mut rings = 0;
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= until) {
            rings = if at > self.now { 0 } else { rings + 1 };
            assert!(rings < 10, "the timer rings without end at one moment");
            self.now = self.now.max(at);
            lines.extend(self.act(Session::on_timeout));
        }
        self.now = until;
        lines
    }

    /// Makes one call, does all that comes of it, and gives it line by line.
    pub(crate) fn act(&mut self, call: impl FnOnce(&mut Session, Instant)) -> Vec<String> {
        call(&mut self.session, self.now);
        let before = self.lines.len();
        while let Some(action) = self.session.poll_action() {
            self.obey(action);
        }
        self.lines[before..].to_vec()
    }

    fn obey(&mut self, action: Action) {
        match action {
            Action::Admit { index, .. } => match self.routes.clone() {
                Ok(routes) => self.session.on_admitted(self.now, index, routes),
                Err(fault) => self.session.on_refused(self.now, index, fault),
            },
            Action::Upstream { index, command } => match self.room.checked_sub(1) {
                Some(room) => {
                    self.room = room;
                    self.lines.push(format!("{index} < {}", command_line(&command)));
                }
                None => self.session.on_full(self.now, index, command),
            },
            Action::Checkout { index, route } => self.lines.push(format!("{index} checkout {route}")),
            Action::Detach { index, fault } => {
                self.lines.push(format!("{index} detach {}", fault.kind.as_str()));
            }
            Action::Release { index, end } => {
                self.lines.push(format!("{index} release {}", end.outcome.as_str()));
                self.ends.push(*end);
            }
            Action::Reply(reply) => {
                self.lines.push(reply_line(&reply));
                self.replies.push(reply);
            }
            Action::Refused(_) => {}
            Action::Close { code, reason } => self.lines.push(format!("close {code} {reason}")),
        }
    }

    pub(crate) fn fault(&self) -> &Fault {
        let faults = self.replies.iter().rev().filter_map(|reply| match reply {
            Reply::Error { fault, .. } => Some(fault),
            _ => None,
        });
        faults.take(1).next().unwrap()
    }

    pub(crate) fn done(&self) -> &voxrelay_protocol::reply::Done {
        match self.replies.last() {
            Some(Reply::Done(_, done)) => done,
            other => panic!("not done: {other:?}"),
        }
    }

    pub(crate) fn cancelled(&self) -> &voxrelay_protocol::reply::Cancelled {
        match self.replies.last() {
            Some(Reply::Cancelled(_, cancelled)) => cancelled,
            other => panic!("not cancelled: {other:?}"),
        }
    }

    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        self.ends.iter().map(|end| end.outcome).collect()
    }
}

fn command_line(command: &Command) -> String {
    match command {
        Command::Text(text) => format!("text {text}"),
        Command::Flush => "flush".to_owned(),
        Command::End => "end".to_owned(),
        other => format!("{other:?}"),
    }
}

fn reply_line(reply: &Reply) -> String {
    match reply {
        Reply::Started(stream, started) => format!("{stream} started by {}", started.provider),
        Reply::Audio { stream, audio, position, last, .. } => {
            format!("{stream} audio {position}+{}{}", audio.len(), if *last { " last" } else { "" })
        }
        Reply::Words { stream, words, .. } => {
            let words: Vec<_> = words.iter().map(|w| format!("{}@{}", w.text, w.start_ms)).collect();
            format!("{stream} words {}", words.join(" "))
        }
        Reply::Flushed { stream, mark, audio_ms } => {
            format!("{stream} flushed {} at {audio_ms}", mark.as_deref().unwrap_or("-"))
        }
        Reply::Done(stream, done) => format!("{stream} done {} ms", done.audio_ms),
        Reply::Cancelled(stream, cancelled) => format!("{stream} cancelled at {}", cancelled.sent_ms),
        Reply::Error { stream, fault, ended } => {
            let stream = stream.as_ref().map_or("session", StreamName::as_str);
            format!("{stream} error {}{}", fault.code.as_str(), if *ended { ", ended" } else { "" })
        }
        Reply::Draining(ms) => format!("draining {ms}"),
        Reply::Ready(_) => "ready".to_owned(),
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        streams: 3,
        characters_per_stream: 1_000,
        text_buffer: 500,
        pace_buffer: 20 * FRAME,
        idle: Duration::from_secs(600),
        text_idle: Duration::from_secs(60),
        auth: Duration::from_micros(1_500),
        keyless: false,
    }
}

pub(crate) fn route(provider: &str) -> RouteFacts {
    RouteFacts {
        provider: provider.to_owned(),
        voice: "theirs".to_owned(),
        model: None,
        format: AudioFormat::default(),
        first_audio: Duration::from_secs(5),
        gap: Duration::from_secs(3),
        end: Duration::from_secs(5),
        audio: Duration::from_secs(1_800),
    }
}

pub(crate) fn start() -> Start {
    Start {
        voice: VoiceChoice { provider: None, voice: Some("narrator".to_owned()), model: None },
        format: AudioFormat::default(),
        language: None,
        words: false,
        framing: Framing::Raw,
        pace: None,
        options: Map::new(),
    }
}

pub(crate) fn tagged() -> Start {
    Start { framing: Framing::Tagged, ..start() }
}

pub(crate) fn paced(lead_ms: u32) -> Start {
    Start { pace: Some(Pace { lead_ms, frame_ms: 20 }), ..start() }
}

pub(crate) fn name(name: &str) -> StreamName {
    StreamName::parse(name).unwrap()
}

#[allow(clippy::disallowed_methods, reason = "there is no other way to an instant to count from")]
pub(crate) fn some_instant() -> Instant {
    Instant::now()
}
