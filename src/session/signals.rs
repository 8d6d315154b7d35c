//! What happens to a session from outside, once each: its key is revoked, the relay goes away.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::app::App;
use crate::auth::Caller;

/// Inputs in a row before the signals are looked at in between: each look takes a lock that all
/// sessions share.
const TURNS: u32 = 64;

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The relay's time is up.
    Cut,
    /// The key is not valid any more.
    Revoked,
    /// The relay is going away.
    Drain,
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The signals that have not come yet, the most urgent first.
pub struct Signals {
    waiting: [Option<(Signal, Waiting)>; 3],
    turns: u32,
}

impl Signals {
    /// Waits for all of them.
    pub fn new(app: &App, caller: &Caller) -> Self {
        let (cut, drain, revoked) = (app.drain.clone(), app.drain.clone(), caller.revoked.clone());
        let waiting: [(Signal, Waiting); 3] = [
            (Signal::Cut, Box::pin(async move { cut.cut_off().await })),
            (Signal::Revoked, Box::pin(revoked.cancelled_owned())),
            (Signal::Drain, Box::pin(async move { drain.begun().await })),
        ];
        Self { waiting: waiting.map(Some), turns: 0 }
    }

    /// Whether so much has happened since the last look that it is time for one.
    pub fn have_waited(&mut self) -> bool {
        self.turns += 1;
        self.turns > TURNS
    }

    /// The next signal.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Signal> {
        self.turns = 0;
        for place in &mut self.waiting {
            let Some((signal, waiting)) = place else { continue };
            if waiting.as_mut().poll(cx).is_ready() {
                let signal = *signal;
                *place = None;
                return Poll::Ready(signal);
            }
        }
        Poll::Pending
    }
}
