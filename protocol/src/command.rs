//! What a synthesis can be asked to do, in words that no vendor owns.

use crate::AudioFormat;

/// Names one synthesis on one upstream link. Unique on that link for its whole life; made by the
/// relay, never taken from a client, because two clients may choose the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContextId(pub u64);

impl ContextId {
    /// What a frame belongs to that names a context nobody on this link ever opened.
    pub const FOREIGN: Self = Self(u64::MAX);
}

/// What is to be spoken with: fixed for the life of a stream on one upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct SynthesisSpec {
    /// The upstream's own voice name.
    pub voice: String,
    /// The upstream's own model name, if it has models.
    pub model: Option<String>,
    /// Language tag as the upstream takes it, for example `en`.
    pub language: Option<String>,
    /// The format the upstream is asked for (chosen by its provider, see
    /// [`crate::provider::Provider::format`]).
    pub format: AudioFormat,
    /// Whether word times are wanted.
    pub words: bool,
    /// Provider-specific settings, already validated by that provider.
    pub options: serde_json::Map<String, serde_json::Value>,
}

/// One step of a synthesis, towards the upstream. `Start` is always first; after `End` or `Cancel`
/// nothing follows.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Open a context with these settings.
    Start(Box<SynthesisSpec>),
    /// Append text exactly as given.
    Text(String),
    /// Speak what is buffered now. Answered by [`crate::Event::Flushed`] after its last audio.
    Flush,
    /// No more text. Answered by [`crate::Event::Done`] after the last audio.
    End,
    /// Stop at once; whatever still arrives for the context is thrown away.
    Cancel,
}
