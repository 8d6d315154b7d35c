//! What passes between a session and the shell around it: bounds and facts in, actions out.

use std::time::Duration;

use super::StreamEnd;
use crate::request::Start;
use crate::{AudioFormat, Command, FaultCode, Reply, UpstreamFault};

/// The bounds of one session.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Streams at once.
    pub streams: usize,
    /// Characters one stream may carry.
    pub characters_per_stream: u64,
    /// Bytes of text that may wait for an upstream, per stream.
    pub text_buffer: usize,
    /// Bytes of audio that may wait for its clock, per paced stream.
    pub pace_buffer: usize,
    /// A session without streams and messages ends after this.
    pub idle: Duration,
    /// A stream that is given nothing to do is ended after this.
    pub text_idle: Duration,
    /// How long checking the key took.
    pub auth: Duration,
    /// Nobody asked for a key: one that is sent all the same is ignored.
    pub keyless: bool,
}

/// One way the stream can be spoken, as admitted.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteFacts {
    /// The upstream's name.
    pub provider: String,
    /// Its voice.
    pub voice: String,
    /// Its model.
    pub model: Option<String>,
    /// The format it sends.
    pub format: AudioFormat,
    /// From text that must be spoken to its first audio.
    pub first_audio: Duration,
    /// Between two events while more is owed.
    pub gap: Duration,
    /// From the last thing that was owed but the end, to the end.
    pub end: Duration,
    /// Most audio that a stream may have, by its length.
    pub audio: Duration,
}

/// What the lease cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leased {
    /// Waiting for a slot.
    pub queued: Duration,
    /// Waiting for a link.
    pub connected: Duration,
}

/// What the shell must do now, in this order.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Resolve the voice and take a permit; answer with [`super::Session::on_admitted`] or
    /// [`super::Session::on_refused`] at once.
    Admit {
        /// The stream's number.
        index: u16,
        /// What the client wants.
        start: Box<Start>,
    },
    /// Begin to get a lease on this route; answer with [`super::Session::on_leased`],
    /// [`super::Session::on_refused`] or [`super::Session::on_event`] with `Failed`.
    Checkout {
        /// The stream's number.
        index: u16,
        /// Which of the admitted routes.
        route: usize,
    },
    /// Hand this to the stream's lease; if it has no room, give it back with
    /// [`super::Session::on_full`] at once.
    Upstream {
        /// The stream's number.
        index: u16,
        /// The command.
        command: Command,
    },
    /// Drop the lease (or its pending checkout) but keep the permit: another route follows, or the
    /// audio that had arrived before the fault is still being released.
    Detach {
        /// The stream's number.
        index: u16,
        /// Why, for the log and the metrics.
        fault: UpstreamFault,
    },
    /// Drop lease and permit: the stream is over.
    Release {
        /// The stream's number.
        index: u16,
        /// How it ended.
        end: Box<StreamEnd>,
    },
    /// Tell the client.
    Reply(Reply),
    /// A message was refused (for the metrics; the reply is an action of its own).
    Refused(FaultCode),
    /// Close the connection after what was said.
    Close {
        /// Close code.
        code: u16,
        /// Close reason: an error code's name.
        reason: &'static str,
    },
}
