//! The two ends of one stream on a link: the [`Outlet`] the link's task writes events into, and the
//! [`Stream`] its user sends commands into and reads events from.
//!
//! Events travel in a queue bounded by count and by bytes. The last one lies beside the queue in a
//! slot of its own, so that it always arrives, however full the queue is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::mpsc;
use tokio::time::Instant;
use voxrelay_protocol::{Command, ContextId, Event, FaultKind, UpstreamFault};

use super::{Link, ToLink};
use crate::metrics::{self, Queue};

/// Events waiting in one stream's queue. Full: on a shared link the stream fails with
/// `slow_consumer`, on an exclusive one the link stops reading.
pub const EVENTS_MAX: usize = 4096;
/// Commands of one stream waiting for its link; past it, sending is refused.
pub const COMMANDS_MAX: usize = 4096;

/// What both ends know.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Audio and word bytes in the event queue.
    waiting_out: AtomicUsize,
    /// Text bytes accepted and not yet written to the transport.
    waiting_in: AtomicUsize,
    /// Commands accepted and not yet taken by the link's task.
    commands: AtomicUsize,
    /// Nobody wants this stream any more.
    abandoned: AtomicBool,
    /// The link waits for room in the event queue.
    paused: AtomicBool,
    last: Mutex<Option<Event>>,
}

impl Shared {
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// Says whether the link waits for room. Checked against `waiting_out` in both orders by the two
    /// ends, hence the strongest ordering.
    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
    }

    pub(super) fn command_taken(&self) {
        self.commands.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn text_written(&self, bytes: usize) {
        self.waiting_in.fetch_sub(bytes, Ordering::AcqRel);
        metrics::unbuffered(Queue::TextIn, bytes);
    }

    fn text_taken(&self, bytes: usize) {
        self.waiting_in.fetch_add(bytes, Ordering::AcqRel);
        metrics::buffered(Queue::TextIn, bytes);
    }

    fn last(&self) -> MutexGuard<'_, Option<Event>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    /// What nobody will read or write any more waits no longer.
    fn drop(&mut self) {
        metrics::unbuffered(Queue::AudioOut, *self.waiting_out.get_mut());
        metrics::unbuffered(Queue::TextIn, *self.waiting_in.get_mut());
    }
}

/// How [`Outlet::push`] went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It is on its way.
    Taken,
    /// Over the budget; the event is lost.
    Full,
    /// Nobody listens.
    Closed,
}

/// An event on its way to its reader, and when it came.
#[derive(Debug)]
struct Waiting {
    event: Event,
    since: Instant,
}

/// The link's end of one stream.
#[derive(Debug)]
pub(super) struct Outlet {
    queue: mpsc::Sender<Waiting>,
    shared: Arc<Shared>,
    budget: usize,
}

impl Outlet {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether one more event of any size may be pushed. A budget may be passed by one event.
    pub(super) fn has_room(&self) -> bool {
        self.shared.waiting_out.load(Ordering::SeqCst) < self.budget && self.queue.capacity() > 0
    }

    /// Passes on an event that is not the last. Never waits.
    pub(super) fn push(&self, event: Event) -> Pushed {
        if !self.has_room() {
            return Pushed::Full;
        }
        let cost = cost(&event);
        self.shared.waiting_out.fetch_add(cost, Ordering::SeqCst);
        metrics::buffered(Queue::AudioOut, cost);
        match self.queue.try_send(Waiting { event, since: Instant::now() }) {
            Ok(()) => Pushed::Taken,
            Err(mpsc::error::TrySendError::Full(_)) => Pushed::Full,
            Err(mpsc::error::TrySendError::Closed(_)) => Pushed::Closed,
        }
    }

    /// Passes on the last event, behind all that is queued.
    pub(super) fn finish(self, last: Event) {
        *self.shared.last() = Some(last);
    }
}

/// Why a command was not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SendError {
    /// Too much text waits for this stream already; the command comes back.
    #[error("too much text waits for the upstream")]
    Full(Command),
    /// The stream has ended or its link is gone.
    #[error("the stream has ended")]
    Closed,
}

/// A user's end of one stream. Dropping it before its last event cancels the context.
#[derive(Debug)]
pub struct Stream {
    link: Arc<Link>,
    context: ContextId,
    events: mpsc::Receiver<Waiting>,
    shared: Arc<Shared>,
    text_buffer: usize,
    over: bool,
}

impl Stream {
    /// Both ends of a new stream.
    pub(super) fn pair(
        link: Arc<Link>,
        context: ContextId,
        stream_buffer: usize,
        text_buffer: usize,
    ) -> (Outlet, Self) {
        let (queue, events) = mpsc::channel(EVENTS_MAX);
        let shared = Arc::new(Shared::default());
        let outlet = Outlet { queue, shared: Arc::clone(&shared), budget: stream_buffer };
        (outlet, Self { link, context, events, shared, text_buffer, over: false })
    }

    /// Hands a command to the link. Never waits. A `Cancel` overtakes all that is queued, and ends
    /// the stream for its user at once.
    ///
    /// # Errors
    /// [`SendError::Full`] when as many bytes as `text_buffer` wait already; [`SendError::Closed`].
    pub fn send(&mut self, command: Command) -> Result<(), SendError> {
        if self.over {
            return Err(SendError::Closed);
        }
        if command == Command::Cancel {
            self.abandon();
            return Ok(());
        }
        let bytes = if let Command::Text(text) = &command { text.len() } else { 0 };
        let waiting = self.shared.waiting_in.load(Ordering::Acquire);
        // A text larger than the whole buffer passes when it is alone: it would never fit otherwise.
        if bytes > 0 && waiting > 0 && waiting + bytes > self.text_buffer {
            return Err(SendError::Full(command));
        }
        if self.shared.commands.load(Ordering::Acquire) >= COMMANDS_MAX && command != Command::End {
            return Err(SendError::Full(command));
        }
        self.shared.text_taken(bytes);
        self.shared.commands.fetch_add(1, Ordering::AcqRel);
        match self.link.commands.try_send(ToLink::Command(self.context, command)) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(refused)) => {
                self.shared.text_written(bytes);
                self.shared.commands.fetch_sub(1, Ordering::AcqRel);
                match refused {
                    ToLink::Command(_, command) => Err(SendError::Full(command)),
                    ToLink::Open(_) => Err(SendError::Closed),
                }
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(SendError::Closed),
        }
    }

    /// The next event; `None` once the last one was given, and after a cancel.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Some(Waiting { event, since }) = ready!(self.events.poll_recv(cx)) {
            let cost = cost(&event);
            self.shared.waiting_out.fetch_sub(cost, Ordering::SeqCst);
            metrics::unbuffered(Queue::AudioOut, cost);
            if let Event::Audio(_) = &event {
                metrics::chunk_delay(since.elapsed());
            }
            if self.shared.paused.load(Ordering::SeqCst) {
                self.link.wake();
            }
            return Poll::Ready(Some(event));
        }
        self.over = true;
        let last = self.shared.last().take();
        // An outlet dropped without a last word: its task is gone.
        let gone = || Event::Failed(UpstreamFault::new(FaultKind::ClosedEarly, "the link is gone"));
        Poll::Ready(Some(last.unwrap_or_else(gone)))
    }

    /// Whether this stream is the first one of its link to tell of the link's death. True once a link.
    pub fn mourns_first(&self) -> bool {
        !self.link.mourned.swap(true, Ordering::AcqRel)
    }

    /// Bytes of audio and words waiting to be read.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.shared.waiting_out.load(Ordering::Acquire)
    }

    fn abandon(&mut self) {
        if self.over {
            return;
        }
        self.over = true;
        self.shared.abandoned.store(true, Ordering::Release);
        self.events.close();
        while self.events.try_recv().is_ok() {}
        self.link.abandon(self.context);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// What an event holds in memory, as far as it can grow.
fn cost(event: &Event) -> usize {
    match event {
        Event::Audio(audio) => audio.len(),
        Event::Words { words, .. } => words.iter().map(|word| word.text.len() + 64).sum(),
        Event::Flushed | Event::Done | Event::Failed(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_refuses_past_the_budget_and_finish_always_arrives() {
        let (queue, mut events) = mpsc::channel(EVENTS_MAX);
        let shared = Arc::new(Shared::default());
        let outlet = Outlet { queue, shared: Arc::clone(&shared), budget: 10 };
        let audio = |n| Event::Audio(vec![0; n].into());
        assert_eq!(outlet.push(audio(6)), Pushed::Taken);
        assert_eq!(outlet.push(audio(6)), Pushed::Taken);
        assert!(!outlet.has_room());
        assert_eq!(outlet.push(audio(1)), Pushed::Full);
        outlet.finish(Event::Done);
        assert_eq!(events.try_recv().map(|waiting| waiting.event.audio_len()), Ok(6));
        assert_eq!(events.try_recv().map(|waiting| waiting.event.audio_len()), Ok(6));
        assert_eq!(events.try_recv().err(), Some(mpsc::error::TryRecvError::Disconnected));
        assert_eq!(shared.last().take(), Some(Event::Done));
    }
}
