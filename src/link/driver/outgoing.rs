//! What goes out to the vendor, in which order, and what is taken back.

use tokio::time::Instant;
use voxrelay_protocol::provider::KeepAlive;
use voxrelay_protocol::{Command, ContextId, Event, Frame};

use super::Driver;

/// A frame on its way to the transport.
pub(super) struct Outgoing {
    pub(super) context: ContextId,
    pub(super) frame: Frame,
    /// Bytes of text that have left the stream's buffer once this frame is written.
    pub(super) text: usize,
    /// When the stream was given up, for the frame that tells the vendor.
    pub(super) since: Option<Instant>,
}

impl Outgoing {
    pub(super) fn plain(context: ContextId, frame: Frame) -> Self {
        Self { context, frame, text: 0, since: None }
    }
}

impl Driver {
    pub(super) fn encode(&mut self, context: ContextId, command: &Command, text: usize) {
        let mut frames = Vec::new();
        self.codec.encode(context, command, &mut frames);
        if let Some(last) = frames.pop() {
            self.out.extend(frames.into_iter().map(|frame| Outgoing::plain(context, frame)));
            self.out.push_back(Outgoing { text, ..Outgoing::plain(context, last) });
        } else if let Some(shared) = self.contexts.live(context) {
            // The codec keeps it for later: it no longer waits here.
            shared.text_written(text);
        }
        self.settle();
    }

    /// Takes what the codec owes beside its direct answers.
    pub(super) fn settle(&mut self) {
        let (mut frames, mut events) = (Vec::new(), Vec::new());
        self.codec.settle(&mut frames, &mut events);
        self.out.extend(frames.into_iter().map(|(context, frame)| Outgoing::plain(context, frame)));
        self.decoded.extend(events);
    }

    /// Stops a stream: what waits for it is dropped, and the vendor is told ahead of everything else.
    pub(super) fn cancel(&mut self, context: ContextId, last: Option<Event>, since: Instant, now: Instant) {
        self.out.retain(|outgoing| outgoing.context != context);
        if self.contexts.live(context).is_none() {
            return;
        }
        // The codec forgets it in any case, also where the vendor has not heard of it.
        let mut frames = Vec::new();
        self.codec.encode(context, &Command::Cancel, &mut frames);
        if self.contexts.cancel(context, last, self.settings.capabilities.cancel_grace, now) {
            for frame in frames.into_iter().rev() {
                self.out.push_front(Outgoing { since: Some(since), ..Outgoing::plain(context, frame) });
            }
            self.settle();
        } else {
            // Nobody waits for its end.
            self.codec.settle(&mut Vec::new(), &mut Vec::new());
        }
    }

    /// A link that is being written to needs no sign of life, and gets none behind what waits already.
    pub(super) fn keep_alive(&mut self) {
        if let Some(KeepAlive { frames, .. }) = self.codec.keep_alive().filter(|_| self.out.is_empty()) {
            self.out.extend(frames.into_iter().map(|(context, frame)| Outgoing::plain(context, frame)));
        }
    }
}
