//! Errors, told once to each audience: [`Fault`] is the only error a client ever sees;
//! [`UpstreamFault`] is what a provider saw, and becomes a `Fault` in one place.

use std::borrow::Cow;

/// The closed list of client-visible error codes (with their HTTP status and close code).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultCode {
    /// No credential was sent.
    MissingCredentials,
    /// The credential is malformed, unknown, revoked or expired.
    InvalidCredentials,
    /// Credits are spent.
    PaymentRequired,
    /// The key may not do this.
    Forbidden,
    /// No such voice.
    UnknownVoice,
    /// More text than a stream may carry.
    TextTooLong,
    /// The message is not understood; the detail names the field.
    InvalidRequest,
    /// The audio format cannot be made; the detail names what can.
    UnsupportedFormat,
    /// No open stream of that name.
    UnknownStream,
    /// A stream of that name is open.
    StreamExists,
    /// `raw` frames allow one open stream at a time.
    StreamConflict,
    /// Too many streams at once.
    QuotaExceeded,
    /// Too many starts, characters or frames over time.
    RateLimited,
    /// The client did not read its audio.
    SlowConsumer,
    /// The first frame did not carry a key in time.
    AuthTimeout,
    /// Nothing happened for too long.
    IdleTimeout,
    /// No upstream could speak.
    UpstreamUnavailable,
    /// The upstream refuses this text, voice or option.
    UpstreamRejected,
    /// The upstream was silent for too long.
    UpstreamTimeout,
    /// The relay is going away.
    Draining,
    /// The relay's own budget is spent.
    Overloaded,
    /// A fault of the relay itself.
    Internal,
}

impl FaultCode {
    /// Every code, in the order of the contract.
    pub const ALL: [Self; 22] = [
        Self::MissingCredentials,
        Self::InvalidCredentials,
        Self::PaymentRequired,
        Self::Forbidden,
        Self::UnknownVoice,
        Self::TextTooLong,
        Self::InvalidRequest,
        Self::UnsupportedFormat,
        Self::UnknownStream,
        Self::StreamExists,
        Self::StreamConflict,
        Self::QuotaExceeded,
        Self::RateLimited,
        Self::SlowConsumer,
        Self::AuthTimeout,
        Self::IdleTimeout,
        Self::UpstreamUnavailable,
        Self::UpstreamRejected,
        Self::UpstreamTimeout,
        Self::Draining,
        Self::Overloaded,
        Self::Internal,
    ];

    /// The code as written on the wire and in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.row().1
    }

    /// A short title, the same for every fault of this code.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.row().2
    }

    /// The code of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }

    const fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::MissingCredentials => ("missing_credentials", 401, "Missing credentials"),
            Self::InvalidCredentials => ("invalid_credentials", 401, "Invalid credentials"),
            Self::PaymentRequired => ("payment_required", 402, "Payment required"),
            Self::Forbidden => ("forbidden", 403, "Forbidden"),
            Self::UnknownVoice => ("unknown_voice", 404, "Unknown voice"),
            Self::TextTooLong => ("text_too_long", 413, "Text too long"),
            Self::InvalidRequest => ("invalid_request", 400, "Invalid request"),
            Self::UnsupportedFormat => ("unsupported_format", 400, "Unsupported format"),
            Self::UnknownStream => ("unknown_stream", 409, "Unknown stream"),
            Self::StreamExists => ("stream_exists", 409, "Stream exists"),
            Self::StreamConflict => ("stream_conflict", 409, "Stream conflict"),
            Self::QuotaExceeded => ("quota_exceeded", 429, "Quota exceeded"),
            Self::RateLimited => ("rate_limited", 429, "Rate limited"),
            Self::SlowConsumer => ("slow_consumer", 408, "Slow consumer"),
            Self::AuthTimeout => ("auth_timeout", 408, "Authentication timeout"),
            Self::IdleTimeout => ("idle_timeout", 408, "Idle timeout"),
            Self::UpstreamUnavailable => ("upstream_unavailable", 503, "Upstream unavailable"),
            Self::UpstreamRejected => ("upstream_rejected", 502, "Upstream rejected the request"),
            Self::UpstreamTimeout => ("upstream_timeout", 504, "Upstream timeout"),
            Self::Draining => ("draining", 503, "Draining"),
            Self::Overloaded => ("overloaded", 503, "Overloaded"),
            Self::Internal => ("internal", 500, "Internal error"),
        }
    }
}

/// Whose limit a quota fault is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuotaScope {
    /// The session's own limit.
    Session,
    /// The key's limit.
    Key,
    /// The organisation's limit.
    Org,
    /// The upstream account's limit.
    Upstream,
    /// The relay's limit.
    Relay,
}

impl QuotaScope {
    /// As written on the wire and in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Key => "key",
            Self::Org => "org",
            Self::Upstream => "upstream",
            Self::Relay => "relay",
        }
    }
}

/// What a quota refusal explains: the limit, its use when refused, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The limit.
    pub limit: u64,
    /// How much of it was in use.
    pub used: u64,
    /// Whose limit it is.
    pub scope: QuotaScope,
}

/// The only error a client ever sees. Carries no secret, text, or vendor's words.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}: {detail}", code.as_str())]
pub struct Fault {
    /// Which of the closed list.
    pub code: FaultCode,
    /// One safe sentence for a person.
    pub detail: Cow<'static, str>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// When to try again, in milliseconds, if known.
    pub retry_after_ms: Option<u64>,
    /// For `quota_exceeded` and `rate_limited`.
    pub quota: Option<Refusal>,
    /// For speech that broke after its first audio: milliseconds of audio sent.
    pub sent_ms: Option<u64>,
}

impl Fault {
    /// A fault with the code's own retryability.
    pub fn new(code: FaultCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let retryable = matches!(
            code,
            FaultCode::QuotaExceeded
                | FaultCode::RateLimited
                | FaultCode::UpstreamUnavailable
                | FaultCode::UpstreamTimeout
                | FaultCode::Draining
                | FaultCode::Overloaded
                | FaultCode::Internal
        );
        Self { code, detail: detail.into(), retryable, retry_after_ms: None, quota: None, sent_ms: None }
    }

    /// `invalid_request` about one field.
    pub fn invalid(field: &str, problem: &str) -> Self {
        Self::new(FaultCode::InvalidRequest, format!("{field}: {problem}"))
    }

    /// The same fault with a time to wait, in milliseconds.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// The same fault with the quota it is about.
    #[must_use]
    pub fn with_quota(mut self, refusal: Refusal) -> Self {
        self.quota = Some(refusal);
        self
    }

    /// The same fault for speech that had begun: not retryable, with the audio sent so far in ms.
    #[must_use]
    pub fn after_audio(mut self, sent_ms: u64) -> Self {
        self.retryable = false;
        self.retry_after_ms = None;
        self.sent_ms = Some(sent_ms);
        self
    }
}

/// Who is to blame for an upstream fault, which decides what is tripped by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// The credential: 401, 402, 403, key-shaped 400.
    Account,
    /// The account's credits or plan.
    Quota,
    /// Too much at once: 429.
    Rate,
    /// This text, voice or option.
    Input,
    /// The vendor or the way to it.
    VendorDown,
    /// The vendor broke its own protocol.
    Protocol,
}

/// The closed list of upstream fault kinds (metric label `kind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each name is its own description; the meanings are in docs/faults.md
pub enum FaultKind {
    Refused,
    Reset,
    Dns,
    ConnectTimeout,
    Tls,
    Auth,
    Payment,
    Throttled,
    Http5xx,
    Handshake,
    FirstAudio,
    NoAudio,
    ClosedEarly,
    ClosedMidAudio,
    Stalled,
    NoEnd,
    Rejected,
    BadFrame,
    Oversize,
    WriteStall,
    ContextError,
    SlowConsumer,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 22] = [
        Self::Refused,
        Self::Reset,
        Self::Dns,
        Self::ConnectTimeout,
        Self::Tls,
        Self::Auth,
        Self::Payment,
        Self::Throttled,
        Self::Http5xx,
        Self::Handshake,
        Self::FirstAudio,
        Self::NoAudio,
        Self::ClosedEarly,
        Self::ClosedMidAudio,
        Self::Stalled,
        Self::NoEnd,
        Self::Rejected,
        Self::BadFrame,
        Self::Oversize,
        Self::WriteStall,
        Self::ContextError,
        Self::SlowConsumer,
    ];

    /// As written in metric labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Dns => "dns",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Payment => "payment",
            Self::Throttled => "throttled",
            Self::Http5xx => "http_5xx",
            Self::Handshake => "handshake",
            Self::FirstAudio => "first_audio",
            Self::NoAudio => "no_audio",
            Self::ClosedEarly => "closed_early",
            Self::ClosedMidAudio => "closed_mid_audio",
            Self::Stalled => "stalled",
            Self::NoEnd => "no_end",
            Self::Rejected => "rejected",
            Self::BadFrame => "bad_frame",
            Self::Oversize => "oversize",
            Self::WriteStall => "write_stall",
            Self::ContextError => "context_error",
            Self::SlowConsumer => "slow_consumer",
        }
    }

    /// Who is to blame.
    #[must_use]
    pub const fn class(self) -> FaultClass {
        match self {
            Self::Auth => FaultClass::Account,
            Self::Payment => FaultClass::Quota,
            Self::Throttled => FaultClass::Rate,
            Self::Rejected | Self::SlowConsumer => FaultClass::Input,
            Self::BadFrame | Self::Oversize => FaultClass::Protocol,
            _ => FaultClass::VendorDown,
        }
    }
}

/// What went wrong upstream. `note` is for the relay's log only: at most 256 bytes, no text, audio
/// or secret; it never reaches a client.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("upstream fault {}: {note}", kind.as_str())]
pub struct UpstreamFault {
    /// Which of the closed list.
    pub kind: FaultKind,
    /// For the log.
    pub note: Cow<'static, str>,
    /// The vendor's own advice, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl UpstreamFault {
    /// A fault without advice on when to try again.
    pub fn new(kind: FaultKind, note: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, note: note.into(), retry_after_ms: None }
    }
}

impl From<&UpstreamFault> for Fault {
    /// The only road from what a provider saw to what a client is told. An account fault of the
    /// relay is the operator's problem: the client sees `upstream_unavailable`.
    fn from(fault: &UpstreamFault) -> Self {
        let told = match fault.kind {
            FaultKind::Rejected => {
                Self::new(FaultCode::UpstreamRejected, "the upstream refuses this text, voice or option")
            }
            FaultKind::FirstAudio | FaultKind::Stalled | FaultKind::NoEnd => {
                Self::new(FaultCode::UpstreamTimeout, "the upstream was silent for too long")
            }
            FaultKind::SlowConsumer => {
                Self::new(FaultCode::SlowConsumer, "the client did not read its audio in time")
            }
            _ => Self::new(FaultCode::UpstreamUnavailable, "the upstream could not speak"),
        };
        match fault.retry_after_ms {
            Some(ms) if told.retryable => told.retry_after(ms),
            _ => told,
        }
    }
}
