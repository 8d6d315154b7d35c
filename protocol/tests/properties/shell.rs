//! A shell that obeys a session, and holds it to its promises at every step.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use voxrelay_protocol::request::{Framing, Pace, VoiceChoice};
use voxrelay_protocol::session::{Action, Leased, RouteFacts, Session, Settings};
use voxrelay_protocol::{
    AudioFormat, Command, Event, Fault, FaultCode, Reply, Request, Start, StreamName, UpstreamFault, Word,
};

use crate::Step;

pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];
/// Most bytes of one piece of audio.
pub(crate) const CHUNK: usize = 3_000;
const TEXT_BUFFER: usize = 60;
const PACE_BUFFER: usize = 4_000;

/// A stream as an honest shell and an honest client know it.
#[derive(Debug, Default)]
struct Held {
    name: String,
    paced: bool,
    /// How many routes it was admitted with; 0 is a refusal.
    routes: usize,
    checkout: bool,
    leased: bool,
    /// What the present lease has taken.
    text: String,
    ended: bool,
    /// The present lease has had its last event; what is still said for it is foreign.
    over: bool,
    /// What the client gave and was not refused.
    accepted: String,
    came: Vec<u8>,
    went: usize,
    terminal: bool,
    released: bool,
}

pub(crate) struct Shell {
    session: Session,
    now: Instant,
    held: HashMap<u16, Held>,
    /// Streams in the order of their checkouts.
    checkouts: Vec<u16>,
    /// The stream that the present request is about.
    asking: Option<(String, bool)>,
    routes: usize,
    room: usize,
    closed: bool,
    gone: bool,
    refused: bool,
}

impl Shell {
    #[allow(clippy::disallowed_methods, reason = "there is no other way to an instant to count from")]
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let settings = Settings {
            streams: 2,
            characters_per_stream: 200,
            text_buffer: TEXT_BUFFER,
            pace_buffer: PACE_BUFFER,
            idle: Duration::from_secs(600),
            text_idle: Duration::from_secs(60),
            auth: Duration::ZERO,
            keyless: false,
        };
        Self {
            session: Session::new(settings, now),
            now,
            held: HashMap::new(),
            checkouts: Vec::new(),
            asking: None,
            routes: 2,
            room: usize::MAX,
            closed: false,
            gone: false,
            refused: false,
        }
    }

    pub(crate) fn take(&mut self, step: Step) {
        match step {
            Step::Start { name, paced, raw, routes } => {
                self.routes = routes;
                self.asking = Some((NAMES[name].to_owned(), paced));
                self.ask(Request::Start(stream(name), Box::new(start(paced, raw))));
                self.asking = None;
            }
            Step::Text { name, text } => {
                self.ask(Request::Text(stream(name), text.clone()));
                if let Some(held) = self.open(NAMES[name]).filter(|_| !self.refused) {
                    self.held.get_mut(&held).unwrap().accepted.push_str(&text);
                }
            }
            Step::Flush { name } => self.ask(Request::Flush(stream(name), None)),
            Step::End { name } => self.ask(Request::End(stream(name))),
            Step::Cancel { name, played_ms } => {
                self.ask(Request::Cancel(stream(name), played_ms));
                assert_eq!(self.open(NAMES[name]), None, "a cancel leaves no stream");
            }
            Step::Garbage => {
                self.call(|session, now| session.on_request(now, Err(Fault::invalid("type", "is missing"))));
            }
            Step::Leased { ago } => self.lease(ago),
            Step::Refused { ago } => {
                if let Some(index) = self.checkout(ago) {
                    let fault = Fault::new(FaultCode::QuotaExceeded, "no slot");
                    self.call(|session, now| session.on_refused(now, index, fault));
                }
            }
            Step::Audio { ago, samples } => self.audio(ago, samples),
            Step::Words { ago, start_ms } => {
                let word = Word { text: "word".to_owned(), start_ms, end_ms: start_ms + 10 };
                self.event(ago, Event::Words { words: vec![word], estimated: false });
            }
            Step::Flushed { ago } => self.event(ago, Event::Flushed),
            Step::Done { ago } => self.event(ago, Event::Done),
            Step::Failed { ago, kind } => {
                let failed = Event::Failed(UpstreamFault::new(kind, "at random"));
                match self.checkout(ago) {
                    Some(index) => self.call(|session, now| session.on_event(now, index, failed)),
                    None => self.event(ago, failed),
                }
            }
            Step::Room { commands } => self.room = if commands == 5 { usize::MAX } else { commands },
            Step::Wait { ms } => self.wait(ms),
            Step::Unblocked => self.call(Session::on_unblocked),
            Step::Drain => self.call(|session, _| session.on_drain(Duration::from_secs(30))),
        }
    }

    /// The end of it all: everything that was held must be given back.
    pub(crate) fn leave(&mut self, gone: bool) {
        if gone {
            self.gone = true;
            self.call(|session, _| session.on_gone());
        } else {
            let fault = Fault::new(FaultCode::Draining, "the relay is going away now");
            self.call(|session, _| session.on_end(&fault, 1001));
            assert!(self.closed);
        }
        assert_eq!((self.session.open_streams(), self.session.poll_timeout()), (0, None));
        for held in self.held.values() {
            assert!(held.released && (held.terminal || gone), "{held:?}");
        }
    }

    fn ask(&mut self, request: Request) {
        self.call(|session, now| session.on_request(now, Ok(request)));
    }

    fn event(&mut self, ago: usize, event: Event) {
        let Some(index) = self.nth(ago) else { return };
        self.held.get_mut(&index).unwrap().over |= event.is_last();
        self.call(|session, now| session.on_event(now, index, event));
    }

    /// An honest shell takes nothing from a lease that it does not hold, or that has no room.
    fn audio(&mut self, ago: usize, samples: usize) {
        let Some(index) = self.nth(ago).filter(|index| self.session.wants(*index)) else { return };
        let held = self.held.get_mut(&index).unwrap();
        let from = held.came.len();
        let audio: Vec<u8> = (from..from + samples * 2).map(|at| (at % 251) as u8).collect();
        if held.leased && !held.over && !held.accepted.trim().is_empty() {
            held.came.extend_from_slice(&audio);
        }
        self.call(|session, now| session.on_event(now, index, Event::Audio(Bytes::from(audio))));
    }

    fn lease(&mut self, ago: usize) {
        let Some(index) = self.checkout(ago) else { return };
        let held = self.held.get_mut(&index).unwrap();
        held.leased = true;
        held.text.clear();
        held.ended = false;
        held.over = false;
        let leased = Leased { queued: Duration::from_millis(3), connected: Duration::from_millis(4) };
        self.call(|session, now| session.on_leased(now, index, leased));
    }

    fn nth(&self, ago: usize) -> Option<u16> {
        self.checkouts.iter().rev().nth(ago).copied()
    }

    /// The outcome of a checkout, if one is under way.
    fn checkout(&mut self, ago: usize) -> Option<u16> {
        let index = self.nth(ago)?;
        std::mem::take(&mut self.held.get_mut(&index).unwrap().checkout).then_some(index)
    }

    fn open(&self, name: &str) -> Option<u16> {
        self.held.iter().find(|(_, held)| held.name == name && !held.terminal).map(|(index, _)| *index)
    }

    fn wait(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        let mut rings = 0;
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= until) {
            rings = if at > self.now { 0 } else { rings + 1 };
            assert!(rings < 10, "the timer rings without end at one moment");
            self.now = self.now.max(at);
            self.call(Session::on_timeout);
        }
        self.now = until;
    }

    fn call(&mut self, call: impl FnOnce(&mut Session, Instant)) {
        self.refused = false;
        call(&mut self.session, self.now);
        while let Some(action) = self.session.poll_action() {
            assert!(!self.closed, "after the close: {action:?}");
            self.obey(action);
        }
    }

    fn obey(&mut self, action: Action) {
        match action {
            Action::Admit { index, .. } => self.admit(index),
            Action::Checkout { index, route } => {
                let held = self.live(index);
                assert!(!held.checkout && !held.leased && route < held.routes);
                assert!(held.came.is_empty(), "what has been heard is never said again");
                held.checkout = true;
                self.checkouts.push(index);
            }
            Action::Upstream { index, command } => self.upstream(index, command),
            Action::Detach { index, .. } => {
                let held = self.live(index);
                held.leased = false;
                held.checkout = false;
            }
            Action::Release { index, .. } => {
                let gone = self.gone;
                let held = self.held.get_mut(&index).unwrap();
                assert!(!held.released && (held.terminal || gone), "released once, after its last word");
                held.released = true;
                held.leased = false;
                held.checkout = false;
            }
            Action::Reply(reply) => self.told(reply),
            Action::Refused(_) => self.refused = true,
            Action::Close { .. } => self.closed = true,
        }
    }

    fn admit(&mut self, index: u16) {
        let (name, paced) = self.asking.clone().unwrap();
        assert!(!self.held.contains_key(&index), "a number is not used again so soon");
        let routes = self.routes;
        self.held.insert(index, Held { name, paced, routes, ..Held::default() });
        if routes > 0 {
            self.session.on_admitted(self.now, index, vec![route(); routes]);
        } else {
            let fault = Fault::new(FaultCode::UnknownVoice, "no such voice");
            self.session.on_refused(self.now, index, fault);
        }
    }

    fn upstream(&mut self, index: u16, command: Command) {
        let full = self.room == 0;
        let held = self.live(index);
        assert!(held.leased && !held.ended, "{command:?} for {held:?}");
        if full {
            return self.session.on_full(self.now, index, command);
        }
        match command {
            Command::Text(text) => held.text.push_str(&text),
            Command::Flush => assert!(!held.text.trim().is_empty()),
            Command::End => held.ended = true,
            other => panic!("{other:?}"),
        }
        // The text of the request at hand counts as accepted only when the call is over.
        let known = held.accepted.len().min(held.text.len());
        assert_eq!(held.text[..known], held.accepted[..known]);
        self.room = self.room.saturating_sub(usize::from(self.room != usize::MAX));
    }

    fn told(&mut self, reply: Reply) {
        assert!(!self.gone, "nobody is there to be told {reply:?}");
        match reply {
            Reply::Audio { stream, index, audio, position, .. } => {
                let held = self.live(index);
                assert!(!held.terminal && held.name == stream.as_str());
                assert_eq!(position, held.went as u64, "positions are contiguous");
                assert!(held.came[held.went..].starts_with(&audio), "audio in order, nothing twice");
                held.went += audio.len();
                assert!(held.paced || held.went == held.came.len() || audio.len() == 16 * 1024);
                assert!(held.came.len() - held.went <= PACE_BUFFER + CHUNK, "what waits is bounded");
            }
            Reply::Started(stream, _) | Reply::Words { stream, .. } | Reply::Flushed { stream, .. } => {
                assert!(self.open(stream.as_str()).is_some(), "{stream} is over");
            }
            Reply::Done(stream, done) => {
                let held = self.ends(&stream);
                assert_eq!(held.went, held.came.len(), "all its audio has gone out");
                assert_eq!(done.bytes, held.went as u64);
                let spoken = held.ended && held.text == held.accepted;
                assert!(spoken || held.accepted.trim().is_empty(), "{held:?}");
            }
            Reply::Cancelled(stream, _) => {
                self.ends(&stream);
            }
            Reply::Error { stream: Some(stream), ended: true, .. } => {
                if self.open(stream.as_str()).is_some() {
                    self.ends(&stream);
                }
            }
            Reply::Error { stream: Some(stream), ended: false, .. } => {
                assert!(self.open(stream.as_str()).is_some());
            }
            Reply::Error { stream: None, .. } | Reply::Draining(_) | Reply::Ready(_) => {}
        }
    }

    /// The one last word of a stream.
    fn ends(&mut self, stream: &StreamName) -> &Held {
        let index = self.open(stream.as_str()).unwrap();
        let held = self.live(index);
        held.terminal = true;
        held
    }

    /// A stream that has not been released.
    fn live(&mut self, index: u16) -> &mut Held {
        let held = self.held.get_mut(&index).unwrap();
        assert!(!held.released, "stream {index} has been released");
        held
    }
}

fn stream(name: usize) -> StreamName {
    StreamName::parse(NAMES[name]).unwrap()
}

fn start(paced: bool, raw: bool) -> Start {
    Start {
        voice: VoiceChoice { provider: None, voice: Some("narrator".to_owned()), model: None },
        format: AudioFormat::default(),
        language: None,
        words: true,
        framing: if raw { Framing::Raw } else { Framing::Tagged },
        pace: paced.then_some(Pace { lead_ms: 60, frame_ms: 20 }),
        options: serde_json::Map::new(),
    }
}

fn route() -> RouteFacts {
    RouteFacts {
        provider: "one".to_owned(),
        voice: "theirs".to_owned(),
        model: None,
        format: AudioFormat::default(),
        first_audio: Duration::from_secs(5),
        gap: Duration::from_secs(3),
        end: Duration::from_secs(5),
        audio: Duration::from_secs(1_800),
    }
}
