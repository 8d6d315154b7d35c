//! One context of a link: what was said to the vendor, and what its answers mean.

use base64::Engine as _;
use base64::engine::Simd;
use bytes::Bytes;
use serde_json::Value;

use super::alignment::Spelling;
use super::messages::{ClientMessage, ServerMessage};
use super::options;
use crate::{Event, FaultKind, SynthesisSpec, UpstreamFault};

/// Spaces kept for the next word, in bytes; more of them say no more.
const HELD_MAX: usize = 64;

pub(super) struct Turn {
    spec: Box<SynthesisSpec>,
    voice_settings: Option<Value>,
    generation_config: Option<Value>,
    /// The vendor knows of it.
    pub(super) opened: bool,
    /// The vendor has been told that no more text comes.
    pub(super) ended: bool,
    /// White space without a word behind it yet: alone it would be read as a sign of life.
    held: String,
    flushes: u32,
    audio_bytes: u64,
    spelling: Spelling,
}

impl Turn {
    pub(super) fn new(spec: &SynthesisSpec) -> Self {
        Self {
            spec: Box::new(spec.clone()),
            voice_settings: options::voice_settings(&spec.options),
            generation_config: options::generation_config(&spec.options),
            opened: false,
            ended: false,
            held: String::new(),
            flushes: 0,
            audio_bytes: 0,
            spelling: Spelling::default(),
        }
    }

    /// The message that opens the context: one space and all that may be said only once.
    pub(super) fn opening(&self) -> ClientMessage<'_> {
        ClientMessage {
            text: Some(" "),
            voice_settings: self.voice_settings.as_ref(),
            generation_config: self.generation_config.as_ref(),
            pronunciation_dictionary_locators: self.spec.options.get("pronunciation_dictionary_locators"),
            ..ClientMessage::default()
        }
    }

    /// The text to send for `text`: with the space held before it, or nothing where it is space itself.
    pub(super) fn text(&mut self, text: &str) -> Option<String> {
        if text.trim().is_empty() {
            let room = HELD_MAX.saturating_sub(self.held.len());
            self.held.push_str(&text[..text.floor_char_boundary(room)]);
            return None;
        }
        Some(std::mem::take(&mut self.held) + text)
    }

    pub(super) fn flush(&mut self) {
        self.flushes = self.flushes.saturating_add(1);
    }

    /// What a message other than an error means.
    pub(super) fn hear(
        &mut self,
        message: &ServerMessage<'_>,
        base64: &Simd,
        out: &mut Vec<Event>,
    ) -> Result<(), UpstreamFault> {
        let audio = audio(message, base64)?;
        if audio.len() % self.spec.format.encoding.sample_bytes().unwrap_or(1) != 0 {
            return Err(bad("audio ends within a sample"));
        }
        let flushed = message.kind.as_ref().is_some_and(|kind| kind.0 == "flush_done");
        if self.spec.words {
            self.words(message, flushed || message.is_last(), out)?;
        }
        if !audio.is_empty() {
            self.audio_bytes += audio.len() as u64;
            out.push(Event::Audio(audio));
        }
        // A `flush_done` that answers no flush of ours is not an event.
        if flushed && self.flushes > 0 {
            self.flushes -= 1;
            out.push(Event::Flushed);
        }
        if message.is_last() {
            // Assumed: where flushes are not answered one by one, the end answers them all.
            out.extend((0..self.flushes).map(|_| Event::Flushed));
            out.push(Event::Done);
        }
        Ok(())
    }

    /// Times count from the audio they come with, and that begins where the audio before it ended.
    fn words(
        &mut self,
        message: &ServerMessage<'_>,
        whole: bool,
        out: &mut Vec<Event>,
    ) -> Result<(), UpstreamFault> {
        let mut words = Vec::new();
        if let Some(alignment) = message.alignment.as_ref().or(message.normalized.as_ref()) {
            let offset = self.spec.format.ms(self.audio_bytes);
            let read = self.spelling.read(alignment, offset, &mut words);
            read.ok_or_else(|| bad("character times that make no sense"))?;
        }
        if whole {
            words.extend(self.spelling.finish());
        }
        if !words.is_empty() {
            out.push(Event::Words { words, estimated: false });
        }
        Ok(())
    }
}

/// The audio of a message; empty where there is none.
pub(super) fn audio(message: &ServerMessage<'_>, base64: &Simd) -> Result<Bytes, UpstreamFault> {
    let Some(audio) = &message.audio else { return Ok(Bytes::new()) };
    let audio = base64.decode(audio.0.as_bytes()).map_err(|_| bad("audio is not base64"))?;
    Ok(Bytes::from(audio))
}

pub(super) fn bad(note: &'static str) -> UpstreamFault {
    UpstreamFault::new(FaultKind::BadFrame, note)
}
