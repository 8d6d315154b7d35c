//! What the stories stand on: a whole relay on free ports, and clients of it. Each file of `tests/`
//! compiles this for itself and uses a part.

#![allow(dead_code, unused_imports)] // no story uses everything
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

pub mod audio;
pub mod bench;
pub mod client;
pub mod fake;
pub mod fake_behaviour;
pub mod fake_lines;
pub mod fake_server;
pub mod http;
pub mod relay;
pub mod served;
pub mod studio;
pub mod voices;

use std::time::Duration;

pub use client::{Seen, TestClient, Turn};
pub use http::{Answer, Ask};
pub use relay::TestRelay;
pub use served::Served;

/// How long anything may take before a story has failed. Generous: it is never waited for in vain.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often a state that tells nobody of its changes is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// About a second and a half of speech.
pub const SHORT: &str = "One two three four five.";

/// A text that takes about six seconds to be heard, times `times`.
pub fn long_text(times: usize) -> String {
    "The quick brown fox jumps over the lazy dog, and then it sleeps near the river bank for a while. "
        .repeat(times)
}

/// Waits for a future, not longer than any story may wait.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Looks until `look` gives something.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    })
    .await
}
