//! What the relay can speak to upstreams. A provider says how to dial, what it can do, how to encode
//! and decode; it never sends, retries or logs.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::request::Credential;
use crate::{AudioFormat, Command, ContextId, Event, Fault, Frame, FrameRef, SynthesisSpec, UpstreamFault};

/// How many streams a link of this vendor can carry, and when it can be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Many contexts at once, told apart on the wire.
    Contexts {
        /// Most contexts at once on one link.
        per_link: usize,
    },
    /// One stream at a time; used again after a proven clean end.
    Lease,
    /// One stream, then the link is closed.
    Once,
}

/// What a vendor's protocol can do, and the times that are facts of the vendor.
#[derive(Debug, Clone, PartialEq)]
pub struct Capabilities {
    /// How links are shared.
    pub sharing: Sharing,
    /// Whether the vendor tells word times.
    pub words: bool,
    /// How long an idle link may be trusted.
    pub idle: Duration,
    /// How long a cancelled context is waited for before its link counts as dirty.
    pub cancel_grace: Duration,
}

/// Where and how to connect. Two streams may share links only if their dials are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dial {
    /// A WebSocket upgrade.
    WebSocket {
        /// `ws://` or `wss://` address with path and query, no secret in it where the vendor allows.
        url: String,
        /// Header fields of the upgrade; values may be secret.
        headers: Vec<(&'static str, Credential)>,
    },
    /// The embedded voice: a child process of the relay's own binary.
    VoiceWorker,
}

/// What the config says of an upstream, as far as a provider needs it.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Base address; the provider adds its path.
    pub url: String,
    /// The provider key, if the kind needs one.
    pub api_key: Option<Credential>,
    /// Which of the kind's wire protocols is spoken, one of [`Provider::apis`]; empty where there is
    /// only one.
    pub api: &'static str,
}

/// A voice an upstream offers by itself, without configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownVoice {
    /// The upstream's name for it.
    pub name: &'static str,
    /// Its language tag.
    pub language: &'static str,
}

/// One kind of upstream.
pub trait Provider: Send + Sync {
    /// The kind, as in the config and metric labels.
    fn kind(&self) -> &'static str;

    /// The vendor's own address.
    fn default_url(&self) -> &'static str;

    /// Whether the upstream needs a provider key.
    fn needs_key(&self) -> bool {
        true
    }

    /// The wire protocols of the vendor that can be chosen between, the default first; empty where
    /// there is only one.
    fn apis(&self) -> &'static [&'static str] {
        &[]
    }

    /// What the protocol spoken on this account can do.
    fn capabilities(&self, account: &Account) -> Capabilities;

    /// Voices that need no configuration.
    fn voices(&self) -> &'static [KnownVoice] {
        &[]
    }

    /// The format to ask the upstream for when the client wants `wanted`: the same where the vendor
    /// makes it, else the one that loses least when converted.
    fn format(&self, wanted: &AudioFormat) -> AudioFormat;

    /// Checks the client's provider-specific settings and the voice's name.
    ///
    /// # Errors
    /// `invalid_request` naming the option, or `unknown_voice`.
    fn validate(&self, voice: &str, options: &Map<String, Value>) -> Result<(), Fault>;

    /// How to connect for this stream.
    fn dial(&self, account: &Account, spec: &SynthesisSpec) -> Dial;

    /// A fresh codec for one new link of this account. `seed` is random and makes context names unique
    /// among links.
    fn codec(&self, account: &Account, seed: u64) -> Box<dyn ProviderCodec>;
}

/// Translates for one link. Holds what one connection's protocol must remember and nothing else.
pub trait ProviderCodec: Send {
    /// One command of a context as frames, appended to `out` in order.
    fn encode(&mut self, context: ContextId, command: &Command, out: &mut Vec<Frame>);

    /// One frame from the vendor as events, appended to `out`. Events for a context that was
    /// cancelled are still yielded: the link knows which contexts are dead. What names a context of
    /// somebody else is yielded as [`ContextId::FOREIGN`].
    ///
    /// # Errors
    /// [`crate::FaultKind::BadFrame`] when the frame breaks the vendor's protocol: the link drops it
    /// and counts, and is retired at the second. Any other kind is an error of the whole connection:
    /// every context of the link fails with it.
    fn decode(&mut self, frame: FrameRef<'_>, out: &mut Vec<(ContextId, Event)>)
    -> Result<(), UpstreamFault>;

    /// What has become due by the call before it and was not its direct answer: frames that had to
    /// wait for the vendor, and events that need no frame of its. Asked for after every `encode`,
    /// `decode` and `closed`. What a codec keeps back is bounded by the text a stream may carry.
    fn settle(&mut self, _frames: &mut Vec<(ContextId, Frame)>, _events: &mut Vec<(ContextId, Event)>) {}

    /// What the vendor's close frame says beyond "closed": its code (1005 where it gave none), and its
    /// reason of at most 123 bytes. `None` where it is a closing like any other. The note must not repeat the reason.
    fn closed(&mut self, _code: u16, _reason: &str) -> Option<UpstreamFault> {
        None
    }

    /// What keeps the link and its contexts open at this moment, where the vendor closes what is
    /// silent in spite of WebSocket pings. `None` for the whole life of the link where it does not.
    fn keep_alive(&self) -> Option<KeepAlive> {
        None
    }
}

/// Frames that only say "still here".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepAlive {
    /// How often they must be sent; the same at every asking.
    pub every: Duration,
    /// The frames, each with the context it names, so that none is sent for one that has just been
    /// cancelled; [`ContextId::FOREIGN`] where it names none.
    pub frames: Vec<(ContextId, Frame)>,
}

/// Every kind of upstream, one row each.
#[must_use]
pub fn providers() -> &'static [&'static dyn Provider] {
    &[
        &crate::vendor::embedded::provider::Embedded,
        &crate::vendor::cartesia::provider::Cartesia,
        &crate::vendor::elevenlabs::provider::ElevenLabs,
        &crate::vendor::deepgram::provider::Deepgram,
        &crate::vendor::rime::provider::Rime,
        &crate::vendor::fish_audio::provider::FishAudio,
    ]
}

/// The provider of that kind.
#[must_use]
pub fn provider(kind: &str) -> Option<&'static dyn Provider> {
    providers().iter().copied().find(|provider| provider.kind() == kind)
}
