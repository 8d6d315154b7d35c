//! Release of one stream's audio on an absolute clock, for players and bridges that want it as it is
//! heard and not as it is made.
//!
//! The clock starts with the first frame released. Every deadline is computed from that start and a
//! frame's number, so a late wake-up delays one frame and none after it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::request::Pace;
use crate::{AudioFormat, Fault, FaultCode};

/// Holds a stream's audio back until its time. How much it may hold is for its owner to say, who
/// stops taking audio from upstream while [`Pacer::queued_bytes`] is above the stream's budget.
#[derive(Debug)]
pub struct Pacer {
    format: AudioFormat,
    /// Bytes of one sample, at least 1.
    sample: u64,
    frame_ms: u64,
    /// How long before its time to be played a frame may go out.
    allowance: Duration,
    queue: VecDeque<Bytes>,
    queued: usize,
    ended: bool,
    /// Frames released so far; the next one has this number.
    frames: u64,
    /// Audio bytes released so far, without the header of a container.
    released: u64,
    header_due: usize,
    clock: Option<Clock>,
    /// The last time it was asked, the next frame had not come yet.
    dry: bool,
    underruns: u64,
}

/// When which frame is to be played.
#[derive(Debug, Clone, Copy)]
struct Clock {
    start: Instant,
    frame: u64,
}

impl Pacer {
    /// Checks the bounds of a pace: frames of 10 to 100 ms, a lead of at most 10 s.
    ///
    /// # Errors
    /// `invalid_request` naming the field.
    pub fn check(pace: &Pace) -> Result<(), Fault> {
        if !(10..=100).contains(&pace.frame_ms) {
            return Err(Fault::invalid("pace.frame_ms", "must be 10 to 100"));
        }
        if pace.lead_ms > 10_000 {
            return Err(Fault::invalid("pace.lead_ms", "must be 0 to 10000"));
        }
        Ok(())
    }

    /// A pacer for one stream whose audio comes in `format`.
    ///
    /// # Errors
    /// As [`Pacer::check`]; `unsupported_format` for a format in which time cannot be cut.
    pub fn new(pace: Pace, format: AudioFormat) -> Result<Self, Fault> {
        Self::check(&pace)?;
        let Some(sample) = format.encoding.sample_bytes().filter(|_| format.sample_rate > 0) else {
            let detail = "pace: only pcm_s16le, pcm_f32le, mulaw and alaw can be released on a clock";
            return Err(Fault::new(FaultCode::UnsupportedFormat, detail));
        };
        // The end of a frame is what must not be further ahead than the lead.
        let allowance = Duration::from_millis(u64::from(pace.lead_ms.saturating_sub(pace.frame_ms)));
        Ok(Self {
            format,
            sample: sample as u64,
            frame_ms: u64::from(pace.frame_ms),
            allowance,
            queue: VecDeque::new(),
            queued: 0,
            ended: false,
            frames: 0,
            released: 0,
            header_due: format.header_bytes(),
            clock: None,
            dry: false,
            underruns: 0,
        })
    }

    /// Takes audio, cut anywhere. Ask [`Pacer::pop`] after it: that is how it learns when audio came.
    pub fn push(&mut self, audio: Bytes) {
        if !audio.is_empty() && !self.ended {
            self.queued += audio.len();
            self.queue.push_back(audio);
        }
    }

    /// No more audio comes: what is left may go out as a shorter frame.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next frame, if its time has come: exactly `frame_ms` of audio, the last one perhaps less.
    /// (The header of a container travels with the first.) To be called until it gives none.
    pub fn pop(&mut self, now: Instant) -> Option<Bytes> {
        if !self.is_ready() {
            self.dry = !self.ended;
            return None;
        }
        let late = std::mem::take(&mut self.dry) && self.clock.is_some_and(|c| now > self.play_time(c));
        if late {
            self.underruns += 1;
        }
        let clock = match self.clock {
            Some(clock) if !late => clock,
            _ => *self.clock.insert(Clock { start: now, frame: self.frames }),
        };
        if now < self.deadline(clock) {
            return None;
        }
        let size = self.frame_size().min(self.queued);
        self.released += (size - std::mem::take(&mut self.header_due).min(size)) as u64;
        self.frames += 1;
        Some(self.take(size))
    }

    /// When to ask again; none while there is nothing to release. (Before the first frame there is
    /// no clock: ask right after pushing.)
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        self.clock.filter(|_| self.is_ready()).map(|clock| self.deadline(clock))
    }

    /// Whether everything pushed has been released and nothing more comes.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ended && self.queued == 0
    }

    /// Bytes that wait for their time.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued
    }

    /// Drops what waits; gives how many bytes that was.
    pub fn clear(&mut self) -> usize {
        self.queue.clear();
        std::mem::take(&mut self.queued)
    }

    /// Audio released so far, in ms.
    #[must_use]
    pub fn released_ms(&self) -> u64 {
        self.format.ms(self.released)
    }

    /// Audio that a listener who plays each frame at its time has heard by now, in ms.
    #[must_use]
    pub fn played_ms(&self, now: Instant) -> u64 {
        let Some(clock) = self.clock else { return 0 };
        let since = u64::try_from(now.saturating_duration_since(clock.start).as_millis()).unwrap_or(u64::MAX);
        (clock.frame * self.frame_ms).saturating_add(since).min(self.released_ms())
    }

    /// How often a frame came after the listener had run out of audio.
    #[must_use]
    pub fn underruns(&self) -> u64 {
        self.underruns
    }

    fn is_ready(&self) -> bool {
        self.queued >= self.frame_size() || (self.ended && self.queued > 0)
    }

    /// Bytes of the next frame, by the absolute positions of its ends: a frame may have half a sample
    /// more or less than the one before, ten minutes of them may not.
    fn frame_size(&self) -> usize {
        let samples = |frame: u64| frame * self.frame_ms * u64::from(self.format.sample_rate) / 1000;
        let end = samples(self.frames + 1) * self.sample;
        (end.saturating_sub(self.released)) as usize + self.header_due
    }

    fn play_time(&self, clock: Clock) -> Instant {
        clock.start + Duration::from_millis((self.frames - clock.frame) * self.frame_ms)
    }

    fn deadline(&self, clock: Clock) -> Instant {
        self.play_time(clock).checked_sub(self.allowance).map_or(clock.start, |at| at.max(clock.start))
    }

    /// That many of the queued bytes, moved where they lie together.
    fn take(&mut self, size: usize) -> Bytes {
        self.queued -= size;
        if let Some(first) = self.queue.front_mut()
            && first.len() > size
        {
            return first.split_to(size);
        }
        if self.queue.front().is_some_and(|first| first.len() == size) {
            return self.queue.pop_front().unwrap_or_default();
        }
        let mut out = BytesMut::with_capacity(size);
        while out.len() < size {
            let Some(mut first) = self.queue.pop_front() else { break };
            out.extend_from_slice(&first.split_to(first.len().min(size - out.len())));
            if !first.is_empty() {
                self.queue.push_front(first);
            }
        }
        out.freeze()
    }
}
