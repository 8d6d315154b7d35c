//! A link's work by hand: commands in, events out, over one worker.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use voxrelay::transport::process::{WorkerTransport, dial_worker, use_worker_program};
use voxrelay_protocol::provider::{Account, Provider, ProviderCodec};
use voxrelay_protocol::vendor::embedded::provider::Embedded;
use voxrelay_protocol::{AudioFormat, Command, ContextId, Event, SynthesisSpec, Word};

/// The relay's binary, which the workers are.
pub const BINARY: &str = env!("CARGO_BIN_EXE_voxrelay");

/// A worker and the codec that speaks to it.
pub struct Teller {
    worker: WorkerTransport,
    codec: Box<dyn ProviderCodec>,
    contexts: u64,
    events: std::vec::IntoIter<(ContextId, Event)>,
}

impl Teller {
    pub async fn dial() -> Self {
        use_worker_program(BINARY);
        let worker = dial_worker().await.unwrap();
        Self {
            worker,
            codec: Embedded.codec(&Account::default(), 0),
            contexts: 0,
            events: Vec::new().into_iter(),
        }
    }

    pub fn process(&self) -> Option<u32> {
        self.worker.id()
    }

    pub fn folder(&self) -> PathBuf {
        self.worker.folder().to_path_buf()
    }

    pub async fn start(&mut self, voice: &str, options: Value) -> ContextId {
        let options = options.as_object().cloned().unwrap();
        Embedded.validate(voice, &options).unwrap();
        self.contexts += 1;
        let spec = SynthesisSpec {
            voice: voice.into(),
            model: None,
            language: None,
            format: Embedded.format(&AudioFormat::default()),
            words: true,
            options,
        };
        let context = ContextId(self.contexts);
        self.command(context, Command::Start(Box::new(spec))).await;
        context
    }

    pub async fn command(&mut self, context: ContextId, command: Command) {
        let mut frames = Vec::new();
        self.codec.encode(context, &command, &mut frames);
        for frame in frames {
            self.worker.send(frame).await.unwrap();
        }
    }

    pub async fn next(&mut self) -> (ContextId, Event) {
        loop {
            if let Some(event) = self.events.next() {
                return event;
            }
            let frame = self.worker.next().await.expect("the worker is gone").unwrap();
            let mut events = Vec::new();
            if let Some(frame) = frame.frame() {
                self.codec.decode(frame, &mut events).unwrap();
            }
            self.events = events.into_iter();
        }
    }

    /// Every event up to the one wanted, all of them of this context.
    pub async fn until(&mut self, context: ContextId, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let (whose, event) = self.next().await;
            assert_eq!(whose, context, "an event of another context: {event:?}");
            let found = wanted(&event);
            events.push(event);
            if found {
                return events;
            }
        }
    }

    pub async fn rest_of(&mut self, context: ContextId) -> Vec<Event> {
        self.until(context, Event::is_last).await
    }

    pub async fn say(&mut self, voice: &str, text: &str) -> Vec<Event> {
        let context = self.start(voice, serde_json::json!({})).await;
        self.command(context, Command::Text(text.into())).await;
        self.command(context, Command::End).await;
        self.rest_of(context).await
    }
}

pub fn audio_bytes(events: &[Event]) -> usize {
    events.iter().map(Event::audio_len).sum()
}

pub fn samples(events: &[Event]) -> Vec<i16> {
    let audio = events.iter().filter_map(|event| match event {
        Event::Audio(bytes) => Some(bytes),
        _ => None,
    });
    audio.flat_map(|bytes| bytes.chunks_exact(2)).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

pub fn words(events: &[Event]) -> Vec<Word> {
    let words = events.iter().filter_map(|event| match event {
        Event::Words { words, estimated: true } => Some(words.clone()),
        _ => None,
    });
    words.flatten().collect()
}

/// A worker that hangs fails its test instead of stopping the run.
pub async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(120), test).await.expect("the worker hangs");
}
