//! The right to run one stream, and the stream itself: what a session holds.
//!
//! A pooled link may turn out to be dead at the moment it is used. Until the first event has come, a
//! lease on such a link keeps what it was told and, should the link die, tells it once more to a
//! fresh one: nothing has been spoken, so nothing can be spoken twice. A link that was dialled for the
//! lease is replaced like that only while nothing has been sent; after that its death is the vendor's.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use voxrelay_protocol::{Command, Event, FaultKind, UpstreamFault};

pub use crate::link::SendError;
use crate::link::Stream;
pub use crate::metrics::Checkout as CheckoutKind;

/// How a lease was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkout {
    /// Time waited for a slot of the account.
    pub queued: Duration,
    /// Time waited for a link after that.
    pub connected: Duration,
    /// Where the link came from.
    pub kind: CheckoutKind,
}

/// A stream on a fresh link, being opened.
pub(crate) type Reopening = Pin<Box<dyn Future<Output = Result<Stream, UpstreamFault>> + Send>>;
/// Opens a stream with the same settings on a fresh link.
pub(crate) type Reopen = Box<dyn FnOnce() -> Reopening + Send>;

/// Who is told how a lease's stream went. Dropped without being told anything: nothing was seen.
pub(crate) trait Witness: Send {
    /// Audio has come. Told once.
    fn spoke(&mut self);

    /// It failed. Told once, and last.
    fn failed(&mut self, fault: &UpstreamFault);
}

/// The right to run one stream. Dropped before its last event, it cancels the stream upstream, ahead
/// of any text still queued; the account's slot is free again once the vendor is really done with it.
pub struct Lease {
    stream: Stream,
    checkout: Checkout,
    retry: Option<Retry>,
    reopening: Option<Reopening>,
    witness: Option<Box<dyn Witness>>,
    spoke: bool,
    /// Commands kept for a link that is being opened.
    kept: Kept,
    over: bool,
}

struct Retry {
    reopen: Reopen,
    /// The link was there before, so that it may have been dead all along.
    pooled: bool,
}

/// Everything sent so far, as long as it can be sent again. Bounded by the text buffer.
struct Kept {
    commands: Vec<Command>,
    bytes: usize,
    limit: usize,
}

impl Lease {
    /// `reopen` is used once at most; `text_buffer` bounds in bytes what is kept for it.
    pub(crate) fn new(
        stream: Stream,
        checkout: Checkout,
        reopen: Reopen,
        witness: Box<dyn Witness>,
        text_buffer: usize,
    ) -> Self {
        let kept = Kept { commands: Vec::new(), bytes: 0, limit: text_buffer };
        let retry = Some(Retry { reopen, pooled: checkout.kind != CheckoutKind::Cold });
        let witness = Some(witness);
        Self { stream, checkout, retry, reopening: None, witness, spoke: false, kept, over: false }
    }

    /// How this lease was come by.
    #[must_use]
    pub fn checkout(&self) -> &Checkout {
        &self.checkout
    }

    /// Hands a command to the link. Never waits. `Start` was sent at the checkout. After `Cancel` no
    /// event comes any more.
    ///
    /// # Errors
    /// [`SendError::Full`] when more than the text buffer waits for this stream;
    /// [`SendError::Closed`] when the stream has ended or its link is gone.
    pub fn send(&mut self, command: Command) -> Result<(), SendError> {
        if self.over {
            return Err(SendError::Closed);
        }
        if command == Command::Cancel {
            self.over = true;
            self.reopening = None;
            return self.stream.send(command);
        }
        if self.reopening.is_some() {
            return self.kept.keep(command).map_err(SendError::Full);
        }
        if self.retry.as_ref().is_none_or(|retry| !retry.pooled) {
            self.forget();
            return self.stream.send(command);
        }
        match self.stream.send(command.clone()) {
            Err(full @ SendError::Full(_)) => Err(full),
            sent => {
                if self.kept.keep(command).is_ok() {
                    return Ok(());
                }
                self.forget();
                sent
            }
        }
    }

    /// The next event; `None` after the last one ([`Event::is_last`]) and after a cancel.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.over {
            return Poll::Ready(None);
        }
        loop {
            if let Some(reopening) = &mut self.reopening {
                let reopened = ready!(reopening.as_mut().poll(cx));
                self.reopening = None;
                match reopened {
                    Ok(stream) => self.resume(stream),
                    Err(fault) => {
                        // A failed dial has been told by itself, and so has the link's death.
                        self.witness = None;
                        return self.last(Event::Failed(fault));
                    }
                }
            }
            let Some(event) = ready!(self.stream.poll_event(cx)) else {
                self.over = true;
                return Poll::Ready(None);
            };
            if let (Some(retry), true) = (self.retry.take(), died(&event)) {
                self.reopening = Some((retry.reopen)());
                continue;
            }
            self.forget();
            self.testify(&event);
            return if event.is_last() { self.last(event) } else { Poll::Ready(Some(event)) };
        }
    }

    /// The stream's user has found this fault in it. False when the user was told of it by an event.
    pub fn failed(&mut self, fault: &UpstreamFault) -> bool {
        let Some(mut witness) = self.witness.take() else { return false };
        witness.failed(fault);
        true
    }

    fn testify(&mut self, event: &Event) {
        match event {
            Event::Audio(audio) if !audio.is_empty() && !self.spoke => {
                self.spoke = true;
                if let Some(witness) = &mut self.witness {
                    witness.spoke();
                }
            }
            // The death of a link is one fault, however many streams it takes along.
            Event::Failed(fault) if is_of_link(fault.kind) && !self.stream.mourns_first() => {
                self.witness = None;
            }
            Event::Failed(fault) => {
                self.failed(fault);
            }
            _ => {}
        }
    }

    /// Bytes of events waiting to be read.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.stream.buffered_bytes()
    }

    fn resume(&mut self, stream: Stream) {
        self.stream = stream;
        for command in std::mem::take(&mut self.kept.commands) {
            // It fitted before; a link that dies again says so as an event.
            let _ = self.stream.send(command);
        }
    }

    fn forget(&mut self) {
        self.retry = None;
        self.kept.commands = Vec::new();
    }

    fn last(&mut self, event: Event) -> Poll<Option<Event>> {
        self.over = true;
        Poll::Ready(Some(event))
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("checkout", &self.checkout).finish_non_exhaustive()
    }
}

impl Kept {
    /// False when it would be too much to keep.
    /// Keeps a command, or gives it back.
    fn keep(&mut self, command: Command) -> Result<(), Command> {
        let bytes = if let Command::Text(text) = &command { text.len() } else { 0 };
        let fits = self.bytes + bytes <= self.limit && self.commands.len() < crate::link::COMMANDS_MAX;
        if !fits {
            return Err(command);
        }
        self.bytes += bytes;
        self.commands.push(command);
        Ok(())
    }
}

/// Whether this is a fault of a whole link.
fn is_of_link(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::ClosedEarly
            | FaultKind::ClosedMidAudio
            | FaultKind::Stalled
            | FaultKind::WriteStall
            | FaultKind::BadFrame
            | FaultKind::Oversize
    )
}

/// Whether a stream's end is the death of its link before anything was spoken.
fn died(event: &Event) -> bool {
    matches!(event, Event::Failed(UpstreamFault { kind: FaultKind::ClosedEarly | FaultKind::WriteStall, .. }))
}
