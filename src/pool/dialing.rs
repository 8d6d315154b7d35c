//! Dials in the background, and the spare links they keep.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use voxrelay_protocol::provider::Dial;
use voxrelay_protocol::{FaultKind, UpstreamFault};

use super::Pool;
use crate::link::{Driver, Link, Meter};
use crate::metrics::{DialResult, Watchdog};
use crate::transport::Transport;

/// How often spares are looked after when nothing happens.
const SPARES_EVERY: Duration = Duration::from_secs(30);

impl Pool {
    /// Dials in the background, in the place that was reserved, and goes on to drive the link. It is
    /// not tied to whoever asked: should that one be served otherwise, the link becomes a spare.
    pub(super) fn begin_dial(
        self: &Arc<Self>,
        dial: Arc<Dial>,
    ) -> oneshot::Receiver<Result<(), UpstreamFault>> {
        let (tell, told) = oneshot::channel();
        let pool = Arc::clone(self);
        self.drain.spawn(async move {
            let mut reserved = Reserved { pool: &pool, dial: &dial, link: None };
            let meter = Meter::dialing(&pool.metrics);
            let limit = pool.upstream.watchdogs.connect;
            let dialed = tokio::select! {
                () = pool.drain.cut_off() => return,
                dialed = (pool.dialer)(Arc::clone(&dial), limit, Arc::clone(&pool.metrics)) => dialed,
            };
            match dialed {
                Ok(transport) => {
                    let driver = reserved.connected(transport, meter);
                    let _ = tell.send(Ok(()));
                    let reason = driver.run(pool.drain.clone()).await;
                    pool.metrics.link_retired(reason);
                }
                Err(fault) => {
                    drop(meter);
                    if fault.kind == FaultKind::Rejected {
                        pool.state().forget_dial(&dial);
                    }
                    pool.dial_failed(&fault);
                    let _ = tell.send(Err(fault));
                }
            }
        });
        told
    }

    fn dial_failed(&self, fault: &UpstreamFault) {
        self.state().dials.failed(fault, spread(), Instant::now());
        self.doctor.dial_failed(fault);
        self.metrics.dialed(DialResult::Failed);
        self.metrics.fault(fault.kind);
        if fault.kind == FaultKind::ConnectTimeout {
            self.metrics.watchdog_fired(Watchdog::Connect);
        }
    }

    /// Keeps spare links for the dials in use, until the relay goes away.
    pub(super) async fn keep_spares(self: Arc<Self>) {
        loop {
            let (wanted, again) = self.wanted_spares();
            for dial in wanted {
                drop(self.begin_dial(dial));
            }
            let again = again.unwrap_or_else(|| Instant::now() + SPARES_EVERY);
            tokio::select! {
                () = self.drain.begun() => return,
                () = self.spares.notified() => {}
                () = sleep_until(again) => {}
            }
        }
    }

    /// None while the upstream is left alone: whoever probes it dials for himself.
    fn wanted_spares(&self) -> (Vec<Arc<Dial>>, Option<Instant>) {
        if !self.doctor.is_well() {
            return (Vec::new(), None);
        }
        self.state().spares(self.upstream.pool.warm, Instant::now())
    }
}

/// A random number from 0 to 1, for spreading things out in time.
pub(super) fn spread() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

/// The place of a link in its pool, from the dial to its end, whatever way that comes.
struct Reserved<'a> {
    pool: &'a Arc<Pool>,
    dial: &'a Arc<Dial>,
    link: Option<u64>,
}

impl Reserved<'_> {
    fn connected(&mut self, transport: Transport, meter: Meter) -> Driver {
        let pool = self.pool;
        pool.metrics.dialed(DialResult::Ok);
        let mut settings = pool.settings.clone();
        // Links that were dialled together must not all grow old together.
        settings.max_age = settings.max_age.mul_f64(1.0 - 0.2 * spread());
        let seed = getrandom::u64().unwrap_or_default();
        let codec = pool.upstream.provider.codec(&pool.upstream.account, seed);
        let (link, driver) = Link::new(transport, codec, &settings, meter);
        let now = Instant::now();
        {
            let mut state = pool.state();
            state.dials.succeeded();
            self.link = state.dialed(self.dial, Some(link), now);
        }
        pool.serve();
        driver
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.pool.state();
            match self.link {
                Some(id) => state.ended(id),
                None => drop(state.dialed(self.dial, None, Instant::now())),
            }
        }
        self.pool.changed.notify_waiters();
        self.pool.spares.notify_one();
    }
}
