//! The streams of one link: who is open, who is cancelled and not yet over upstream, and what becomes
//! of an event for each. Bounded by the seats of the link, because a cancelled stream keeps its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use voxrelay_protocol::{ContextId, Event, FaultKind, UpstreamFault};

use super::Hold;
use super::stream::{Outlet, Pushed, Shared};

/// Late frames keep a cancelled stream's grace running, but only up to so many times.
const GRACES_MAX: u32 = 10;

struct Context {
    /// `None` once cancelled: what still comes is dropped.
    outlet: Option<Outlet>,
    shared: Arc<Shared>,
    hold: Hold,
    /// Audio has been passed on.
    spoke: bool,
    /// The vendor has been told of it.
    reached: bool,
    /// Of a cancelled one: when it counts as over, and the latest that can become.
    until: Option<(Instant, Instant)>,
}

/// What became of an event.
#[derive(Debug, PartialEq)]
pub(super) enum Delivery {
    /// Passed on.
    Passed,
    /// Its stream has no room; here it is back.
    NoRoom(Event),
    /// For a cancelled stream: dropped.
    Late,
    /// For no stream of this link: dropped.
    Foreign,
    /// The stream is over upstream; whether it ended as it should.
    Over {
        /// `Done`, not `Failed`.
        clean: bool,
        /// Somebody was told.
        wanted: bool,
    },
}

#[derive(Default)]
pub(super) struct Contexts {
    /// A handful at most: searched faster than hashed.
    open: Vec<(ContextId, Context)>,
}

impl Contexts {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether any stream is wanted.
    pub(super) fn any_live(&self) -> bool {
        self.open.iter().any(|(_, context)| context.outlet.is_some())
    }

    pub(super) fn insert(&mut self, id: ContextId, outlet: Outlet, hold: Hold) {
        let shared = Arc::clone(outlet.shared());
        let context =
            Context { outlet: Some(outlet), shared, hold, spoke: false, reached: false, until: None };
        self.open.push((id, context));
    }

    /// The stream's shared counters while it is wanted.
    pub(super) fn live(&self, id: ContextId) -> Option<&Arc<Shared>> {
        self.find(id).filter(|context| context.outlet.is_some()).map(|context| &context.shared)
    }

    /// A frame of this stream has gone to the vendor, with the last of so many bytes of text.
    pub(super) fn written(&mut self, id: ContextId, text: usize) {
        if let Some(context) = self.find_mut(id) {
            context.reached = true;
            context.shared.text_written(text);
        }
    }

    /// Hands an event to its stream. `Over` leaves the entry in place for [`Self::remove`].
    pub(super) fn deliver(&mut self, id: ContextId, event: Event, grace: Duration, now: Instant) -> Delivery {
        let Some(context) = self.find_mut(id) else {
            return Delivery::Foreign;
        };
        if event.is_last() {
            let clean = event == Event::Done;
            let wanted = context.outlet.is_some();
            if let Some(outlet) = context.outlet.take() {
                outlet.finish(event);
            }
            return Delivery::Over { clean, wanted };
        }
        let Some(outlet) = &context.outlet else {
            if let Some((until, latest)) = &mut context.until {
                *until = (now + grace).min(*latest);
            }
            return Delivery::Late;
        };
        if !outlet.has_room() {
            return Delivery::NoRoom(event);
        }
        context.spoke |= event.audio_len() > 0;
        match outlet.push(event) {
            Pushed::Taken => Delivery::Passed,
            // Nobody listens: its abandonment is on the way.
            Pushed::Closed | Pushed::Full => Delivery::Late,
        }
    }

    /// Whether the stream has room for an event; true when nobody wants it any more.
    pub(super) fn has_room(&self, id: ContextId) -> bool {
        self.find(id).and_then(|context| context.outlet.as_ref()).is_none_or(Outlet::has_room)
    }

    /// Stops wanting a stream: its user is told `last`, if anything. True when the vendor knows of it
    /// and must be told; false when it may be removed at once or is none of ours.
    pub(super) fn cancel(
        &mut self,
        id: ContextId,
        last: Option<Event>,
        grace: Duration,
        now: Instant,
    ) -> bool {
        let Some(context) = self.find_mut(id) else {
            return false;
        };
        let Some(outlet) = context.outlet.take() else {
            return false;
        };
        if let Some(last) = last {
            outlet.finish(last);
        }
        context.until = Some((now + grace, now + grace * GRACES_MAX));
        if !context.reached {
            self.remove(id);
            return false;
        }
        true
    }

    /// Forgets a stream that is over, which gives back what it holds.
    pub(super) fn remove(&mut self, id: ContextId) {
        self.open.retain(|(open, _)| *open != id);
    }

    /// When the next cancelled stream counts as over.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.open.iter().filter_map(|(_, context)| context.until.map(|(until, _)| until)).min()
    }

    /// A cancelled stream whose grace has run out.
    pub(super) fn expired(&self, now: Instant) -> Option<ContextId> {
        let is_over = |context: &Context| context.until.is_some_and(|(until, _)| now >= until);
        self.open.iter().find(|(_, context)| is_over(context)).map(|(id, _)| *id)
    }

    /// The link is gone: every stream is told, with `fault` if it says more than "closed". Gives back
    /// what each was told.
    pub(super) fn fail_all(&mut self, fault: Option<&UpstreamFault>) -> Vec<FaultKind> {
        let mut told = Vec::new();
        for (_, mut context) in self.open.drain(..) {
            if let Some(outlet) = context.outlet.take() {
                let fault = death(fault, context.spoke);
                told.push(fault.kind);
                outlet.finish(Event::Failed(fault));
            }
            drop(context.hold);
        }
        told
    }

    fn find(&self, id: ContextId) -> Option<&Context> {
        self.open.iter().find(|(open, _)| *open == id).map(|(_, context)| context)
    }

    fn find_mut(&mut self, id: ContextId) -> Option<&mut Context> {
        self.open.iter_mut().find(|(open, _)| *open == id).map(|(_, context)| context)
    }
}

/// How the death of a link looks to one stream on it.
fn death(fault: Option<&UpstreamFault>, spoke: bool) -> UpstreamFault {
    let closed = if spoke { FaultKind::ClosedMidAudio } else { FaultKind::ClosedEarly };
    let Some(fault) = fault else {
        return UpstreamFault::new(closed, "the upstream closed the link");
    };
    let kind = match fault.kind {
        FaultKind::Reset | FaultKind::Refused | FaultKind::ConnectTimeout => closed,
        FaultKind::Stalled if !spoke => closed,
        kind => kind,
    };
    UpstreamFault { kind, ..fault.clone() }
}
