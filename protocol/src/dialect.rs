//! What the relay can speak to clients.

use crate::{Fault, Frame, FrameRef, Reply, Request};

/// The client end of one wire protocol. It translates and nothing else: what a request leads to is
/// the [`crate::session::Session`]'s business.
pub trait ClientDialect: Send {
    /// The dialect's name, as in metric labels.
    fn name(&self) -> &'static str;

    /// Whether clients may send binary messages; else one ends the session with close code 1003.
    fn takes_binary(&self) -> bool {
        false
    }

    /// One client message as a request; the fault says what is wrong with it. A fault never ends
    /// the session by itself.
    ///
    /// # Errors
    /// `invalid_request` naming the field, or the dialect's own refusal.
    fn decode(&mut self, frame: FrameRef<'_>) -> Result<Request, Fault>;

    /// One reply as frames, appended to `out` in order.
    fn encode(&mut self, reply: &Reply, out: &mut Vec<Frame>);
}
