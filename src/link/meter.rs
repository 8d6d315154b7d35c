//! What operators see of one link.

use std::sync::Arc;
use std::time::Duration;

use voxrelay_protocol::{Event, FaultKind};

use crate::metrics::{
    self, CancelStep, Direction, DropReason, LinkGuard, LinkKind, LinkState, Point, UpstreamMetrics, Watchdog,
};

/// Counts for one link, from its dial to its end.
#[derive(Debug)]
pub struct Meter {
    upstream: Arc<UpstreamMetrics>,
    state: LinkGuard,
    used: bool,
}

impl Meter {
    /// A link that is being dialled.
    #[must_use]
    pub fn dialing(upstream: &Arc<UpstreamMetrics>) -> Self {
        let state = upstream.link(LinkState::Dialing);
        Self { upstream: Arc::clone(upstream), state, used: false }
    }

    /// The link has streams somebody wants, or only such as are being ended, or none.
    pub(super) fn holds(&mut self, live: bool, any: bool) {
        self.used |= any;
        self.state.moved_to(match (live, any, self.used) {
            (true, ..) => LinkState::Leased,
            (false, true, _) => LinkState::Cleaning,
            (false, false, true) => LinkState::Idle,
            (false, false, false) => LinkState::Warm,
        });
    }

    pub(super) fn received(&self, event: &Event) {
        metrics::audio_bytes(Direction::In, event.audio_len());
    }

    pub(super) fn dropped(&self, reason: DropReason, bytes: usize) {
        if bytes > 0 {
            metrics::audio_dropped(reason, bytes);
        }
    }

    /// The link waited for room.
    pub(super) fn waited(&self, point: Point, took: Duration) {
        metrics::backpressure(point, took);
    }

    /// The vendor was told that a stream is not wanted any more.
    pub(super) fn cancelled(&self, took: Duration) {
        metrics::cancelled(CancelStep::Upstream, took);
    }

    pub(super) fn slow_consumer(&self) {
        metrics::slow_consumer(LinkKind::Shared);
        self.fault(FaultKind::SlowConsumer);
    }

    pub(super) fn fault(&self, kind: FaultKind) {
        self.upstream.fault(kind);
        if kind == FaultKind::WriteStall {
            self.upstream.watchdog_fired(Watchdog::Write);
        }
    }
}
