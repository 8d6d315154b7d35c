//! Waiting for the next thing a link must act on, and writing meanwhile.
//!
//! The order is the order of importance: cancels, what arrives, commands, then writing, clocks and the
//! end of the relay. Those last ones come first once in a while, so that a vendor who never pauses
//! cannot starve them. Frames are handed to the transport when nothing else is ready, which makes one
//! write out of all that came together.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, Sleep, sleep_until};
use voxrelay_protocol::UpstreamFault;

use super::{Driver, Input, Outgoing};
use crate::drain::Drain;
use crate::metrics::Point;

/// Encoded frames waiting for the transport. Full: commands stay in their queue.
const OUT_MAX: usize = 32;
/// Inputs in a row before writing, clocks and drain get their turn.
const TURNS_MAX: u32 = 64;
/// How far ahead the timer is set when nothing is due.
const FAR: Duration = Duration::from_secs(3600);

type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a driver waits for besides its transport and its inbox.
pub(super) struct Signals {
    timer: Pin<Box<Sleep>>,
    begun: Option<Signal>,
    cut: Signal,
}

impl Signals {
    pub(super) fn new(drain: Drain) -> Self {
        let (begun, cut) = (drain.clone(), drain);
        Self {
            timer: Box::pin(sleep_until(Instant::now())),
            begun: Some(Box::pin(async move { begun.begun().await })),
            cut: Box::pin(async move { cut.cut_off().await }),
        }
    }
}

impl Driver {
    pub(super) fn poll_input(&mut self, signals: &mut Signals, cx: &mut Context<'_>) -> Poll<Input> {
        self.link.waker.register(cx.waker());
        let abandoned = std::mem::take(&mut *self.link.lane());
        if !abandoned.is_empty() {
            return Poll::Ready(Input::Abandoned(abandoned));
        }
        self.turns += 1;
        if self.turns > TURNS_MAX {
            self.turns = 0;
            if let Poll::Ready(input) = self.poll_background(signals, cx) {
                return Poll::Ready(input);
            }
        }
        if let Some((context, _)) = self.decoded.front() {
            if self.contexts.has_room(*context) {
                return Poll::Ready(Input::Room);
            }
        } else if let Poll::Ready(received) = self.transport.poll_next_unpin(cx) {
            return Poll::Ready(match received {
                Some(Ok(incoming)) => Input::Received(incoming),
                Some(Err(fault)) => Input::Gone(Some(fault)),
                None => Input::Gone(None),
            });
        }
        // What is written makes room: an inbox that is not asked wakes nobody.
        if self.out.len() >= OUT_MAX
            && let Err(fault) = self.poll_write(cx)
        {
            return Poll::Ready(Input::Gone(Some(fault)));
        }
        if self.out.len() < OUT_MAX
            && let Poll::Ready(Some(asked)) = self.inbox.poll_recv(cx)
        {
            return Poll::Ready(Input::Asked(asked));
        }
        self.poll_background(signals, cx)
    }

    fn poll_background(&mut self, signals: &mut Signals, cx: &mut Context<'_>) -> Poll<Input> {
        if let Err(fault) = self.poll_write(cx) {
            return Poll::Ready(Input::Gone(Some(fault)));
        }
        if self.retired.is_none() && !self.link.is_usable() {
            return Poll::Ready(Input::Retire);
        }
        if signals.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Input::DrainCut);
        }
        if let Some(begun) = &mut signals.begun
            && begun.as_mut().poll(cx).is_ready()
        {
            signals.begun = None;
            return Poll::Ready(Input::DrainBegun);
        }
        self.poll_timer(&mut signals.timer, cx)
    }

    /// The timer is moved only when it fires or must fire earlier: moving it for every frame would
    /// cost more than the frame.
    fn poll_timer(&self, timer: &mut Pin<Box<Sleep>>, cx: &mut Context<'_>) -> Poll<Input> {
        let due = [self.watch.next(), self.contexts.next_deadline()].into_iter().flatten().min();
        let due = due.unwrap_or_else(|| Instant::now() + FAR);
        if due < timer.deadline() {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= due {
                return Poll::Ready(Input::Tick);
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), UpstreamFault> {
        while self.want_ping || !self.out.is_empty() {
            if self.transport.poll_ready_unpin(cx)?.is_pending() {
                self.watch.writing(Instant::now());
                return Ok(());
            }
            if std::mem::take(&mut self.want_ping) {
                if !Pin::new(&mut *self.transport).start_ping()? {
                    self.watch.no_pings();
                }
            } else if let Some(Outgoing { context, frame, text, since }) = self.out.pop_front() {
                self.transport.start_send_unpin(frame)?;
                self.contexts.written(context, text);
                if let Some(since) = since {
                    self.meter.cancelled(since.elapsed());
                }
            }
            self.wrote();
            self.unflushed = true;
        }
        if self.unflushed {
            if self.transport.poll_flush_unpin(cx)?.is_pending() {
                self.watch.writing(Instant::now());
            } else {
                self.unflushed = false;
                self.wrote();
            }
        }
        Ok(())
    }

    fn wrote(&mut self) {
        if let Some(since) = self.watch.wrote() {
            self.meter.waited(Point::LinkSocket, since.elapsed());
        }
    }
}
