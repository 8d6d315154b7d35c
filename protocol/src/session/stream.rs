//! One stream: what was asked, what was said upstream, what came back, what the client has had.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::timing::Stamps;
use super::{Action, Outcome, Settings, StreamEnd};
use crate::audio::Converter;
use crate::pace::Pacer;
use crate::reply::{Cancelled, Done, Started};
use crate::request::{Framing, Start};
use crate::{
    AudioFormat, Command, Event, Fault, FaultCode, FaultKind, Reply, StreamName, UpstreamFault, Word,
};

/// Most flushes of one stream that may be unanswered.
const FLUSHES: usize = 1024;
/// Longest audio frame towards a client, in bytes; whole samples of every encoding.
const PIECE: usize = 16 * 1024;
/// How soon a command that found no room is offered again.
const OFFER_AGAIN: Duration = Duration::from_millis(20);

/// One way the stream can be spoken, as admitted.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteFacts {
    /// The upstream's name.
    pub provider: String,
    /// Its voice.
    pub voice: String,
    /// Its model.
    pub model: Option<String>,
    /// The format it sends.
    pub format: AudioFormat,
    /// From text that must be spoken to its first audio.
    pub first_audio: Duration,
    /// Between two events while more is owed.
    pub gap: Duration,
}

/// What the lease cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leased {
    /// Waiting for a slot.
    pub queued: Duration,
    /// Waiting for a link.
    pub connected: Duration,
}

/// What a deadline has come to.
pub(super) enum Judgement {
    /// Nothing is wrong.
    Fine,
    /// The upstream owes something and has been silent for too long.
    Silent(UpstreamFault),
    /// The client opened the stream and never gave it text.
    Forgotten,
}

/// A flush the client waits for; `upstream` when one of our own flushes answers it.
#[derive(Debug)]
struct Flush {
    mark: Option<String>,
    upstream: bool,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) index: u16,
    pub(super) name: StreamName,
    start: Start,
    routes: Vec<RouteFacts>,
    route: usize,
    stamps: Stamps,
    leased: Option<Leased>,
    /// Commands the lease has not taken yet.
    unsent: VecDeque<Command>,
    unsent_bytes: usize,
    blocked: Option<Instant>,
    /// Commands the lease has taken, kept until the first audio in case another route must take over.
    replay: Vec<Command>,
    text: String,
    characters: u64,
    text_since_flush: bool,
    flushes: VecDeque<Flush>,
    /// Flushes the lease has taken and the upstream has not answered.
    flushes_sent: usize,
    ended: bool,
    end_sent: bool,
    upstream_done: bool,
    /// The last sign of life of an upstream that owes us something.
    progress: Instant,
    text_at: Instant,
    converter: Option<Converter>,
    pacer: Option<Pacer>,
    /// What must not be said before audio up to this position has gone out.
    after: VecDeque<(u64, Reply)>,
    words: Vec<Word>,
    received: u64,
    position: u64,
    audio_ms: u64,
}

impl Stream {
    /// A stream that waits for admission.
    ///
    /// # Errors
    /// Its pace is out of bounds or does not go with its format.
    pub(super) fn new(now: Instant, index: u16, name: StreamName, start: Start) -> Result<Self, Fault> {
        let pacer = start.pace.map(|pace| Pacer::new(pace, start.format)).transpose()?;
        Ok(Self {
            index,
            name,
            start,
            routes: Vec::new(),
            route: 0,
            stamps: Stamps::new(now),
            leased: None,
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            blocked: None,
            replay: Vec::new(),
            text: String::new(),
            characters: 0,
            text_since_flush: false,
            flushes: VecDeque::new(),
            flushes_sent: 0,
            ended: false,
            end_sent: false,
            upstream_done: false,
            progress: now,
            text_at: now,
            converter: None,
            pacer,
            after: VecDeque::new(),
            words: Vec::new(),
            received: 0,
            position: 0,
            audio_ms: 0,
        })
    }

    pub(super) fn framing(&self) -> Framing {
        self.start.framing
    }

    pub(super) fn route(&self) -> usize {
        self.route
    }

    pub(super) fn admit(&mut self, now: Instant, routes: Vec<RouteFacts>) {
        self.routes = routes;
        self.stamps.checkout(now);
    }

    /// Whether another event may be taken: a paced stream holds a bounded piece of the future.
    pub(super) fn has_room(&self, settings: &Settings) -> bool {
        self.pacer.as_ref().is_none_or(|pacer| pacer.queued_bytes() < settings.pace_buffer)
    }

    pub(super) fn open(
        &mut self,
        now: Instant,
        leased: Leased,
        actions: &mut VecDeque<Action>,
    ) -> Result<(), Fault> {
        let Some(route) = self.routes.get(self.route) else {
            return Err(Fault::new(FaultCode::Internal, "the stream has no route"));
        };
        self.converter = Some(Converter::new(route.format, self.start.format)?);
        let queued_ms = u64::try_from(leased.queued.as_millis()).unwrap_or(u64::MAX);
        let started = Started {
            index: self.index,
            provider: route.provider.clone(),
            voice: self.start.voice.voice.clone().unwrap_or_else(|| route.voice.clone()),
            model: route.model.clone(),
            format: self.start.format,
            queued_ms,
        };
        self.leased = Some(leased);
        self.stamps.leased(leased.queued, leased.connected);
        self.progress = now;
        actions.push_back(Action::Reply(Reply::Started(self.name.clone(), Box::new(started))));
        self.pump(now, actions);
        Ok(())
    }

    pub(super) fn on_text(
        &mut self,
        now: Instant,
        text: String,
        settings: &Settings,
        actions: &mut VecDeque<Action>,
    ) -> Result<(), Fault> {
        self.refuse_after_end("text")?;
        let characters = text.chars().count() as u64;
        if self.characters + characters > settings.characters_per_stream {
            return Err(Fault::new(
                FaultCode::TextTooLong,
                format!("a stream carries at most {} characters", settings.characters_per_stream),
            ));
        }
        if self.unsent_bytes + text.len() > settings.text_buffer {
            let detail = "too much text is waiting for the upstream; this piece was not taken";
            return Err(Fault::new(FaultCode::RateLimited, detail).retry_after(1000));
        }
        self.text_at = now;
        self.characters += characters;
        self.text.push_str(&text);
        if !text.trim().is_empty() {
            self.text_since_flush = true;
            self.stamps.text(now);
        }
        self.unsent_bytes += text.len();
        self.unsent.push_back(Command::Text(text));
        self.pump(now, actions);
        Ok(())
    }

    /// A flush is passed on when there is text to speak; else it is answered together with the
    /// flush before it, or at once.
    pub(super) fn on_flush(
        &mut self,
        now: Instant,
        mark: Option<String>,
        actions: &mut VecDeque<Action>,
    ) -> Result<(), Fault> {
        self.refuse_after_end("flush")?;
        if self.flushes.len() >= FLUSHES {
            return Err(
                Fault::new(FaultCode::RateLimited, "too many flushes are unanswered").retry_after(1000)
            );
        }
        let upstream = std::mem::take(&mut self.text_since_flush);
        self.flushes.push_back(Flush { mark, upstream });
        if upstream {
            self.unsent.push_back(Command::Flush);
            self.pump(now, actions);
        } else {
            self.answer_flushes(actions);
        }
        Ok(())
    }

    pub(super) fn on_end(&mut self, now: Instant, actions: &mut VecDeque<Action>) -> Result<(), Fault> {
        self.refuse_after_end("end")?;
        self.ended = true;
        self.unsent.push_back(Command::End);
        self.pump(now, actions);
        Ok(())
    }

    fn refuse_after_end(&self, what: &str) -> Result<(), Fault> {
        if self.ended { Err(Fault::invalid(what, "the stream has had its end")) } else { Ok(()) }
    }

    /// Offers the lease everything it has not taken. Text of white space only is success at no
    /// cost: the upstream never hears of it.
    fn pump(&mut self, now: Instant, actions: &mut VecDeque<Action>) {
        if self.leased.is_none() || self.blocked.is_some_and(|until| now < until) {
            return;
        }
        self.blocked = None;
        if self.text.trim().is_empty() {
            self.upstream_done |= self.ended;
            return;
        }
        if !self.owes() {
            self.progress = now;
        }
        for command in std::mem::take(&mut self.unsent) {
            match &command {
                Command::Text(text) => {
                    self.unsent_bytes = self.unsent_bytes.saturating_sub(text.len());
                    self.stamps.sent(now);
                }
                Command::Flush => self.flushes_sent += 1,
                Command::End => self.end_sent = true,
                Command::Start(_) | Command::Cancel => {}
            }
            if self.received == 0 {
                self.replay.push(command.clone());
            }
            actions.push_back(Action::Upstream { index: self.index, command });
        }
    }

    /// The lease had no room for these, in order.
    pub(super) fn take_back(&mut self, commands: Vec<Command>) {
        for command in commands.into_iter().rev() {
            match &command {
                Command::Text(text) => self.unsent_bytes += text.len(),
                Command::Flush => self.flushes_sent = self.flushes_sent.saturating_sub(1),
                Command::End => self.end_sent = false,
                Command::Start(_) | Command::Cancel => {}
            }
            if self.received == 0 {
                self.replay.pop();
            }
            self.unsent.push_front(command);
        }
        self.blocked = Some(self.progress.max(self.text_at) + OFFER_AGAIN);
    }

    pub(super) fn on_event(
        &mut self,
        now: Instant,
        event: Event,
        actions: &mut VecDeque<Action>,
    ) -> Result<(), UpstreamFault> {
        self.progress = now;
        match event {
            Event::Audio(audio) => self.on_audio(now, audio, actions),
            Event::Words { words, estimated } => self.on_words(words, estimated, actions),
            Event::Flushed => self.on_flushed(actions),
            Event::Done => self.on_done(now, actions)?,
            Event::Failed(fault) => return Err(fault),
        }
        self.pump(now, actions);
        Ok(())
    }

    fn on_audio(&mut self, now: Instant, audio: Bytes, actions: &mut VecDeque<Action>) {
        if audio.is_empty() {
            return;
        }
        if self.received == 0 {
            self.stamps.audio(now);
            self.replay = Vec::new();
        }
        self.received += audio.len() as u64;
        let Some(converter) = &mut self.converter else { return };
        let audio = converter.push(audio);
        self.hand_out(now, audio, actions);
    }

    fn hand_out(&mut self, now: Instant, audio: Bytes, actions: &mut VecDeque<Action>) {
        if audio.is_empty() {
            return;
        }
        match &mut self.pacer {
            Some(pacer) => {
                pacer.push(audio);
                self.release_audio(now, actions);
            }
            None => self.send(now, audio, actions),
        }
    }

    /// Sends audio in pieces that no client's buffer minds.
    fn send(&mut self, now: Instant, mut audio: Bytes, actions: &mut VecDeque<Action>) {
        self.stamps.out(now);
        while !audio.is_empty() {
            let piece = audio.split_to(audio.len().min(PIECE));
            let length = piece.len() as u64;
            actions.push_back(Action::Reply(self.audio_reply(piece, false)));
            self.position += length;
        }
        self.audio_ms = self.ms(self.position);
    }

    fn audio_reply(&self, audio: Bytes, last: bool) -> Reply {
        Reply::Audio {
            stream: self.name.clone(),
            index: self.index,
            audio,
            position: self.position,
            last,
            framing: self.start.framing,
        }
    }

    /// How long that much of the client's audio plays, in ms; a header plays nothing.
    fn ms(&self, bytes: u64) -> u64 {
        self.start.format.ms(bytes.saturating_sub(self.start.format.header_bytes() as u64))
    }

    fn on_words(&mut self, words: Vec<Word>, estimated: bool, actions: &mut VecDeque<Action>) {
        // A vendor cannot have more words to tell than characters it was given.
        let room = usize::try_from(self.characters).unwrap_or(usize::MAX).saturating_sub(self.words.len());
        let from = self.words.last().map_or(0, |word| word.start_ms);
        let words: Vec<Word> = words.into_iter().filter(|word| word.start_ms >= from).take(room).collect();
        if words.is_empty() {
            return;
        }
        self.words.extend(words.iter().cloned());
        if self.start.words {
            self.say(Reply::Words { stream: self.name.clone(), words, estimated }, actions);
        }
    }

    fn on_flushed(&mut self, actions: &mut VecDeque<Action>) {
        if let Some(at) = self.replay.iter().position(|command| *command == Command::Flush) {
            self.replay.drain(..=at);
        }
        if self.flushes_sent > 0 {
            self.flushes_sent -= 1;
            self.pop_flush(actions);
        }
        self.answer_flushes(actions);
    }

    /// Answers the flushes that wait for nothing any more.
    fn answer_flushes(&mut self, actions: &mut VecDeque<Action>) {
        while self.flushes.front().is_some_and(|flush| !flush.upstream) {
            self.pop_flush(actions);
        }
    }

    fn pop_flush(&mut self, actions: &mut VecDeque<Action>) {
        let Some(flush) = self.flushes.pop_front() else { return };
        let waiting = self.pacer.as_ref().map_or(0, Pacer::queued_bytes) as u64;
        let audio_ms = self.ms(self.position + waiting);
        self.say(Reply::Flushed { stream: self.name.clone(), mark: flush.mark, audio_ms }, actions);
    }

    fn on_done(&mut self, now: Instant, actions: &mut VecDeque<Action>) -> Result<(), UpstreamFault> {
        if !self.end_sent {
            return Err(UpstreamFault::new(
                self.broken(),
                "the upstream ended a stream that had not been ended",
            ));
        }
        if self.received == 0 && self.text.chars().any(char::is_alphanumeric) {
            return Err(UpstreamFault::new(FaultKind::NoAudio, "done without audio for text with letters"));
        }
        if let Some(converter) = &mut self.converter {
            let tail = converter.finish();
            self.hand_out(now, tail, actions);
        }
        if let Some(pacer) = &mut self.pacer {
            pacer.end();
        }
        while !self.flushes.is_empty() {
            self.pop_flush(actions);
        }
        self.flushes_sent = 0;
        self.upstream_done = true;
        Ok(())
    }

    fn broken(&self) -> FaultKind {
        if self.received == 0 { FaultKind::ClosedEarly } else { FaultKind::ClosedMidAudio }
    }

    /// Says it in its place behind the audio that is still held back.
    fn say(&mut self, reply: Reply, actions: &mut VecDeque<Action>) {
        match self.pacer.as_ref().map_or(0, Pacer::queued_bytes) {
            0 if self.after.is_empty() => actions.push_back(Action::Reply(reply)),
            waiting => self.after.push_back((self.position + waiting as u64, reply)),
        }
    }

    /// Sends the paced audio that is due, and what waits behind it.
    pub(super) fn release_audio(&mut self, now: Instant, actions: &mut VecDeque<Action>) {
        while let Some(audio) = self.pacer.as_mut().and_then(|pacer| pacer.pop(now)) {
            self.send(now, audio, actions);
            self.say_reached(actions);
        }
        self.say_reached(actions);
    }

    /// What is less than a frame waits for more audio: it holds nothing up.
    fn say_reached(&mut self, actions: &mut VecDeque<Action>) {
        let frame = u64::from(self.start.pace.map_or(0, |pace| pace.frame_ms));
        let frame_bytes = self.start.format.bytes_per_second().unwrap_or(0) * frame / 1000;
        let reached = self.position + frame_bytes.saturating_sub(1);
        while self.after.front().is_some_and(|(at, _)| *at <= reached) {
            if let Some((_, reply)) = self.after.pop_front() {
                actions.push_back(Action::Reply(reply));
            }
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        let released = self.pacer.as_ref().is_none_or(|pacer| pacer.queued_bytes() == 0);
        self.leased.is_some() && self.upstream_done && released && self.after.is_empty()
    }

    /// Whether the upstream has been asked for something it has not delivered.
    fn owes(&self) -> bool {
        self.flushes_sent > 0 || (self.end_sent && !self.upstream_done)
    }

    fn silence_limit(&self) -> Option<(Instant, FaultKind)> {
        let route = self.routes.get(self.route)?;
        if self.leased.is_none() || !self.owes() {
            return None;
        }
        Some(match self.received {
            0 => (self.progress + route.first_audio, FaultKind::FirstAudio),
            _ => (self.progress + route.gap, FaultKind::Stalled),
        })
    }

    pub(super) fn deadline(&self, settings: &Settings) -> Option<Instant> {
        let silence = self.silence_limit().map(|(at, _)| at);
        let text = (!self.ended).then(|| self.text_at + settings.text_idle);
        let paced = self.pacer.as_ref().and_then(Pacer::next_at);
        let offer = self.blocked.filter(|_| !self.unsent.is_empty());
        [silence, text, paced, offer].into_iter().flatten().min()
    }

    pub(super) fn on_timeout(
        &mut self,
        now: Instant,
        settings: &Settings,
        actions: &mut VecDeque<Action>,
    ) -> Judgement {
        self.pump(now, actions);
        if let Some((at, kind)) = self.silence_limit()
            && now >= at
        {
            return Judgement::Silent(UpstreamFault::new(kind, "silent for too long"));
        }
        if !self.ended && now >= self.text_at + settings.text_idle {
            if self.text.trim().is_empty() {
                return Judgement::Forgotten;
            }
            self.ended = true;
            self.unsent.push_back(Command::End);
            self.pump(now, actions);
        }
        Judgement::Fine
    }

    pub(super) fn forgive_silence(&mut self, now: Instant) {
        self.progress = now;
    }

    /// Moves to the next route if there is one and nothing has been heard yet.
    pub(super) fn next_route(&mut self, now: Instant) -> Option<usize> {
        if self.received > 0 || self.route + 1 >= self.routes.len() {
            return None;
        }
        self.route += 1;
        self.leased = None;
        self.blocked = None;
        self.converter = None;
        self.end_sent = false;
        self.flushes_sent = 0;
        self.words.clear();
        self.stamps.checkout(now);
        let again = std::mem::take(&mut self.replay);
        for command in again.into_iter().rev() {
            if let Command::Text(text) = &command {
                self.unsent_bytes += text.len();
            }
            self.unsent.push_front(command);
        }
        Some(self.route)
    }

    /// Audio sent so far in ms, once there was any.
    pub(super) fn audio_sent(&self) -> Option<u64> {
        (self.received > 0).then_some(self.audio_ms)
    }

    pub(super) fn cancelled(&self, now: Instant, played_ms: Option<u64>) -> Cancelled {
        let paced = self.pacer.as_ref().map(|pacer| pacer.played_ms(now));
        let heard_ms = played_ms.or(paced).map(|ms| ms.min(self.audio_ms));
        let split = heard_ms
            .filter(|_| !self.words.is_empty())
            .map(|ms| crate::words::split_heard(&self.words, &self.text, ms));
        let (heard_text, unheard_text) = split.unzip();
        Cancelled { sent_ms: self.audio_ms, heard_ms, heard_text, unheard_text }
    }

    /// The last words of a stream that was spoken to its end.
    pub(super) fn say_done(&self, auth: Duration, actions: &mut VecDeque<Action>) {
        if self.start.framing == Framing::Tagged {
            actions.push_back(Action::Reply(self.audio_reply(Bytes::new(), true)));
        }
        let (first_audio_ms, timing) = self.stamps.timing(auth);
        let done = Done {
            characters: self.characters,
            audio_ms: self.audio_ms,
            bytes: self.position,
            first_audio_ms,
            timing,
            provider: self.provider().unwrap_or_default(),
            resumed: 0,
        };
        actions.push_back(Action::Reply(Reply::Done(self.name.clone(), Box::new(done))));
    }

    fn provider(&self) -> Option<String> {
        self.routes.get(self.route).map(|route| route.provider.clone())
    }

    pub(super) fn into_end(self, outcome: Outcome, code: Option<FaultCode>) -> StreamEnd {
        let (first_audio_ms, timing) = self.stamps.timing(Duration::ZERO);
        StreamEnd {
            index: self.index,
            outcome,
            code,
            provider: self.provider(),
            characters: if self.leased.is_some() { self.characters } else { 0 },
            audio_ms: self.audio_ms,
            bytes: self.position,
            first_audio_ms,
            timing,
            underruns: self.pacer.as_ref().map_or(0, Pacer::underruns),
            name: self.name,
        }
    }
}
