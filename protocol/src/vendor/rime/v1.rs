//! The newer socket: many contexts, each ended by exactly one `done`, `cancelled` or `error`. It has
//! no flush: a flush ends a context, and the text after it goes into the next one.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::Simd;
use base64::engine::general_purpose::PAD;
use bytes::Bytes;

use super::messages::{V1Ask, V1Audio, V1Message, V1Request, V1Spans, V1Start, V1Timestamps};
use super::{faults, options};
use crate::provider::ProviderCodec;
use crate::vendor::runs::{Act, Mark, Runs};
use crate::vendor::track::Track;
use crate::{Command, ContextId, Encoding, Event, FaultKind, Frame, FrameRef, SynthesisSpec, UpstreamFault};

/// Lets text come cut anywhere; without it whole sentences are expected.
const SPLIT: &str = "SPLIT_STRATEGY_ACCUMULATE_SENTENCE";

/// The state of one connection.
pub struct V1Codec {
    prefix: String,
    base64: Simd,
    /// Nothing may be started before the server's first frame.
    ready: bool,
    turns: BTreeMap<ContextId, Turn>,
    owed: Vec<(ContextId, Event)>,
}

struct Turn {
    spec: Box<SynthesisSpec>,
    runs: Runs,
    track: Track,
    /// Number of the vendor's context.
    run: u32,
    /// Where it begins in the stream, in ms: its word times begin at 0.
    offset_ms: u64,
}

impl V1Codec {
    /// A codec whose context names are `vr-<seed>-<number>-<run>`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            prefix: format!("vr-{seed:016x}-"),
            base64: Simd::standard(PAD),
            ready: false,
            turns: BTreeMap::new(),
            owed: Vec::new(),
        }
    }

    /// The stream a name belongs to, while it is the name of its running context.
    fn parse(&self, name: &str) -> ContextId {
        let numbers = name.strip_prefix(self.prefix.as_str()).and_then(|rest| rest.split_once('-'));
        let context = numbers.and_then(|(context, run)| {
            let (context, run) = (ContextId(context.parse().ok()?), run.parse::<u32>().ok()?);
            // Of a stream that is over, or of one that runs: never of an earlier run of it.
            self.turns.get(&context).is_none_or(|turn| turn.run == run).then_some(context)
        });
        context.unwrap_or(ContextId::FOREIGN)
    }

    fn advance(&mut self, context: ContextId, out: &mut Vec<(ContextId, Frame)>) {
        if !self.ready {
            return;
        }
        let Some(turn) = self.turns.get_mut(&context) else { return };
        while let Some(act) = turn.runs.next() {
            if act == Act::Open {
                turn.run = turn.run.wrapping_add(1);
                turn.offset_ms = turn.track.ms();
            }
            let name = name(&self.prefix, context, turn.run);
            let frame = match &act {
                Act::Open => frame(&name, V1Ask::Start(turn.start())),
                Act::Text(text) => frame(&name, V1Ask::Text(text)),
                Act::Close => frame(&name, V1Ask::End {}),
                Act::Answer(event) => {
                    self.owed.push((context, event.clone()));
                    None
                }
            };
            out.extend(frame.map(|frame| (context, frame)));
        }
    }

    /// Forgets the stream: what still comes is told by its name alone.
    fn cancel(&mut self, context: ContextId) -> Option<Frame> {
        let mut turn = self.turns.remove(&context)?;
        if turn.runs.cancel() {
            return frame(&name(&self.prefix, context, turn.run), V1Ask::Cancel {});
        }
        self.owed.push((context, Event::Done));
        None
    }

    fn events(
        &mut self,
        context: ContextId,
        message: &V1Message<'_>,
        out: &mut Vec<(ContextId, Event)>,
    ) -> Result<(), UpstreamFault> {
        let mut tell = |event| out.push((context, event));
        if !message.audio.is_empty() {
            let audio = self.base64.decode(message.audio.as_bytes());
            let audio = Bytes::from(audio.map_err(|_| bad("audio is not base64"))?);
            match self.turns.get_mut(&context) {
                Some(turn) => turn.track.audio(audio).into_iter().for_each(tell),
                None => tell(Event::Audio(audio)),
            }
            return Ok(());
        }
        if let Some(error) = &message.error {
            tell(Event::Failed(faults::kind(&error.kind)));
            return Ok(());
        }
        let Some(turn) = self.turns.get_mut(&context) else {
            if message.done.is_some() || message.cancelled.is_some() {
                tell(Event::Done);
            }
            return Ok(());
        };
        if let Some(done) = &message.done {
            let spans = done.timestamps.as_ref().filter(|_| turn.spec.words);
            if let Some(words) = spans.map(|spans| words(turn, spans)).transpose()? {
                tell(words);
            }
            turn.track.cut();
            turn.runs.ended()?.into_iter().for_each(tell);
        } else if message.cancelled.is_some() {
            tell(Event::Failed(UpstreamFault::new(FaultKind::ContextError, "cancelled by the vendor")));
        }
        Ok(())
    }
}

impl ProviderCodec for V1Codec {
    fn encode(&mut self, context: ContextId, command: &Command, out: &mut Vec<Frame>) {
        if let Command::Start(spec) = command {
            self.turns.insert(context, Turn::new(spec));
            return;
        }
        let Some(turn) = self.turns.get_mut(&context) else { return };
        match command {
            Command::Start(_) => {}
            Command::Text(text) => turn.runs.text(text),
            Command::Flush => turn.runs.close(Mark::Flush),
            Command::End => turn.runs.close(Mark::End),
            Command::Cancel => return out.extend(self.cancel(context)),
        }
        let mut frames = Vec::new();
        self.advance(context, &mut frames);
        out.extend(frames.into_iter().map(|(_, frame)| frame));
    }

    fn decode(
        &mut self,
        frame: FrameRef<'_>,
        out: &mut Vec<(ContextId, Event)>,
    ) -> Result<(), UpstreamFault> {
        let FrameRef::Text(text) = frame else {
            return Err(bad("binary where text is due"));
        };
        let message: V1Message<'_> = serde_json::from_str(text).map_err(|_| bad("not a message"))?;
        if message.context_id.is_empty() {
            self.ready |= message.ready.is_some();
            let fault = message.error.as_ref().map(|error| faults::kind(&error.kind));
            // Of the connection: open contexts go on, unless it was the key.
            return fault.filter(|fault| fault.kind == FaultKind::Auth).map_or(Ok(()), Err);
        }
        let context = self.parse(&message.context_id);
        self.events(context, &message, out)?;
        if out.last().is_some_and(|(_, event)| event.is_last()) {
            self.turns.remove(&context);
        }
        Ok(())
    }

    fn settle(&mut self, frames: &mut Vec<(ContextId, Frame)>, events: &mut Vec<(ContextId, Event)>) {
        let contexts: Vec<_> = self.turns.keys().copied().collect();
        for context in contexts {
            self.advance(context, frames);
        }
        for (context, event) in self.owed.drain(..) {
            if event.is_last() {
                self.turns.remove(&context);
            }
            events.push((context, event));
        }
    }

    fn closed(&mut self, _code: u16, reason: &str) -> Option<UpstreamFault> {
        faults::told(reason)
    }
}

impl Turn {
    fn new(spec: &SynthesisSpec) -> Self {
        Self {
            runs: Runs::new(),
            track: Track::new(spec.format),
            spec: Box::new(spec.clone()),
            run: 0,
            offset_ms: 0,
        }
    }

    fn start(&self) -> V1Start<'_> {
        let spec = &self.spec;
        V1Start {
            speaker: &spec.voice,
            language: spec.language.as_deref(),
            text: "",
            audio_parameters: V1Audio {
                audio_format: if spec.format.encoding == Encoding::Mulaw {
                    "audio/pcmu"
                } else {
                    "audio/pcm"
                },
                sampling_rate: spec.format.sample_rate,
                time_scale_factor: options::time_scale(&spec.options),
            },
            split_strategy: SPLIT,
            timestamps: spec.words.then_some(V1Timestamps { enable: true }),
            mist_parameters: options::mist(&spec.options),
        }
    }
}

/// The vendor's times are those before `timeScaleFactor`, which stretches them like the audio.
fn words(turn: &mut Turn, spans: &V1Spans) -> Result<Event, UpstreamFault> {
    let scale = options::time_scale(&turn.spec.options).unwrap_or(1.0);
    let spans = spans.spans.iter();
    let words = spans
        .map(|span| {
            let (start, end) = (seconds(&span.start)? * scale, seconds(&span.end)? * scale);
            turn.track.word(&span.text, start, end, turn.offset_ms)
        })
        .collect::<Result<_, _>>()?;
    Ok(Event::Words { words, estimated: false })
}

/// A duration as the JSON form of protocol buffers has it: `1.5s`; left out when it is zero.
fn seconds(duration: &str) -> Result<f64, UpstreamFault> {
    if duration.is_empty() {
        return Ok(0.0);
    }
    let number = duration.strip_suffix('s').and_then(|number| number.parse().ok());
    number.ok_or_else(|| bad("a word time that is no duration"))
}

fn name(prefix: &str, context: ContextId, run: u32) -> String {
    format!("{prefix}{}-{run}", context.0)
}

fn frame(context_id: &str, ask: V1Ask<'_>) -> Option<Frame> {
    serde_json::to_string(&V1Request { context_id, ask }).ok().map(Frame::Text)
}

fn bad(note: &'static str) -> UpstreamFault {
    UpstreamFault::new(FaultKind::BadFrame, note)
}
