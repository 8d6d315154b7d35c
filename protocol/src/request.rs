//! What a client can ask for, whatever dialect it speaks.

use std::fmt;
use std::sync::Arc;

use crate::{AudioFormat, Fault};

/// A client's name for one of its streams: 1 to 64 of `[A-Za-z0-9_.-]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// The longest name, in bytes.
    pub const MAX: usize = 64;

    /// The name a stream has when the client gives none.
    #[must_use]
    pub fn default_name() -> Self {
        Self("default".into())
    }

    /// Parses a name; `None` when it is empty, too long, or has other characters.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let fits = (1..=Self::MAX).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        fits.then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How audio is framed towards the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// A binary frame is audio and nothing else; one open stream at a time.
    #[default]
    Raw,
    /// A 12-byte big-endian header before the audio: u16 stream index, u16 flags (bit 0 = last),
    /// u64 position in bytes.
    Tagged,
    /// JSON with base64 audio.
    Json,
}

/// Release of audio on a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How far ahead of the clock audio may be sent, in ms.
    pub lead_ms: u32,
    /// Length of each released frame, in ms.
    pub frame_ms: u32,
}

/// Which voice a stream wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoiceChoice {
    /// A kind or name of upstream; absent for a configured voice.
    pub provider: Option<String>,
    /// The configured voice, or the provider's own voice.
    pub voice: Option<String>,
    /// The provider's own model.
    pub model: Option<String>,
}

/// Everything a client says when it opens a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// Which voice.
    pub voice: VoiceChoice,
    /// The format the client hears.
    pub format: AudioFormat,
    /// Language tag.
    pub language: Option<String>,
    /// Whether word times are wanted.
    pub words: bool,
    /// How audio is framed.
    pub framing: Framing,
    /// Release on a clock; absent means as fast as it comes.
    pub pace: Option<Pace>,
    /// Provider-specific settings, not yet validated.
    pub options: serde_json::Map<String, serde_json::Value>,
}

/// A secret a client sent; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(String);

impl Credential {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// What a client can ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Who is calling.
    Auth(Credential),
    /// Open a stream.
    Start(StreamName, Box<Start>),
    /// A start that names its stream but cannot be understood; why.
    BadStart(StreamName, Fault),
    /// Append text exactly as given.
    Text(StreamName, String),
    /// Speak what is buffered now; `mark` comes back with the answer.
    Flush(StreamName, Option<String>),
    /// No more text.
    End(StreamName),
    /// Stop now; `played_ms` is what the listener has heard, if the client knows.
    Cancel(StreamName, Option<u64>),
}
