//! One stream from its start to its end: the text side ([`Script`]) and the audio side ([`Output`])
//! held together by the route it is spoken on.

mod output;
mod report;
mod script;
mod timing;
mod watch;
mod words;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use output::Output;
use script::{Mark, Script};
use timing::Stamps;
use watch::Watch;

use super::{Action, Leased, RouteFacts, Settings};
use crate::reply::Started;
use crate::request::{Framing, Start};
use crate::{Command, Event, Fault, FaultCode, FaultKind, Reply, StreamName, UpstreamFault};

/// How soon a command that found no room is offered again.
const OFFER_AGAIN: Duration = Duration::from_millis(20);

/// Bytes per second of audio whose rate varies: the most that MP3 has, 320 kbit/s.
const COMPRESSED_MAX: u64 = 40_000;

/// What a deadline has come to.
pub(super) enum Judgement {
    /// Nothing is wrong.
    Fine,
    /// The upstream owes something and has been silent for too long.
    Silent(UpstreamFault),
    /// The client opened the stream and never gave it text.
    Forgotten,
}

/// How a stream stands with its upstream.
#[derive(Debug, PartialEq)]
enum Link {
    /// There is no lease.
    None,
    /// A lease is held.
    Leased,
    /// All its audio has come.
    Done,
    /// It broke after its first audio: what had come still goes out, then this is told.
    Broken(Fault),
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) index: u16,
    pub(super) name: StreamName,
    start: Start,
    routes: Vec<RouteFacts>,
    route: usize,
    link: Link,
    script: Script,
    output: Output,
    watch: Watch,
    stamps: Stamps,
    /// The lease has no room: nothing is offered before this.
    blocked: Option<Instant>,
    /// When the client last asked for something to be spoken.
    asked: Instant,
}

impl Stream {
    /// A stream that waits for admission.
    ///
    /// # Errors
    /// Its pace is out of bounds or does not go with its format.
    pub(super) fn new(
        now: Instant,
        index: u16,
        name: StreamName,
        start: Start,
        settings: &Settings,
    ) -> Result<Self, Fault> {
        Ok(Self {
            index,
            output: Output::new(name.clone(), index, &start, settings.pace_buffer)?,
            name,
            start,
            routes: Vec::new(),
            route: 0,
            link: Link::None,
            script: Script::default(),
            watch: Watch::new(now),
            stamps: Stamps::new(now),
            blocked: None,
            asked: now,
        })
    }

    pub(super) fn framing(&self) -> Framing {
        self.start.framing
    }

    pub(super) fn route(&self) -> usize {
        self.route
    }

    pub(super) fn next_frame_at(&self) -> Option<Instant> {
        self.output.next_at()
    }

    pub(super) fn has_room(&self) -> bool {
        self.output.has_room()
    }

    pub(super) fn admit(&mut self, now: Instant, routes: Vec<RouteFacts>) {
        self.routes = routes;
        self.stamps.checkout(now);
    }

    /// A lease is held on the present route.
    ///
    /// # Errors
    /// The route's audio cannot be made into what the client wants.
    pub(super) fn open(
        &mut self,
        now: Instant,
        leased: Leased,
        actions: &mut VecDeque<Action>,
    ) -> Result<(), Fault> {
        self.begin(leased.queued, actions)?;
        self.link = Link::Leased;
        self.stamps.leased(leased.queued, leased.connected);
        self.pump(now, actions);
        Ok(())
    }

    fn begin(&mut self, queued: Duration, actions: &mut VecDeque<Action>) -> Result<(), Fault> {
        let Some(route) = self.routes.get(self.route) else {
            return Err(Fault::new(FaultCode::Internal, "the stream has no route"));
        };
        self.output.open(route.format)?;
        let started = Started {
            index: self.index,
            provider: route.provider.clone(),
            voice: self.start.voice.voice.clone().unwrap_or_else(|| route.voice.clone()),
            model: route.model.clone(),
            format: self.start.format,
            queued_ms: u64::try_from(queued.as_millis()).unwrap_or(u64::MAX),
        };
        actions.push_back(Action::Reply(Reply::Started(self.name.clone(), Box::new(started))));
        self.output.tell_reached(actions);
        Ok(())
    }

    pub(super) fn on_text(
        &mut self,
        now: Instant,
        text: &str,
        settings: &Settings,
        actions: &mut VecDeque<Action>,
    ) -> Result<(), Fault> {
        if self.is_broken() {
            return Ok(());
        }
        self.script.append(text, settings.characters_per_stream, settings.text_buffer)?;
        self.asked = now;
        if self.script.is_speakable() {
            self.stamps.text(now);
        }
        self.pump(now, actions);
        Ok(())
    }

    pub(super) fn on_flush(
        &mut self,
        now: Instant,
        mark: Option<String>,
        actions: &mut VecDeque<Action>,
    ) -> Result<(), Fault> {
        if self.is_broken() {
            return Ok(());
        }
        if let Some(Mark(mark)) = self.script.flush(mark, self.output.held())? {
            self.output.tell_flushed(mark, actions);
        }
        self.asked = now;
        self.pump(now, actions);
        Ok(())
    }

    pub(super) fn on_end(&mut self, now: Instant, actions: &mut VecDeque<Action>) -> Result<(), Fault> {
        if self.is_broken() {
            return Ok(());
        }
        self.script.end()?;
        self.pump(now, actions);
        Ok(())
    }

    /// Its client does not know yet that it has failed: what it still says is no fault.
    fn is_broken(&self) -> bool {
        matches!(self.link, Link::Broken(_))
    }

    /// Offers the lease everything it has not taken.
    fn pump(&mut self, now: Instant, actions: &mut VecDeque<Action>) {
        if self.link != Link::Leased || self.blocked.is_some_and(|until| now < until) {
            return;
        }
        self.blocked = None;
        let owed = self.script.is_owed();
        while let Some(command) = self.script.next() {
            if matches!(command, Command::Text(_)) {
                self.stamps.sent(now);
            }
            actions.push_back(Action::Upstream { index: self.index, command });
        }
        if !owed {
            self.watch.begin(now);
        }
    }

    /// The lease had no room for these, the last it was given.
    pub(super) fn take_back(&mut self, now: Instant, commands: &[Command]) {
        for command in commands {
            self.script.take_back(command);
        }
        self.blocked = Some(now + OFFER_AGAIN);
    }

    /// What the upstream says; nothing of it counts without a lease.
    pub(super) fn on_event(
        &mut self,
        now: Instant,
        event: Event,
        actions: &mut VecDeque<Action>,
    ) -> Result<(), UpstreamFault> {
        match (event, &self.link) {
            (Event::Failed(fault), Link::None | Link::Leased) => return Err(fault),
            (event, Link::Leased) => self.hear(now, event, actions)?,
            _ => return Ok(()),
        }
        self.pump(now, actions);
        Ok(())
    }

    fn hear(
        &mut self,
        now: Instant,
        event: Event,
        actions: &mut VecDeque<Action>,
    ) -> Result<(), UpstreamFault> {
        self.watch.life(now, matches!(event, Event::Audio(_)));
        match event {
            // Audio of nothing is not this stream's.
            Event::Audio(audio) if audio.is_empty() || !self.script.is_speakable() => {}
            Event::Audio(audio) => {
                self.stamps.audio(now);
                self.output.push(now, audio, actions);
                self.check_length()?;
            }
            Event::Words { words, estimated } => {
                self.output.push_words(words, estimated, self.script.characters(), actions);
            }
            Event::Flushed => {
                for mark in self.script.flushed() {
                    self.output.tell_flushed(mark, actions);
                }
            }
            Event::Done => self.on_done(now, actions)?,
            Event::Failed(fault) => return Err(fault),
        }
        Ok(())
    }

    /// An upstream that never stops must not be listened to for ever.
    fn check_length(&self) -> Result<(), UpstreamFault> {
        let Some(route) = self.routes.get(self.route) else { return Ok(()) };
        let rate = route.format.bytes_per_second().unwrap_or(COMPRESSED_MAX);
        if self.output.received() > route.audio.as_secs().saturating_mul(rate) {
            return Err(UpstreamFault::new(FaultKind::Oversize, "more audio than a stream may have"));
        }
        Ok(())
    }

    fn on_done(&mut self, now: Instant, actions: &mut VecDeque<Action>) -> Result<(), UpstreamFault> {
        let begun = self.output.has_begun();
        if !self.script.end_sent() {
            let kind = if begun { FaultKind::ClosedMidAudio } else { FaultKind::ClosedEarly };
            return Err(UpstreamFault::new(kind, "the upstream ended a stream that had not been ended"));
        }
        if !begun && self.script.has_letters() {
            return Err(UpstreamFault::new(FaultKind::NoAudio, "done without audio for text with letters"));
        }
        self.output.finish(now, actions);
        for mark in self.script.flushed_all() {
            self.output.tell_flushed(mark, actions);
        }
        self.link = Link::Done;
        Ok(())
    }

    /// The upstream is lost after its first audio: all that has come goes out before this is told.
    pub(super) fn break_off(&mut self, now: Instant, fault: Fault, actions: &mut VecDeque<Action>) {
        self.output.finish(now, actions);
        self.link = Link::Broken(fault);
    }

    /// Sends the paced audio that is due.
    pub(super) fn release(&mut self, now: Instant, actions: &mut VecDeque<Action>) {
        let full = !self.output.has_room();
        self.output.release(now, actions);
        if full {
            // Nothing was taken from the upstream meanwhile: the silence was ours.
            self.watch.forgive(now);
        }
    }

    /// Ends a stream that was given nothing to speak: no upstream is needed for that.
    pub(super) fn end_unspoken(&mut self, now: Instant, actions: &mut VecDeque<Action>) {
        let unspoken = self.script.is_ended() && !self.script.is_speakable();
        if !unspoken || self.routes.is_empty() || matches!(self.link, Link::Done | Link::Broken(_)) {
            return;
        }
        let begun = if self.output.is_started() { Ok(()) } else { self.begin(Duration::ZERO, actions) };
        self.output.finish(now, actions);
        self.link = begun.map_or_else(Link::Broken, |()| Link::Done);
    }

    /// Whether it is over, and how.
    pub(super) fn outcome(&self) -> Option<Result<(), Fault>> {
        match &self.link {
            _ if !self.output.is_drained() => None,
            Link::Done => Some(Ok(())),
            Link::Broken(fault) => Some(Err(fault.clone())),
            Link::None | Link::Leased => None,
        }
    }

    fn silence(&self) -> Option<(Instant, FaultKind)> {
        let route = self.routes.get(self.route)?;
        let judged = self.link == Link::Leased && self.script.is_owed() && self.output.has_room();
        judged.then(|| self.watch.limit(route, self.script.is_all_spoken()))
    }

    fn text_deadline(&self, settings: &Settings) -> Option<Instant> {
        let waits = !self.script.is_ended() && !self.is_broken();
        waits.then(|| self.asked + settings.text_idle)
    }

    pub(super) fn deadline(&self, settings: &Settings) -> Option<Instant> {
        let silence = self.silence().map(|(at, _)| at);
        let offer = self.blocked.filter(|_| self.link == Link::Leased && self.script.has_unsent());
        let text = self.text_deadline(settings);
        [silence, text, self.output.next_at(), offer].into_iter().flatten().min()
    }

    /// Silence is judged first: what is offered to a lease must not be taken from it in one call.
    pub(super) fn on_timeout(
        &mut self,
        now: Instant,
        settings: &Settings,
        actions: &mut VecDeque<Action>,
    ) -> Judgement {
        if let Some((_, kind)) = self.silence().filter(|(at, _)| now >= *at) {
            return Judgement::Silent(UpstreamFault::new(kind, "silent for too long"));
        }
        if self.text_deadline(settings).is_some_and(|at| now >= at) {
            if !self.script.is_speakable() {
                return Judgement::Forgotten;
            }
            // It has not ended: that was the condition of having a deadline.
            let _ = self.script.end();
        }
        self.pump(now, actions);
        Judgement::Fine
    }

    pub(super) fn forgive_silence(&mut self, now: Instant) {
        self.watch.forgive(now);
    }

    /// Moves to the next route if there is one and nothing has been heard yet.
    pub(super) fn next_route(&mut self, now: Instant) -> bool {
        if self.output.has_begun() || self.route + 1 >= self.routes.len() {
            return false;
        }
        self.route += 1;
        self.link = Link::None;
        self.blocked = None;
        self.script.rewind();
        self.output.reset();
        self.stamps.checkout(now);
        true
    }
}
