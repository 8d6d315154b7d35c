//! What the relay has said and the worker has not yet read. Bounded in bytes: when it is full the
//! pipe fills up and the relay waits. A cancel overtakes what it cancels.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use voxrelay_protocol::vendor::embedded::messages::ToWorker;

/// Most bytes of text waiting. More than any stream may carry by default, so that a cancel does not
/// wait behind text.
const MAX_BYTES: usize = 1024 * 1024;

/// What a message counts for beside its text, in bytes.
const MESSAGE: usize = 64;

#[derive(Default)]
struct Waiting {
    messages: VecDeque<ToWorker>,
    bytes: usize,
}

/// The queue between the thread that reads and the one that speaks.
#[derive(Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Inbox {
    /// Adds a message; waits while the queue is full. A cancel throws away what waits for its
    /// context, except its start (a context must begin in order to end), and never waits itself.
    pub fn push(&self, message: ToWorker) {
        let mut waiting = self.lock();
        if let ToWorker::Cancel { context } = message {
            waiting.messages.retain(|waiting| waiting.context() != context || is_start(waiting));
            waiting.bytes = waiting.messages.iter().map(weight).sum();
        } else {
            let full = |waiting: &mut Waiting| waiting.bytes >= MAX_BYTES;
            waiting = self.changed.wait_while(waiting, full).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.bytes += weight(&message);
        waiting.messages.push_back(message);
        self.changed.notify_all();
    }

    /// The next message; waits for one.
    pub fn take(&self) -> ToWorker {
        let mut waiting = self.lock();
        loop {
            if let Some(message) = waiting.messages.pop_front() {
                waiting.bytes -= weight(&message);
                self.changed.notify_all();
                return message;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether a cancel of this context has come.
    pub fn cancels(&self, context: u64) -> bool {
        // Whatever waited for an open context is gone, and the worker opens no other before it
        // reads the cancel: it is at the front if it is there.
        self.lock().messages.front() == Some(&ToWorker::Cancel { context })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_start(message: &ToWorker) -> bool {
    matches!(message, ToWorker::Start { .. })
}

fn weight(message: &ToWorker) -> usize {
    match message {
        ToWorker::Text { text, .. } => MESSAGE + text.len(),
        _ => MESSAGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(context: u64) -> ToWorker {
        ToWorker::Text { context, text: "word".into() }
    }

    #[test]
    fn a_cancel_overtakes_the_text_of_its_context() {
        let inbox = Inbox::default();
        inbox.push(text(1));
        inbox.push(ToWorker::End { context: 1 });
        assert!(!inbox.cancels(1));
        inbox.push(ToWorker::Cancel { context: 1 });
        assert!(inbox.cancels(1) && !inbox.cancels(2));
        assert_eq!(inbox.take(), ToWorker::Cancel { context: 1 });
        assert!(!inbox.cancels(1));
    }

    #[test]
    fn what_was_thrown_away_makes_room() {
        let inbox = Inbox::default();
        let long = ToWorker::Text { context: 1, text: "x".repeat(MAX_BYTES) };
        inbox.push(long.clone());
        inbox.push(ToWorker::Cancel { context: 1 });
        inbox.take();
        inbox.push(long); // would wait for ever if the first still counted
        inbox.push(ToWorker::Cancel { context: 1 });
        assert_eq!(inbox.take(), ToWorker::Cancel { context: 1 });
        assert_eq!(inbox.lock().bytes, 0);
    }
}
