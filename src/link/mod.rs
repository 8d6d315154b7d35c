//! One connection to an upstream, driven by one task and shared by the streams on it.
//!
//! A link never waits for a stream: on a shared link a stream that does not read fails by itself, on
//! an exclusive one there is nobody else to hold up. A link that has seen anything it cannot explain
//! is retired, never handed out again. It knows nothing of pools or sessions: whatever must be given
//! back when a stream is really over upstream is a [`Hold`], dropped at that moment.

mod contexts;
mod driver;
mod meter;
mod stream;
mod watch;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::mpsc;
use tokio::time::Instant;
use voxrelay_protocol::provider::{Capabilities, ProviderCodec, Sharing};
use voxrelay_protocol::{Command, ContextId, SynthesisSpec};

pub use driver::Driver;
pub use meter::Meter;
pub use stream::{COMMANDS_MAX, EVENTS_MAX, SendError, Stream};

pub use crate::metrics::RetireReason;
use crate::transport::Transport;

/// Anything that must live until a stream is over upstream.
pub type Hold = Box<dyn Send>;

/// What a link is told when it starts.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// What the vendor can do.
    pub capabilities: Capabilities,
    /// Closed after so long without a stream; no longer than the vendor's own limit.
    pub idle: Duration,
    /// Takes no new stream after this.
    pub max_age: Duration,
    /// Bytes of events that may wait for one stream.
    pub stream_buffer: usize,
    /// Bytes of text that may wait for the link, per stream.
    pub text_buffer: usize,
}

/// A handle on a link. The link's task ends by itself; a handle never keeps it alive.
#[derive(Debug)]
pub struct Link {
    /// Full: cannot be, it has room for all that its streams may queue.
    commands: mpsc::Sender<ToLink>,
    /// Streams nobody wants any more, ahead of all commands; at most one entry per stream.
    abandoned: Mutex<Vec<(ContextId, Instant)>>,
    waker: AtomicWaker,
    next: AtomicU64,
    retired: AtomicBool,
    /// Somebody has told of its death.
    mourned: AtomicBool,
    /// Streams open or about to be opened: a link with any does not end of its own will.
    promised: AtomicUsize,
    stream_buffer: usize,
    text_buffer: usize,
}

/// What the task is asked to do.
enum ToLink {
    Open(Box<Opening>),
    Command(ContextId, Command),
}

struct Opening {
    context: ContextId,
    spec: Box<SynthesisSpec>,
    outlet: stream::Outlet,
    hold: Hold,
}

impl Link {
    /// A link over a connected transport; it lives while the driver runs.
    #[must_use]
    pub fn new(
        transport: Transport,
        codec: Box<dyn ProviderCodec>,
        settings: &LinkSettings,
        meter: Meter,
    ) -> (Arc<Self>, Driver) {
        let streams = match settings.capabilities.sharing {
            Sharing::Contexts { per_link } => per_link.max(1),
            Sharing::Lease | Sharing::Once => 1,
        };
        // Twice the streams: one that is over upstream may leave commands behind for its successor.
        let (commands, inbox) = mpsc::channel(streams * 2 * (COMMANDS_MAX + 2));
        let link = Arc::new(Self {
            commands,
            abandoned: Mutex::default(),
            waker: AtomicWaker::new(),
            next: AtomicU64::new(1),
            retired: AtomicBool::new(false),
            mourned: AtomicBool::new(false),
            promised: AtomicUsize::new(0),
            stream_buffer: settings.stream_buffer,
            text_buffer: settings.text_buffer,
        });
        let driver = Driver::new(Arc::clone(&link), transport, codec, inbox, settings, meter);
        (link, driver)
    }

    /// Opens a stream; `hold` is dropped when it is over upstream. On a link that has just ended the
    /// stream's first event says so.
    #[must_use]
    pub fn open(self: &Arc<Self>, spec: Box<SynthesisSpec>, hold: Hold) -> Stream {
        let context = ContextId(self.next.fetch_add(1, Ordering::Relaxed));
        let (outlet, stream) = Stream::pair(Arc::clone(self), context, self.stream_buffer, self.text_buffer);
        // Refused when the task has ended: the outlet is dropped, which tells the stream.
        let _ = self.commands.try_send(ToLink::Open(Box::new(Opening { context, spec, outlet, hold })));
        stream
    }

    /// Whether new streams may be opened.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self.retired.load(Ordering::Acquire) && !self.commands.is_closed()
    }

    /// Takes no new stream from now on, and ends when the last one is over.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.wake();
    }

    /// Promises a stream, so that the link waits for it.
    pub fn promise(&self) {
        self.promised.fetch_add(1, Ordering::AcqRel);
    }

    /// A promised stream is over, or was never opened.
    pub fn release(&self) {
        self.promised.fetch_sub(1, Ordering::AcqRel);
        if self.retired.load(Ordering::Acquire) {
            self.wake();
        }
    }

    /// Whether a stream of that number was ever opened here.
    fn has_opened(&self, context: ContextId) -> bool {
        context.0 < self.next.load(Ordering::Relaxed)
    }

    fn is_promised(&self) -> bool {
        self.promised.load(Ordering::Acquire) > 0
    }

    fn abandon(&self, context: ContextId) {
        self.lane().push((context, Instant::now()));
        self.wake();
    }

    fn lane(&self) -> std::sync::MutexGuard<'_, Vec<(ContextId, Instant)>> {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.waker.wake();
    }
}

#[cfg(test)]
mod tests;
