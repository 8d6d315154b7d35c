//! The audio side of a stream: what came from upstream, in the client's format, on the client's
//! clock, and everything that must be told in its place among the audio.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::words::WordTimes;
use crate::audio::Converter;
use crate::pace::Pacer;
use crate::request::{Framing, Start};
use crate::session::Action;
use crate::{AudioFormat, Fault, Reply, StreamName, Word};

/// Longest audio frame towards a client, in bytes; whole samples of every encoding.
const PIECE: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Output {
    stream: StreamName,
    index: u16,
    format: AudioFormat,
    framing: Framing,
    converter: Option<Converter>,
    pacer: Option<Pacer>,
    /// Most bytes the pacer is meant to hold.
    pace_buffer: usize,
    /// The client knows that the stream has begun.
    started: bool,
    /// What must not be told before audio up to this position has gone out.
    after: VecDeque<(u64, Reply)>,
    words: WordTimes,
    /// Audio bytes from upstream.
    received: u64,
    /// Bytes sent to the client, and how long they play.
    position: u64,
    audio_ms: u64,
    first_sent: Option<Instant>,
}

impl Output {
    /// # Errors
    /// The pace is out of bounds or does not go with the format.
    pub(super) fn new(
        stream: StreamName,
        index: u16,
        start: &Start,
        pace_buffer: usize,
    ) -> Result<Self, Fault> {
        Ok(Self {
            stream,
            index,
            format: start.format,
            framing: start.framing,
            converter: None,
            pacer: start.pace.map(|pace| Pacer::new(pace, start.format)).transpose()?,
            pace_buffer,
            started: false,
            after: VecDeque::new(),
            words: WordTimes::new(start.words),
            received: 0,
            position: 0,
            audio_ms: 0,
            first_sent: None,
        })
    }

    /// Audio comes in this format from now on; the client has been told that the stream has begun.
    ///
    /// # Errors
    /// `unsupported_format`.
    pub(super) fn open(&mut self, from: AudioFormat) -> Result<(), Fault> {
        self.converter = Some(Converter::new(from, self.format)?);
        self.started = true;
        Ok(())
    }

    /// Another upstream takes over before anything came of this one.
    pub(super) fn reset(&mut self) {
        self.converter = None;
        self.words.clear();
    }

    /// Takes audio from upstream, and sends what may go out now.
    pub(super) fn push(&mut self, now: Instant, audio: Bytes, actions: &mut VecDeque<Action>) {
        let Some(converter) = &mut self.converter else { return };
        self.received += audio.len() as u64;
        let audio = converter.push(audio);
        self.hand_out(now, audio, actions);
        self.tell_words(actions);
    }

    /// No more audio comes: what is left may go out.
    pub(super) fn finish(&mut self, now: Instant, actions: &mut VecDeque<Action>) {
        if let Some(mut converter) = self.converter.take() {
            self.hand_out(now, converter.finish(), actions);
        }
        if let Some(pacer) = &mut self.pacer {
            pacer.end();
        }
        self.release(now, actions);
    }

    /// Takes word times. They wait for the first audio: before it another upstream may take over and
    /// tell other ones.
    pub(super) fn push_words(
        &mut self,
        words: Vec<Word>,
        estimated: bool,
        most: u64,
        actions: &mut VecDeque<Action>,
    ) {
        self.words.push(words, estimated, most);
        if self.received > 0 {
            self.tell_words(actions);
        }
    }

    fn tell_words(&mut self, actions: &mut VecDeque<Action>) {
        if let Some((words, estimated)) = self.words.untold() {
            self.tell(Reply::Words { stream: self.stream.clone(), words, estimated }, actions);
        }
    }

    /// A flush is complete: all its audio is here.
    pub(super) fn tell_flushed(&mut self, mark: Option<String>, actions: &mut VecDeque<Action>) {
        let audio_ms = self.ms(self.position + self.waiting());
        self.tell(Reply::Flushed { stream: self.stream.clone(), mark, audio_ms }, actions);
    }

    /// The end mark of a stream with tagged frames.
    pub(super) fn tell_last(&self, actions: &mut VecDeque<Action>) {
        if self.framing == Framing::Tagged {
            actions.push_back(Action::Reply(self.frame(Bytes::new(), true)));
        }
    }

    /// Sends the paced audio that is due, and what waits behind it.
    pub(super) fn release(&mut self, now: Instant, actions: &mut VecDeque<Action>) {
        while let Some(audio) = self.pacer.as_mut().and_then(|pacer| pacer.pop(now)) {
            self.send(now, audio, actions);
            self.tell_reached(actions);
        }
        self.tell_reached(actions);
    }

    fn hand_out(&mut self, now: Instant, audio: Bytes, actions: &mut VecDeque<Action>) {
        match &mut self.pacer {
            _ if audio.is_empty() => {}
            Some(pacer) => {
                pacer.push(audio);
                self.release(now, actions);
            }
            None => self.send(now, audio, actions),
        }
    }

    /// Sends audio in pieces that no client's buffer minds.
    fn send(&mut self, now: Instant, mut audio: Bytes, actions: &mut VecDeque<Action>) {
        self.first_sent.get_or_insert(now);
        while !audio.is_empty() {
            let piece = audio.split_to(audio.len().min(PIECE));
            let length = piece.len() as u64;
            actions.push_back(Action::Reply(self.frame(piece, false)));
            self.position += length;
        }
        self.audio_ms = self.ms(self.position);
    }

    fn frame(&self, audio: Bytes, last: bool) -> Reply {
        Reply::Audio {
            stream: self.stream.clone(),
            index: self.index,
            audio,
            position: self.position,
            last,
            framing: self.framing,
        }
    }

    /// Tells it in its place: behind `started`, and behind the audio that is still held back.
    fn tell(&mut self, reply: Reply, actions: &mut VecDeque<Action>) {
        self.after.push_back((self.position + self.waiting(), reply));
        self.tell_reached(actions);
    }

    pub(super) fn tell_reached(&mut self, actions: &mut VecDeque<Action>) {
        let reached = self.position + self.stuck();
        while self.started && self.after.front().is_some_and(|(at, _)| *at <= reached) {
            if let Some((_, reply)) = self.after.pop_front() {
                actions.push_back(Action::Reply(reply));
            }
        }
    }

    /// Bytes that wait for their time.
    fn waiting(&self) -> u64 {
        self.pacer.as_ref().map_or(0, Pacer::queued_bytes) as u64
    }

    /// Bytes that no time brings out: less than a frame waits for more audio, and holds nothing up.
    fn stuck(&self) -> u64 {
        if self.next_at().is_none() { self.waiting() } else { 0 }
    }

    /// How long that much of the client's audio plays, in ms; a header plays nothing.
    fn ms(&self, bytes: u64) -> u64 {
        self.format.ms(bytes.saturating_sub(self.format.header_bytes() as u64))
    }

    /// When audio is due next.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.pacer.as_ref().and_then(Pacer::next_at)
    }

    /// Whether more may be taken: a paced stream holds a bounded piece of the future.
    pub(super) fn has_room(&self) -> bool {
        self.waiting() < self.pace_buffer.max(1) as u64
    }

    /// Whether everything taken has gone out.
    pub(super) fn is_drained(&self) -> bool {
        self.waiting() == 0 && self.after.is_empty()
    }

    /// Replies that wait for their place.
    pub(super) fn held(&self) -> usize {
        self.after.len()
    }

    pub(super) fn is_started(&self) -> bool {
        self.started
    }

    /// Whether an upstream has been heard: from then on no other may say it again.
    pub(super) fn has_begun(&self) -> bool {
        self.received > 0
    }

    /// Audio bytes from upstream.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn bytes(&self) -> u64 {
        self.position
    }

    pub(super) fn audio_ms(&self) -> u64 {
        self.audio_ms
    }

    /// When the first byte went out.
    pub(super) fn first_sent(&self) -> Option<Instant> {
        self.first_sent
    }

    /// What the listener of a paced stream has heard by now, in ms.
    pub(super) fn played_ms(&self, now: Instant) -> Option<u64> {
        self.pacer.as_ref().map(|pacer| pacer.played_ms(now))
    }

    pub(super) fn underruns(&self) -> u64 {
        self.pacer.as_ref().map_or(0, Pacer::underruns)
    }

    /// The words whose times are known.
    pub(super) fn words(&self) -> &[Word] {
        self.words.all()
    }
}
