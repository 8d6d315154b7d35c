//! The end of a life: one handle, cloned to whoever must finish work, and the only place that spawns.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Owns every task of a relay. `begin` asks them to finish; `wait` says whether they did.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    begun: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl Drain {
    /// A drain that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a task that a drain waits for.
    #[allow(clippy::disallowed_methods)] // one of the two spawns
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Runs a task that a drain does not wait for: it serves those who finish, and ends when time is
    /// up. Whoever waited calls [`Drain::cut`] afterwards, also when all ended in time.
    #[allow(clippy::disallowed_methods)] // the other spawn
    pub fn spawn_until_cut(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = task => {}
                () = cut.cancelled() => {}
            }
        });
    }

    /// Asks everyone to finish: no new work, end what runs.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Whether the drain has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Completes when the drain begins.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Tells everyone still at work that time is up.
    pub fn cut(&self) {
        self.begun.cancel();
        self.cut.cancel();
    }

    /// Completes when time is up.
    pub async fn cut_off(&self) {
        self.cut.cancelled().await;
    }

    /// Waits for every task, at most `limit`; true when all have ended.
    pub async fn wait(&self, limit: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(limit, self.tasks.wait()).await.is_ok()
    }

    /// How many tasks are still running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.tasks.len()
    }
}
