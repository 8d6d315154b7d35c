//! `/ws3` and `/ws2`: one buffer, one synthesis at a time, its end told by `done`.
//!
//! The link is dialled with `segment=never`, so that one flush is one synthesis is one `done`
//! (<https://docs.rime.ai/docs/websockets-segment>). Sentences are cut here, and the next one is sent
//! when the one before is done: nothing ever waits in the vendor's buffer, and after a cancel the
//! `done` of the running synthesis proves the link clean.

use base64::Engine as _;
use base64::engine::Simd;
use base64::engine::general_purpose::PAD;
use bytes::Bytes;
use serde::Serialize;

use super::faults;
use super::messages::{Operation, Say, ServerMessage, WordTimestamps};
use crate::provider::ProviderCodec;
use crate::segment::Segmenter;
use crate::vendor::runs::{Act, Mark, Runs};
use crate::vendor::track::Track;
use crate::{Command, ContextId, Event, FaultKind, Frame, FrameRef, SynthesisSpec, UpstreamFault};

/// Most characters the vendor takes at once (<https://docs.rime.ai/docs/errors>); assumed to be meant
/// per synthesis.
const PIECE_MAX: usize = 1000;

/// The state of one connection.
pub struct JsonCodec {
    prefix: String,
    base64: Simd,
    turn: Option<Turn>,
    /// Events that need no answer of the vendor.
    owed: Vec<(ContextId, Event)>,
}

struct Turn {
    context: ContextId,
    /// Fresh for every turn and on every text, because the vendor's current name sticks.
    name: String,
    words: bool,
    segmenter: Segmenter,
    runs: Runs,
    track: Track,
    /// Where the current synthesis begins in the stream, in ms: its word times begin at 0.
    offset_ms: u64,
}

impl JsonCodec {
    /// A codec whose context names are `vr-<seed>-<number>`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { prefix: format!("vr-{seed:016x}-"), base64: Simd::standard(PAD), turn: None, owed: Vec::new() }
    }

    fn parse(&self, name: &str) -> ContextId {
        let number = name.strip_prefix(self.prefix.as_str()).and_then(|number| number.parse().ok());
        number.map_or(ContextId::FOREIGN, ContextId)
    }

    fn advance(&mut self, out: &mut Vec<Frame>) {
        let Some(turn) = &mut self.turn else { return };
        while let Some(act) = turn.runs.next() {
            match act {
                Act::Open => turn.offset_ms = turn.track.ms(),
                Act::Text(text) => out.extend(json(&Say { text: &text, context_id: &turn.name })),
                Act::Close => out.extend(operation("flush")),
                Act::Answer(event) => self.owed.push((turn.context, event)),
            }
        }
    }

    fn cancel(&mut self, out: &mut Vec<Frame>) {
        let Some(turn) = &mut self.turn else { return };
        if turn.runs.cancel() {
            // What is being synthesised is assumed to come all the same, and its `done` with it.
            out.extend(operation("clear"));
        } else {
            self.owed.push((turn.context, Event::Done));
        }
    }

    /// An event of the synthesis that is running, or of nothing that can be explained.
    fn event(&mut self, message: &ServerMessage<'_>) -> Result<Option<(ContextId, Event)>, UpstreamFault> {
        let about = message.context_id.as_deref().map(|name| self.parse(name));
        let current = self.turn.as_ref().map(|turn| turn.context);
        let context = about.or(current).unwrap_or(ContextId::FOREIGN);
        let turn = self.turn.as_mut().filter(|turn| turn.context == context);
        let event = match (&*message.kind, turn) {
            ("chunk", turn) => {
                let audio = self.base64.decode(message.data.as_bytes());
                let audio = Bytes::from(audio.map_err(|_| bad("audio is not base64"))?);
                match turn {
                    Some(turn) if turn.runs.is_running() => turn.track.audio(audio),
                    // No flush of ours asks for it: whose audio it is cannot be known any more.
                    Some(_) => return Err(UpstreamFault::new(FaultKind::ContextError, "audio unasked for")),
                    None => Some(Event::Audio(audio)),
                }
            }
            ("timestamps", Some(turn)) => match &message.word_timestamps {
                Some(times) if turn.words => Some(words(turn, times)?),
                _ => None,
            },
            // Of no turn that is known: said on, so that the link is not used again.
            ("timestamps", None) => Some(Event::Words { words: Vec::new(), estimated: false }),
            ("done", Some(turn)) => {
                turn.track.cut();
                turn.runs.ended()?
            }
            ("done", None) => Some(Event::Done),
            _ => None,
        };
        Ok(event.map(|event| (context, event)))
    }
}

impl ProviderCodec for JsonCodec {
    fn encode(&mut self, context: ContextId, command: &Command, out: &mut Vec<Frame>) {
        if let Command::Start(spec) = command {
            self.turn = Some(Turn::new(context, format!("{}{}", self.prefix, context.0), spec));
            return;
        }
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.context == context) else { return };
        match command {
            Command::Start(_) => {}
            Command::Text(text) => turn.text(text),
            Command::Flush => turn.close(Mark::Flush),
            Command::End => turn.close(Mark::End),
            Command::Cancel => return self.cancel(out),
        }
        self.advance(out);
    }

    fn decode(
        &mut self,
        frame: FrameRef<'_>,
        out: &mut Vec<(ContextId, Event)>,
    ) -> Result<(), UpstreamFault> {
        let FrameRef::Text(text) = frame else {
            return Err(bad("binary where text is due"));
        };
        let message: ServerMessage<'_> = serde_json::from_str(text).map_err(|_| bad("not a message"))?;
        if message.kind == "error" {
            let fault = faults::event(&message.message);
            // Errors name no context; there is only one it can be about.
            let turn = self.turn.take().ok_or_else(|| fault.clone())?;
            out.push((turn.context, Event::Failed(fault)));
            return Ok(());
        }
        if let Some((context, event)) = self.event(&message)? {
            if event.is_last() && self.turn.as_ref().is_some_and(|turn| turn.context == context) {
                self.turn = None;
            }
            out.push((context, event));
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

    fn closed(&mut self, _code: u16, reason: &str) -> Option<UpstreamFault> {
        // The code (1011) says no more than the reason does.
        faults::told(reason)
    }
}

impl Turn {
    fn new(context: ContextId, name: String, spec: &SynthesisSpec) -> Self {
        Self {
            context,
            name,
            words: spec.words,
            segmenter: Segmenter::new(PIECE_MAX),
            runs: Runs::new(),
            track: Track::new(spec.format),
            offset_ms: 0,
        }
    }

    fn text(&mut self, text: &str) {
        for piece in self.segmenter.push(text) {
            self.piece(&piece, Mark::Piece);
        }
    }

    fn close(&mut self, mark: Mark) {
        let rest = self.segmenter.flush().unwrap_or_default();
        self.piece(&rest, mark);
    }

    /// Blank text is not sent: whether the vendor would end a synthesis of nothing is not documented.
    fn piece(&mut self, text: &str, mark: Mark) {
        if !text.trim().is_empty() {
            self.runs.text(text);
        }
        self.runs.close(mark);
    }
}

fn words(turn: &mut Turn, times: &WordTimestamps) -> Result<Event, UpstreamFault> {
    let WordTimestamps { words, start, end } = times;
    if words.len() != start.len() || words.len() != end.len() {
        return Err(bad("word times of unequal length"));
    }
    let words = words
        .iter()
        .zip(start.iter().zip(end))
        .map(|(word, (start, end))| turn.track.word(word, *start, *end, turn.offset_ms))
        .collect::<Result<_, _>>()?;
    Ok(Event::Words { words, estimated: false })
}

fn operation(operation: &'static str) -> Option<Frame> {
    json(&Operation { operation })
}

fn json(message: &impl Serialize) -> Option<Frame> {
    serde_json::to_string(message).ok().map(Frame::Text)
}

fn bad(note: &'static str) -> UpstreamFault {
    UpstreamFault::new(FaultKind::BadFrame, note)
}
