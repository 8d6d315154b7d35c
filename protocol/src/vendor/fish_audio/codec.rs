//! Fish Audio's wire, translated for one link.
//!
//! The vendor marks the end of a run and of nothing smaller, and answers no flush. So a flush ends the
//! run with `stop`, and the text after it goes into the next run once `finish` has come. Nothing stops a
//! run: a link that is cancelled in the midst of one is not used again.

use bytes::Bytes;

use super::messages::{Alignment, ClientEvent, Request, ServerEvent, pack};
use super::options;
use crate::provider::ProviderCodec;
use crate::vendor::runs::{Act, Mark, Runs};
use crate::vendor::track::Track;
use crate::{Command, ContextId, Event, FaultKind, Frame, FrameRef, SynthesisSpec, UpstreamFault};

/// The state of one connection.
#[derive(Default)]
pub struct FishCodec {
    turn: Option<Turn>,
    owed: Vec<(ContextId, Event)>,
}

struct Turn {
    context: ContextId,
    spec: Box<SynthesisSpec>,
    runs: Runs,
    track: Track,
    /// Where the run begins in the stream, in ms: its times begin at 0.
    offset_ms: u64,
    /// The word times of the newest chunk: they may still be corrected.
    chunk: Option<Chunk>,
}

struct Chunk {
    seq: u64,
    offset: f64,
    alignment: Alignment,
}

impl FishCodec {
    fn advance(&mut self, out: &mut Vec<Frame>) {
        let Some(turn) = &mut self.turn else { return };
        while let Some(act) = turn.runs.next() {
            out.extend(match act {
                Act::Open => {
                    turn.offset_ms = turn.track.ms();
                    frame(&ClientEvent::Start { request: request(&turn.spec) })
                }
                Act::Text(text) => frame(&ClientEvent::Text { text: &text }),
                Act::Close => frame(&ClientEvent::Stop),
                Act::Answer(event) => {
                    self.owed.push((turn.context, event));
                    None
                }
            });
        }
    }

    fn finished(&mut self, reason: &str, out: &mut Vec<(ContextId, Event)>) -> Result<(), UpstreamFault> {
        let Some(turn) = &mut self.turn else {
            out.push((ContextId::FOREIGN, Event::Done));
            return Ok(());
        };
        let words = turn.take_words()?;
        out.extend(words.map(|words| (turn.context, words)));
        turn.track.cut();
        let failed = |note| Event::Failed(UpstreamFault::new(FaultKind::ContextError, note));
        let event = match (reason, turn.runs.ended()) {
            ("stop", Ok(event)) => event,
            ("stop", Err(_)) => Some(failed("the run was finished before its end")),
            _ => Some(failed("the run finished with an error")),
        };
        out.extend(event.map(|event| (turn.context, event)));
        Ok(())
    }
}

impl ProviderCodec for FishCodec {
    fn encode(&mut self, context: ContextId, command: &Command, out: &mut Vec<Frame>) {
        if let Command::Start(spec) = command {
            self.turn = Some(Turn::new(context, spec));
            return;
        }
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.context == context) else { return };
        match command {
            Command::Start(_) => {}
            Command::Text(text) => turn.runs.text(text),
            Command::Flush => turn.runs.close(Mark::Flush),
            Command::End => turn.runs.close(Mark::End),
            Command::Cancel => {
                if !turn.runs.cancel() {
                    self.owed.push((context, Event::Done));
                }
            }
        }
        self.advance(out);
    }

    fn decode(
        &mut self,
        frame: FrameRef<'_>,
        out: &mut Vec<(ContextId, Event)>,
    ) -> Result<(), UpstreamFault> {
        let FrameRef::Binary(bytes) = frame else {
            return Err(bad("text where binary is due"));
        };
        let message: ServerEvent<'_> = rmp_serde::from_slice(bytes).map_err(|_| bad("not a message"))?;
        match &*message.event {
            "audio" => {
                let audio = message.audio.map(|audio| bytes.slice_ref(audio)).unwrap_or_default();
                match &mut self.turn {
                    Some(turn) => turn.heard(audio, message, out)?,
                    None => out.push((ContextId::FOREIGN, Event::Audio(audio))),
                }
            }
            "finish" => self.finished(&message.reason, out)?,
            "error" => {
                let fault = error_fault(&message);
                let turn = self.turn.as_ref().ok_or_else(|| fault.clone())?;
                out.push((turn.context, Event::Failed(fault)));
            }
            // `log`, and whatever later versions send.
            _ => {}
        }
        if out.last().is_some_and(|(_, event)| event.is_last()) {
            self.turn = None;
        }
        Ok(())
    }

    fn settle(&mut self, frames: &mut Vec<(ContextId, Frame)>, events: &mut Vec<(ContextId, Event)>) {
        if let Some(context) = self.turn.as_ref().map(|turn| turn.context) {
            let mut freed = Vec::new();
            self.advance(&mut freed);
            frames.extend(freed.into_iter().map(|frame| (context, frame)));
        }
        if self.owed.iter().any(|(_, event)| event.is_last()) {
            self.turn = None;
        }
        events.append(&mut self.owed);
    }
}

impl Turn {
    fn new(context: ContextId, spec: &SynthesisSpec) -> Self {
        Self {
            context,
            spec: Box::new(spec.clone()),
            runs: Runs::new(),
            track: Track::new(spec.format),
            offset_ms: 0,
            chunk: None,
        }
    }

    fn heard(
        &mut self,
        audio: Bytes,
        message: ServerEvent<'_>,
        out: &mut Vec<(ContextId, Event)>,
    ) -> Result<(), UpstreamFault> {
        if !self.runs.is_running() {
            // Nothing of ours asks for it: whose audio it is cannot be known any more.
            return Err(UpstreamFault::new(FaultKind::ContextError, "audio outside a run"));
        }
        out.extend(self.track.audio(audio).map(|event| (self.context, event)));
        if !self.spec.words {
            return Ok(());
        }
        let seq = message.chunk_seq.unwrap_or(0);
        if self.chunk.as_ref().is_some_and(|chunk| chunk.seq < seq) {
            let words = self.take_words()?;
            out.extend(words.map(|words| (self.context, words)));
        }
        if let Some(alignment) = message.alignment {
            let offset = message.chunk_audio_offset_sec.unwrap_or(0.0);
            self.chunk = Some(Chunk { seq, offset, alignment });
        }
        Ok(())
    }

    /// The words of the newest chunk, which is complete.
    fn take_words(&mut self) -> Result<Option<Event>, UpstreamFault> {
        let Some(Chunk { offset, alignment, .. }) = self.chunk.take() else { return Ok(None) };
        let segments = alignment.segments.iter();
        let words = segments
            .map(|segment| {
                let (start, end) = (offset + segment.start, offset + segment.end);
                self.track.word(&segment.text, start, end, self.offset_ms)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok((!words.is_empty()).then_some(Event::Words { words, estimated: false }))
    }
}

fn request(spec: &SynthesisSpec) -> Request<'_> {
    Request {
        text: "",
        reference_id: &spec.voice,
        format: "pcm",
        sample_rate: spec.format.sample_rate,
        latency: options::latency(&spec.options),
        prosody: options::prosody(&spec.options),
        more: options::request(&spec.options),
    }
}

fn frame(event: &ClientEvent<'_>) -> Option<Frame> {
    pack(event).map(Frame::Binary)
}

/// An `error` event, by its words: it has no code. They are looked at and not kept. The words for key
/// and credit are those of <https://docs.fish.audio/api-reference/errors>; that they come here too is
/// assumed. Anything else is assumed to be about the request.
fn error_fault(message: &ServerEvent<'_>) -> UpstreamFault {
    let words = message.error.as_deref().unwrap_or_default().to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    let (kind, note) = if message.max_concurrency.is_some() || says(&["concurrency", "rate limit", "429"]) {
        (FaultKind::Throttled, "too many runs at once")
    } else if says(&["token", "unauthorized", "forbidden", "401", "403"]) {
        (FaultKind::Auth, "the key is refused")
    } else if says(&["credit", "balance", "payment", "402"]) {
        (FaultKind::Payment, "the credit is spent")
    } else if says(&["internal", "overload", "unavailable", "500", "503"]) {
        (FaultKind::ContextError, "the vendor failed")
    } else {
        (FaultKind::Rejected, "the request is refused")
    };
    UpstreamFault::new(kind, note)
}

fn bad(note: &'static str) -> UpstreamFault {
    UpstreamFault::new(FaultKind::BadFrame, note)
}
