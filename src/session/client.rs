//! One client as the session's loop sees it, whatever it is connected by.

use std::task::{Context, Poll};

use voxrelay_protocol::{Fault, Reply, Request};

pub use crate::outbox::Lost;

/// What a client did.
#[derive(Debug)]
pub enum Incoming {
    /// It asked for something, or for something that cannot be understood.
    Request(Result<Request, Fault>),
    /// It broke a rule that ends the session: tell it why, close with this code.
    Violation(Fault, u16),
    /// It closed the connection, or is gone.
    Gone,
}

/// A client's connection. All methods are called from one task, and none waits.
pub trait Client {
    /// The next thing the client does.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Incoming>;

    /// Whether audio may be added now.
    fn has_room(&self) -> bool;

    /// Queues a reply behind all others.
    fn tell(&mut self, reply: &Reply);

    /// Sends what is queued; ready when nothing is left.
    ///
    /// # Errors
    /// The client is gone or does not read.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>>;
}
