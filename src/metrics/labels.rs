//! The values a label may have. Closed sets, so that no key, voice, text or address can become one.

use voxrelay_protocol::{FaultCode, FaultKind, QuotaScope};

/// A closed set of label values, in declaration order.
pub trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// Every value.
    const ALL: &'static [Self];
    /// The value as written.
    fn text(self) -> &'static str;
    /// Its place in `ALL`.
    fn index(self) -> usize;
}

/// Declares a closed set: its label name, its values and how they are written.
macro_rules! label {
    ($(#[doc = $doc:literal])* $name:ident $label:literal { $($(#[doc = $value_doc:literal])* $value:ident $text:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs)] // a value without a line of its own is its own description
        pub enum $name { $($(#[doc = $value_doc])* $value),* }

        impl Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$value),*];
            fn text(self) -> &'static str {
                match self { $(Self::$value => $text),* }
            }
            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// What a client speaks.
    Dialect "dialect" {
        /// The relay's own WebSocket protocol.
        Native "native",
        /// `POST /v1/speech`.
        Speech "speech",
        Other "other",
    }
}

label! {
    /// How a session showed its key.
    AuthWay "auth" {
        Header "header",
        FirstFrame "first_frame",
        /// A single-use token among the sub-protocols.
        Subprotocol "subprotocol",
        /// A single-use token in the query.
        QueryToken "query_token",
        Open "open",
    }
}

label! {
    /// What the check of a key said.
    AuthResult "result" {
        Ok "ok",
        /// Not shaped like a key.
        Malformed "malformed",
        /// A typing error, told without a look-up.
        Checksum "checksum",
        Unknown "unknown",
        Revoked "revoked",
        Expired "expired",
        /// No credential came.
        Missing "missing",
        /// The source has failed too often.
        Throttled "throttled",
        /// The store could not answer.
        Store "store",
    }
}

label! {
    /// How an upgrade ended.
    UpgradeResult "result" { Ok "ok", Refused "refused", }
}

label! {
    /// A WebSocket close code, as far as the relay sends or understands it.
    CloseCode "code" {
        Normal "1000",
        GoingAway "1001",
        Protocol "1002",
        Unsupported "1003",
        InvalidUtf8 "1007",
        Policy "1008",
        TooBig "1009",
        Internal "1011",
        TryAgain "1013",
        Unauthorized "3000",
        Forbidden "3003",
        Timeout "3008",
        /// The connection ended without a close frame.
        None "none",
        Other "other",
    }
}

label! {
    /// Who ended a session.
    ClosedBy "by" { Client "client", Relay "relay", Network "network", }
}

label! {
    /// How a stream ended.
    Outcome "outcome" {
        Done "done",
        Cancelled "cancelled",
        Failed "failed",
        /// The caller's side: quota, unknown voice, bad request.
        Refused "refused",
    }
}

label! {
    /// How a stream came to its link.
    Checkout "checkout" {
        /// Joined a link in use.
        Hit "hit",
        /// Took an idle link.
        Warm "warm",
        /// Had to dial.
        Cold "cold",
    }
}

label! {
    /// How a request for a link ended.
    CheckoutResult "result" {
        Hit "hit",
        Warm "warm",
        Cold "cold",
        /// The link had died; another was taken.
        Stale "stale",
        /// No link could be had.
        Refused "refused",
    }
}

label! {
    /// Where the time to the first audio went.
    Part "part" { Auth "auth", Queue "queue", Connect "connect", Upstream "upstream", Relay "relay", }
}

label! {
    /// Which way audio went.
    Direction "direction" { In "in", Out "out", }
}

label! {
    /// Why audio was thrown away.
    DropReason "reason" {
        Cancelled "cancelled",
        SlowConsumer "slow_consumer",
        /// The client was gone.
        Vanished "vanished",
        /// It came after its context had ended.
        Late "late",
        /// No context of that name was ever open on the link.
        Foreign "foreign",
    }
}

label! {
    /// A step of a cancel.
    CancelStep "step" {
        /// From the client's message to `cancelled`.
        Ack "ack",
        /// From the client's message to the upstream's socket.
        Upstream "upstream",
    }
}

label! {
    /// A kind of queue.
    Queue "queue" { AudioOut "audio_out", TextIn "text_in", LinkOut "link_out", }
}

label! {
    /// Where somebody waits for room.
    Point "point" {
        /// A stream's audio waits for the client's socket.
        ClientSocket "client_socket",
        /// An upstream is not read because the stream's buffer is full.
        StreamBuffer "stream_buffer",
        /// Text waits for the upstream's socket.
        LinkSocket "link_socket",
    }
}

label! {
    /// Whether a slow client's link was shared with others.
    LinkKind "link" { Shared "shared", Exclusive "exclusive", }
}

label! {
    /// What a link is doing.
    LinkState "state" {
        Dialing "dialing",
        /// Connected ahead of need, never used.
        Warm "warm",
        Leased "leased",
        /// Used before, free now.
        Idle "idle",
        /// A cancelled context is waited for.
        Cleaning "cleaning",
    }
}

label! {
    /// Why a link was closed.
    RetireReason "reason" {
        Idle "idle",
        Age "age",
        /// A context did not end cleanly.
        Dirty "dirty",
        /// The other side was gone.
        Dead "dead",
        UnexpectedData "unexpected_data",
        Faulted "faulted",
        /// It served the one stream it was for.
        Spent "spent",
        Drain "drain",
    }
}

label! {
    /// How a dial ended; what went wrong is in `upstream_faults`.
    DialResult "result" { Ok "ok", Failed "failed", }
}

label! {
    /// A phase of a dial.
    DialPhase "phase" { Dns "dns", Tcp "tcp", Tls "tls", Upgrade "upgrade", }
}

label! {
    /// Which time limit of an upstream ran out.
    Watchdog "watchdog" {
        Connect "connect",
        Handshake "handshake",
        FirstAudio "first_audio",
        Gap "gap",
        End "end",
        Write "write",
    }
}

label! {
    /// When a stream moved.
    Phase "phase" { BeforeAudio "before_audio", Resume "resume", }
}

label! {
    /// What a quota limits.
    Limit "limit" { Streams "streams", }
}

label! {
    /// An operation on the key store.
    StoreOp "op" { Open "open", Read "read", Write "write", }
}

label! {
    /// Which bound of the relay was reached.
    Overload "reason" {
        Sessions "sessions",
        /// Sessions that have not shown a key.
        Unauthenticated "unauthenticated",
    }
}

label! {
    /// A listener.
    Listener "listener" { Public "public", Operator "operator", }
}

impl Dialect {
    /// The dialect of that name ([`voxrelay_protocol::dialect::ClientDialect::name`]).
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::ALL.iter().copied().find(|dialect| dialect.text() == name).unwrap_or(Self::Other)
    }
}

impl CloseCode {
    /// The code of a close frame; 1005 and 1006 mean that there was none.
    #[must_use]
    pub fn of(code: u16) -> Self {
        match code {
            1000 => Self::Normal,
            1001 => Self::GoingAway,
            1002 => Self::Protocol,
            1003 => Self::Unsupported,
            1005 | 1006 => Self::None,
            1007 => Self::InvalidUtf8,
            1008 => Self::Policy,
            1009 => Self::TooBig,
            1011 => Self::Internal,
            1013 => Self::TryAgain,
            3000 => Self::Unauthorized,
            3003 => Self::Forbidden,
            3008 => Self::Timeout,
            _ => Self::Other,
        }
    }
}

impl Label for FaultCode {
    const NAME: &'static str = "code";
    const ALL: &'static [Self] = &Self::ALL;
    fn text(self) -> &'static str {
        self.as_str()
    }
    fn index(self) -> usize {
        self as usize
    }
}

impl Label for FaultKind {
    const NAME: &'static str = "kind";
    const ALL: &'static [Self] = &Self::ALL;
    fn text(self) -> &'static str {
        self.as_str()
    }
    fn index(self) -> usize {
        self as usize
    }
}

impl Label for QuotaScope {
    const NAME: &'static str = "scope";
    const ALL: &'static [Self] = &[Self::Session, Self::Key, Self::Org, Self::Upstream, Self::Relay];
    fn text(self) -> &'static str {
        self.as_str()
    }
    fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order<L: Label>() {
        for (place, value) in L::ALL.iter().enumerate() {
            assert_eq!(value.index(), place, "{}={}", L::NAME, value.text());
        }
    }

    #[test]
    fn the_index_of_a_value_is_its_place_in_the_list() {
        in_order::<FaultCode>();
        in_order::<FaultKind>();
        in_order::<QuotaScope>();
        in_order::<CloseCode>();
    }

    #[test]
    fn an_unknown_dialect_or_close_code_is_other() {
        assert_eq!(Dialect::named("klingon"), Dialect::Other);
        assert_eq!(Dialect::named("native"), Dialect::Native);
        assert_eq!(CloseCode::of(4711), CloseCode::Other);
        assert_eq!(CloseCode::of(1006), CloseCode::None);
    }
}
