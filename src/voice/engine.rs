//! Text in, samples out: the engine with a voice loaded, one sentence at a time.

use std::sync::Mutex;

use voxrelay_pico::{Data, Engine, EngineStatus};
use voxrelay_protocol::vendor::embedded::messages::SAMPLE_RATE;

use super::plain::plain;

/// Samples handed over at a time: 40 ms.
pub const CHUNK: usize = SAMPLE_RATE as usize / 25;

/// One sentence never makes more than ten minutes; an engine that goes on is broken.
const MAX_SAMPLES: u64 = SAMPLE_RATE as u64 * 600;

/// Rounds without a sample before the engine counts as stuck. Analysis of the longest sentence
/// takes a few thousand.
const MAX_SILENT_ROUNDS: u32 = 1_000_000;

/// Held while a voice's files are on disk: whoever ends the process takes it first.
pub static LOADING: Mutex<()> = Mutex::new(());

/// How a sentence is spoken, in per cent of what is natural for the voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prosody {
    /// Speaking rate, 20 to 500.
    pub speed: u16,
    /// Pitch, 50 to 200.
    pub pitch: u16,
}

/// Why a sentence was not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpeakError<E> {
    /// The engine failed, or could not be opened.
    Engine,
    /// Whoever takes the samples wants no more.
    Sink(E),
}

/// A voice, and an engine for as long as it has never failed.
pub struct Speaker {
    voice: &'static Data,
    engine: Option<Engine>,
}

impl Speaker {
    /// Loads a voice; takes a few milliseconds.
    pub fn new(voice: &'static Data) -> Self {
        Self { voice, engine: load(voice) }
    }

    /// The voice it speaks with.
    pub fn voice(&self) -> &'static str {
        self.voice.name()
    }

    /// Speaks one sentence and hands its samples to `sink` in pieces of at most [`CHUNK`], as they
    /// are made. Returns how many there were: 0 when the engine knows no sound for the text.
    ///
    /// # Errors
    /// The engine fails, or the sink refuses a piece. Another sentence may be tried.
    pub fn speak<E>(
        &mut self,
        sentence: &str,
        prosody: Prosody,
        mut sink: impl FnMut(&[i16]) -> Result<(), E>,
    ) -> Result<u64, SpeakError<E>> {
        let engine = self.engine.take().or_else(|| load(self.voice));
        let mut engine = engine.ok_or(SpeakError::Engine)?;
        let spoken = run(&mut engine, &marked(sentence, prosody), &mut sink);
        // What was not spoken to its end leaves traces in the engine that its own reset does not
        // remove; a fresh one costs 2 ms.
        self.engine = Some(engine).filter(|_| matches!(spoken, Ok(1..)));
        spoken
    }
}

fn load(voice: &Data) -> Option<Engine> {
    let _loading = LOADING.lock();
    voice.open().ok()
}

/// Feeds and drains in turn: the engine takes nothing while its input buffer is full.
fn run<E>(
    engine: &mut Engine,
    text: &str,
    sink: &mut impl FnMut(&[i16]) -> Result<(), E>,
) -> Result<u64, SpeakError<E>> {
    let mut unfed = text.as_bytes();
    let mut made = Vec::with_capacity(2 * CHUNK);
    let (mut total, mut silent) = (0_u64, 0_u32);
    loop {
        // An empty text or a buffer with little room is an error to the engine.
        if !unfed.is_empty() {
            let fed = engine.put_text(unfed).map_err(|_| SpeakError::Engine)?;
            unfed = unfed.get(fed..).unwrap_or_default();
        }
        let mut buffer = [0; CHUNK];
        let (count, status) = engine.get_data(&mut buffer[..]).map_err(|_| SpeakError::Engine)?;
        made.extend(buffer.iter().take(count));
        total += count as u64;
        silent = if count == 0 { silent + 1 } else { 0 };
        if made.len() >= CHUNK {
            sink(&made[..CHUNK]).map_err(SpeakError::Sink)?;
            made.drain(..CHUNK);
        }
        if status == EngineStatus::Idle && unfed.is_empty() {
            if !made.is_empty() {
                sink(&made).map_err(SpeakError::Sink)?;
            }
            return Ok(total);
        }
        if total > MAX_SAMPLES || silent > MAX_SILENT_ROUNDS {
            return Err(SpeakError::Engine);
        }
    }
}

/// The sentence in the engine's markup, ended by the zero byte that makes it speak.
fn marked(sentence: &str, Prosody { speed, pitch }: Prosody) -> String {
    let mut text = plain(sentence);
    // Each tag costs a pause, so there is none where the voice is as it is.
    if pitch != 100 {
        text = format!("<pitch level=\"{pitch}\">{text}</pitch>");
    }
    if speed != 100 {
        text = format!("<speed level=\"{speed}\">{text}</speed>");
    }
    text.push('\0');
    text
}
