//! A pool of one upstream in front of a fake vendor, and what one does with a lease.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use voxrelay::config::{Limits, PoolSettings, Upstream, Watchdogs};
use voxrelay::drain::Drain;
use voxrelay::lease::Lease;
use voxrelay::pool::{Asker, CheckoutError, PoolCounts, Pools};
use voxrelay_protocol::provider::{Account, provider};
use voxrelay_protocol::request::Credential;
use voxrelay_protocol::{AudioFormat, Command, Event, FaultKind, SynthesisSpec, UpstreamFault};

use super::fake::FakeCartesia;
use super::fake_server::{Behaviour, Fake, watermark};

/// Bytes of audio and of text that may wait, per stream.
pub const BUFFER: usize = 1024 * 1024;
/// Long enough for anything on one machine.
pub const SOON: Duration = Duration::from_secs(10);

/// A fake and the pool in front of it.
#[derive(Clone)]
pub struct Bench {
    pub fake: Arc<FakeCartesia>,
    pub pools: Pools,
    pub upstream: Arc<Upstream>,
    pub drain: Drain,
}

impl Bench {
    pub async fn start(behaviour: Behaviour) -> Self {
        Self::with(behaviour, |_| {}).await
    }

    pub async fn with(behaviour: Behaviour, change: impl FnOnce(&mut Upstream)) -> Self {
        let fake = FakeCartesia::start(behaviour).await;
        Self::build(fake.url(), fake, change)
    }

    pub async fn at(url: String, change: impl FnOnce(&mut Upstream)) -> Self {
        Self::build(url, FakeCartesia::start(Behaviour::default()).await, change)
    }

    /// In front of a fake of another vendor.
    pub async fn before(fake: &Fake, vendor: &str, api: &'static str) -> Self {
        let row = provider(vendor).expect("a row in the table");
        let change = |upstream: &mut Upstream| {
            upstream.provider = row;
            upstream.account.api = api;
        };
        Self::at(fake.url(), change).await
    }

    fn build(url: String, fake: FakeCartesia, change: impl FnOnce(&mut Upstream)) -> Self {
        let mut upstream = Upstream {
            name: "fake".into(),
            provider: provider("cartesia").unwrap(),
            account: Account { url, api_key: Some(Credential::new("secret")), api: "" },
            streams: 50,
            pool: PoolSettings {
                warm: 0,
                max_links: 10,
                idle: Duration::from_secs(60),
                max_age: Duration::from_secs(600),
                dials_per_second: 100.0,
            },
            watchdogs: Watchdogs { connect: Duration::from_millis(500), ..Watchdogs::default() },
        };
        change(&mut upstream);
        let upstream = Arc::new(upstream);
        let drain = Drain::new();
        let limits = Limits { stream_buffer: BUFFER, text_buffer: BUFFER, ..Limits::default() };
        let pools = Pools::new(&[Arc::clone(&upstream)], &drain, &limits);
        Self { fake: Arc::new(fake), pools, upstream, drain }
    }

    pub async fn checkout(&self, deadline: Duration) -> Result<Lease, CheckoutError> {
        self.pools.checkout(&self.upstream, &asker(), spec(), deadline).await
    }

    /// A lease, whatever has gone wrong before.
    pub async fn lease(&self) -> Lease {
        self.pools.trust(&self.upstream);
        self.checkout(SOON).await.unwrap()
    }

    pub async fn lease_with(&self, change: impl FnOnce(&mut SynthesisSpec)) -> Lease {
        let mut spec = spec();
        change(&mut spec);
        self.pools.trust(&self.upstream);
        self.pools.checkout(&self.upstream, &asker(), spec, SOON).await.unwrap()
    }

    pub async fn fault(&self) -> UpstreamFault {
        match self.checkout(SOON).await {
            Err(CheckoutError::Upstream(fault)) => fault,
            other => panic!("{other:?}"),
        }
    }

    pub fn counts(&self) -> PoolCounts {
        self.pools.counts(&self.upstream)
    }
}

pub fn asker() -> Asker {
    Asker::new(&"key".into())
}

pub fn spec() -> SynthesisSpec {
    SynthesisSpec {
        voice: "v".into(),
        model: Some("sonic-3".into()),
        language: Some("en".into()),
        format: AudioFormat::default(),
        words: false,
        options: serde_json::Map::new(),
    }
}

pub async fn next(lease: &mut Lease) -> Option<Event> {
    timeout(SOON, poll_fn(|cx| lease.poll_event(cx))).await.expect("no event")
}

pub fn say(lease: &mut Lease, text: &str) {
    lease.send(Command::Text(text.into())).unwrap();
    lease.send(Command::End).unwrap();
}

/// All audio until the end, and how it ended.
pub async fn listen(lease: &mut Lease) -> (Vec<u8>, Result<(), FaultKind>) {
    let mut heard = Vec::new();
    loop {
        match next(lease).await.expect("a last event") {
            Event::Audio(audio) => heard.extend_from_slice(&audio),
            Event::Done => return (heard, Ok(())),
            Event::Failed(fault) => return (heard, Err(fault.kind)),
            Event::Words { .. } | Event::Flushed => {}
        }
    }
}

pub async fn speak(lease: &mut Lease, text: &str) -> Result<Vec<u8>, FaultKind> {
    say(lease, text);
    let (heard, end) = listen(lease).await;
    end.map(|()| heard)
}

/// Two turns at once, each of which hears all that is its own and nothing else.
pub async fn speak_at_once(first: &mut Lease, second: &mut Lease) {
    let texts = ["a".repeat(300), "z".repeat(300)];
    let heard = tokio::join!(speak(first, &texts[0]), speak(second, &texts[1]));
    assert_eq!(heard, (Ok(watermark(&texts[0], 64)), Ok(watermark(&texts[1], 64))));
}

/// Waits for something that happens in another task.
pub async fn until(holds: impl Fn() -> bool) {
    let waited = timeout(SOON, async {
        while !holds() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.expect("it does not come about");
}
