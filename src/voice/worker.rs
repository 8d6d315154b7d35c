//! The child's whole life: read messages, speak, write audio as it is made, end with the relay.
//! Synchronous: one thread reads, one speaks.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;

use voxrelay_pico::Data;
use voxrelay_protocol::Frame;
use voxrelay_protocol::segment::Segmenter;
use voxrelay_protocol::vendor::embedded::messages::{
    FromWorker, HEADER, Header, Kind, SAMPLE_RATE, ToWorker, WorkerError,
};
use voxrelay_protocol::words::estimate;

use super::engine::{Prosody, SpeakError, Speaker};
use super::inbox::Inbox;
use super::plain::has_letters;

/// Text without a stop is cut into sentences of this many characters: a sentence is analysed whole
/// before its first sample.
const MAX_SENTENCE: usize = 300;

/// Runs a worker on standard input and output until the relay closes them.
#[must_use]
pub fn worker_main() -> ExitCode {
    // A plain file: standard output's own buffer looks for line ends in audio.
    let Ok(out) = io::stdout().as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
    let inbox = Arc::new(Inbox::default());
    let reader = Arc::clone(&inbox);
    std::thread::spawn(move || {
        let end = read(BufReader::new(io::stdin()), &reader);
        // The relay is gone or talks nonsense: whatever is being said, nobody listens. Only the
        // loading of a voice is waited for, as it must remove its files.
        let _loaded = super::engine::LOADING.lock();
        std::process::exit(i32::from(end.is_err()));
    });
    let mut worker = Worker { inbox, out: File::from(out), buffer: Vec::new(), speaker: None, open: None };
    // Ready before the first stream asks: a warm link speaks at once.
    worker.speaker = voxrelay_pico::VOICES.first().map(Speaker::new);
    match worker.run() {
        Err(Gone) => ExitCode::FAILURE,
    }
}

/// Passes messages on until the pipe closes.
fn read(mut input: impl Read, inbox: &Inbox) -> io::Result<()> {
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    loop {
        let mut header = [0; HEADER];
        match input.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            outcome => outcome?,
        }
        let Header { kind, len } = Header::parse(header).map_err(|_| bad())?;
        let mut payload = vec![0; len];
        input.read_exact(&mut payload)?;
        if kind != Kind::Text {
            return Err(bad());
        }
        inbox.push(serde_json::from_slice(&payload).map_err(|_| bad())?);
    }
}

/// Nobody reads what the worker writes.
struct Gone;

/// Why a sentence was not finished.
enum Stop {
    Gone,
    Cancelled,
    Failed(WorkerError),
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// One context being spoken.
struct Open {
    context: u64,
    words: bool,
    prosody: Prosody,
    segmenter: Segmenter,
    samples: u64,
}

struct Worker {
    inbox: Arc<Inbox>,
    out: File,
    buffer: Vec<u8>,
    speaker: Option<Speaker>,
    open: Option<Open>,
}

impl Worker {
    fn run(&mut self) -> Result<std::convert::Infallible, Gone> {
        loop {
            let message = self.inbox.take();
            if let ToWorker::Start { context, voice, words, speed, pitch } = message {
                let prosody = Prosody { speed, pitch };
                let segmenter = Segmenter::new(MAX_SENTENCE);
                self.start(&voice, Open { context, words, prosody, segmenter, samples: 0 })?;
            } else if let Some(open) = self.open.take_if(|open| open.context == message.context()) {
                self.go_on(open, message)?;
            }
        }
    }

    fn start(&mut self, voice: &str, open: Open) -> Result<(), Gone> {
        let context = open.context;
        let Some(data) = Data::named(voice) else {
            return self.tell(&FromWorker::Error { context, kind: WorkerError::UnknownVoice });
        };
        if self.speaker.as_ref().is_none_or(|speaker| speaker.voice() != data.name()) {
            self.speaker = None; // one engine per thread
            self.speaker = Some(Speaker::new(data));
        }
        self.open = Some(open);
        self.tell(&FromWorker::Started { context })
    }

    /// One message of the open context, which stays open unless this ends it.
    fn go_on(&mut self, mut open: Open, message: ToWorker) -> Result<(), Gone> {
        let context = open.context;
        let spoken = match &message {
            ToWorker::Text { text, .. } => open.segmenter.push(text),
            ToWorker::Flush { .. } | ToWorker::End { .. } => open.segmenter.flush().into_iter().collect(),
            ToWorker::Cancel { .. } | ToWorker::Start { .. } => Vec::new(),
        };
        for sentence in spoken {
            match self.speak(&mut open, &sentence) {
                Ok(()) => {}
                Err(Stop::Gone) => return Err(Gone),
                // The cancel is the next message, and is answered there.
                Err(Stop::Cancelled) => break,
                Err(Stop::Failed(kind)) => return self.tell(&FromWorker::Error { context, kind }),
            }
        }
        let answer = match message {
            ToWorker::Cancel { .. } => FromWorker::Cancelled { context },
            ToWorker::End { .. } if !self.inbox.cancels(context) => FromWorker::Done { context },
            ToWorker::Flush { .. } if !self.inbox.cancels(context) => {
                self.open = Some(open);
                FromWorker::Flushed { context }
            }
            _ => {
                self.open = Some(open);
                return Ok(());
            }
        };
        self.tell(&answer)
    }

    fn speak(&mut self, open: &mut Open, sentence: &str) -> Result<(), Stop> {
        if !has_letters(sentence) {
            return Ok(());
        }
        let Some(mut speaker) = self.speaker.take() else { return Err(Stop::Failed(WorkerError::Engine)) };
        let context = open.context;
        let spoken = speaker.speak(sentence, open.prosody, |samples| {
            if self.inbox.cancels(context) {
                return Err(Stop::Cancelled);
            }
            Ok(self.audio(samples)?)
        });
        self.speaker = Some(speaker);
        match spoken {
            Ok(0) => Err(Stop::Failed(WorkerError::Unspeakable)),
            Ok(samples) => {
                let (from, length) = (ms(open.samples), ms(open.samples + samples) - ms(open.samples));
                open.samples += samples;
                if open.words {
                    let words = estimate(sentence, from, length);
                    self.tell(&FromWorker::Words { context, words })?;
                }
                Ok(())
            }
            Err(SpeakError::Engine) => Err(Stop::Failed(WorkerError::Engine)),
            Err(SpeakError::Sink(stop)) => Err(stop),
        }
    }

    fn tell(&mut self, message: &FromWorker) -> Result<(), Gone> {
        let frame = Frame::Text(serde_json::to_string(message).map_err(|_| Gone)?);
        let header = Header::of(&frame).map_err(|_| Gone)?;
        let Frame::Text(text) = frame else { return Ok(()) };
        self.write(header, |buffer| buffer.extend_from_slice(text.as_bytes()))
    }

    fn audio(&mut self, samples: &[i16]) -> Result<(), Gone> {
        let header = Header { kind: Kind::Audio, len: samples.len() * 2 };
        self.write(header, |buffer| buffer.extend(samples.iter().flat_map(|sample| sample.to_le_bytes())))
    }

    /// Waits while the relay does not read: what it has no room for is not made.
    fn write(&mut self, header: Header, payload: impl FnOnce(&mut Vec<u8>)) -> Result<(), Gone> {
        self.buffer.clear();
        self.buffer.extend_from_slice(&header.to_bytes());
        payload(&mut self.buffer);
        self.out.write_all(&self.buffer).map_err(|_| Gone)
    }
}

fn ms(samples: u64) -> u64 {
    samples * 1000 / u64::from(SAMPLE_RATE)
}
