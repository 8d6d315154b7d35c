//! What a fake vendor can be told to do, and to do wrong.

use std::time::Duration;

use serde_json::Value;

/// What the vendor does; may be changed while it runs. Each vendor goes by what it knows.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// From text that is due to its first chunk.
    pub first_audio: Duration,
    /// Between chunks; zero sends them all at once.
    pub pace: Duration,
    /// Audio bytes of one chunk.
    pub chunk_bytes: usize,
    /// Audio bytes of one character; a multiple of the sample size.
    pub bytes_per_char: usize,
    /// How long text may wait for more when the client does not say.
    pub buffer_delay: Duration,
    /// The key that is let in; any when absent.
    pub key: Option<String>,
    /// Answer upgrades with this status, and a `Retry-After` in seconds.
    pub refuse: Option<(u16, Option<u64>)>,
    /// Answer upgrades with this status and body.
    pub refuse_saying: Option<(u16, &'static str)>,
    /// Never answer an upgrade.
    pub freeze: bool,
    /// Run at most so many contexts, as the plan says.
    pub contexts_max: usize,
    /// Cut a socket after so many chunks.
    pub die_after: Option<usize>,
    /// Say nothing to any text.
    pub silent: bool,
    /// Finish without audio.
    pub mute: bool,
    /// Frames that are no messages, before the first chunk.
    pub garbage: usize,
    /// Send what belongs to nobody: audio of unknown contexts, or audio before any text.
    pub strangers: bool,
    /// Say the end of a context twice.
    pub done_twice: bool,
    /// Neither read nor write once a first message has come, and keep the socket open.
    pub half_open: bool,
    /// Answer text with this error of Cartesia's.
    pub error: Option<FakeError>,
    /// Answer text with this.
    pub fault: Option<FakeFault>,
    /// Chunks that still come after a cancel of what had not been generated.
    pub late_chunks: usize,
    /// Whether a cancel is answered.
    pub cancel_answered: bool,
    /// Close a socket that has served and then been without traffic for this long.
    pub idle: Option<Duration>,
    /// Refuse to flush, with a warning.
    pub flush_limit: bool,
    /// Close after the end of every context.
    pub close_after_end: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            first_audio: Duration::ZERO,
            pace: Duration::ZERO,
            chunk_bytes: 960,
            bytes_per_char: 64,
            buffer_delay: Duration::from_secs(3),
            key: None,
            refuse: None,
            refuse_saying: None,
            freeze: false,
            contexts_max: usize::MAX,
            die_after: None,
            silent: false,
            mute: false,
            garbage: 0,
            strangers: false,
            done_twice: false,
            half_open: false,
            error: None,
            fault: None,
            late_chunks: 2,
            cancel_answered: true,
            idle: None,
            flush_limit: false,
            close_after_end: false,
        }
    }
}

impl Behaviour {
    /// Lets in one key, and cuts samples in two: the bytes of its chunks are odd.
    pub fn odd() -> Self {
        Self { key: Some("secret".into()), chunk_bytes: 963, ..Self::default() }
    }

    /// Whether a client with this key is let in.
    pub fn lets_in(&self, key: Option<&str>) -> bool {
        key.is_some_and(|key| self.key.as_deref().is_none_or(|wanted| wanted == key))
    }

    /// What text is answered with, in the vendor's own words.
    pub fn fault_words(&self) -> Option<&str> {
        self.fault.as_ref()?.message.as_ref()?.as_str()
    }

    /// The close that text is answered with.
    pub fn fault_close(&self) -> Option<(u16, &'static str)> {
        self.fault.as_ref()?.close
    }
}

/// An error in band, of Cartesia's.
#[derive(Debug, Clone, Copy)]
pub struct FakeError {
    /// An HTTP status.
    pub status: u16,
    /// From 2026-03-01 on; `None` writes the older shape.
    pub code: Option<&'static str>,
    /// Whether it names its context.
    pub with_context: bool,
}

/// An error of the others: a message, a close, or both.
#[derive(Debug, Clone, Default)]
pub struct FakeFault {
    pub message: Option<Value>,
    /// Whether the message names its context, where there are contexts.
    pub with_context: bool,
    pub close: Option<(u16, &'static str)>,
}

impl FakeFault {
    pub fn saying(words: &str) -> Self {
        Self { message: Some(words.into()), ..Self::default() }
    }

    pub fn closing(close: (u16, &'static str)) -> Self {
        Self { close: Some(close), ..Self::default() }
    }
}
