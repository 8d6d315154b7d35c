//! A vendor's fake with a pool in front of it, and what the tests of every vendor do with the two.

use std::env;
use std::process::Command as Process;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{sleep, timeout};
use voxrelay::lease::{CheckoutKind, Lease};
use voxrelay_protocol::{FaultClass, FaultKind, SynthesisSpec};

use super::bench::{BUFFER, Bench, SOON, listen, next, say, speak, until};
use super::fake_server::{Behaviour, Fake, Judge, watermark};

/// Long enough for the vendor's own client.
const CLIENT: Duration = Duration::from_secs(60);

/// A vendor: its name in the table, its fake, and one of its sockets.
#[derive(Clone, Copy)]
pub struct Vendor {
    pub name: &'static str,
    pub judge: Judge,
    pub api: &'static str,
    /// What its streams ask for.
    pub ask: fn(&mut SynthesisSpec),
}

impl Vendor {
    /// Two turns, the second of them on the link of the first.
    pub async fn speaks_twice(self) -> Studio {
        let studio = Studio::start(self, Behaviour::default()).await;
        let mut kinds = Vec::new();
        for text in ["The first turn.", "And the second."] {
            let mut lease = studio.lease().await;
            kinds.push(lease.checkout().kind);
            assert_eq!(speak(&mut lease, text).await, Ok(watermark(text, 64)));
        }
        assert_eq!(kinds, [CheckoutKind::Cold, CheckoutKind::Warm]);
        studio
    }

    /// Each refused upgrade has its kind, and so has a key that is no longer let in.
    pub async fn refuses(self, refusals: &[((u16, Option<u64>), FaultKind)]) {
        for (refuse, kind) in refusals {
            let studio =
                Studio::start(self, Behaviour { refuse: Some(*refuse), ..Behaviour::default() }).await;
            assert_eq!(studio.bench.fault().await.kind, *kind, "{refuse:?}");
        }
        let studio = Studio::start(self, Behaviour::default()).await;
        studio.fake.change(|behaviour| behaviour.key = Some("another".into()));
        assert_eq!(studio.bench.fault().await.kind, FaultKind::Auth);
    }

    /// A link that is cut during a turn ends it after all that came.
    pub async fn is_cut(self) {
        for (chunks, kind) in [(0, FaultKind::ClosedEarly), (3, FaultKind::ClosedMidAudio)] {
            let behaviour = Behaviour { die_after: Some(chunks), ..Behaviour::default() };
            let studio = Studio::start(self, behaviour).await;
            let mut lease = studio.lease().await;
            say(&mut lease, &"long ".repeat(200));
            let (heard, end) = listen(&mut lease).await;
            assert_eq!((heard.len(), end), (chunks * 960, Err(kind)));
            assert!(watermark(&"long ".repeat(200), 64).starts_with(&heard));
        }
    }

    /// A link is never handed out that the vendor has closed for want of traffic.
    pub async fn goes_stale(self) {
        let idle = Some(Duration::from_millis(10));
        let studio = Studio::start(self, Behaviour { idle, ..Behaviour::default() }).await;
        for turn in 0..30 {
            let text = format!("turn {turn}");
            assert_eq!(speak(&mut studio.lease().await, &text).await, Ok(watermark(&text, 64)));
            // Around the vendor's own idle limit, where its last word and our next turn cross.
            sleep(Duration::from_millis(8 + turn % 5)).await;
        }
        assert!(studio.fake.stats().sockets > 1, "no link went stale");
    }

    /// A link whose other end is gone is given up and never handed out again.
    pub async fn is_half_open(self) -> Studio {
        let studio = Studio::start(self, Behaviour::odd()).await;
        assert!(speak(&mut studio.lease().await, "x").await.is_ok());
        studio.fake.change(|behaviour| behaviour.half_open = true);
        let mut lease = studio.lease().await;
        assert_eq!(lease.checkout().kind, CheckoutKind::Warm);
        say(&mut lease, "into the void");
        assert!(timeout(Duration::from_millis(50), next(&mut lease)).await.is_err());
        drop(lease);
        studio.fake.change(|behaviour| behaviour.half_open = false);
        let heard = speak(&mut studio.lease().await, "heard").await;
        assert_eq!(heard, Ok(watermark("heard", 64)), "{}", self.api);
        assert_eq!(studio.fake.stats().sockets, 2);
        studio
    }

    /// A slow reader pauses its link and loses nothing.
    pub async fn is_read_slowly(self) {
        let studio = Studio::start(self, Behaviour::odd()).await;
        let mut lease = studio.lease().await;
        let text = "s".repeat(20_000);
        say(&mut lease, &text);
        until(|| lease.buffered_bytes() >= BUFFER).await;
        assert!(lease.buffered_bytes() <= BUFFER + 1024, "{}", self.api);
        let (heard, end) = timeout(SOON, listen(&mut lease)).await.unwrap();
        assert_eq!(end, Ok(()), "{}", self.api);
        assert!(heard == watermark(&text, 64), "{}: not the same", self.api);
    }
}

/// A fake and the pool in front of it.
pub struct Studio {
    pub fake: Fake,
    pub bench: Bench,
    ask: fn(&mut SynthesisSpec),
}

impl Studio {
    /// Lets in the key that the pool has, unless another is asked for.
    pub async fn start(vendor: Vendor, behaviour: Behaviour) -> Self {
        let key = behaviour.key.clone().or(Some("secret".into()));
        let fake = Fake::start(vendor.judge, Behaviour { key, ..behaviour }).await;
        let bench = Bench::before(&fake, vendor.name, vendor.api).await;
        Self { fake, bench, ask: vendor.ask }
    }

    /// A lease, whatever has gone wrong before.
    pub async fn lease(&self) -> Lease {
        self.bench.lease_with(self.ask).await
    }
}

pub fn paced(pace_us: u64) -> Behaviour {
    Behaviour { pace: Duration::from_micros(pace_us), ..Behaviour::default() }
}

/// What fails a turn, and that the next one is clean, if there may be one.
pub async fn fails_once(vendor: Vendor, behaviour: Behaviour, kind: FaultKind) -> Option<Studio> {
    let shown = format!("{} {behaviour:?}", vendor.api);
    let studio = Studio::start(vendor, behaviour).await;
    assert_eq!(speak(&mut studio.lease().await, "x").await, Err(kind), "{shown}");
    if matches!(kind.class(), FaultClass::Account | FaultClass::Quota) {
        // Its key is left alone for a while.
        assert_eq!(studio.bench.fault().await.kind, kind, "{shown}");
        return None;
    }
    studio.fake.change(|behaviour| *behaviour = Behaviour::odd());
    assert_eq!(speak(&mut studio.lease().await, "clean").await, Ok(watermark("clean", 64)), "{shown}");
    Some(studio)
}

/// Runs the vendor's own client, a script of `tests/python/`, against a fake that lets in `k`. False when
/// there is no python to run it.
pub async fn own_client(fake: &Fake, script: &str, package: Option<&str>) -> bool {
    let has_package = |python: &String| {
        package.is_none_or(|package| {
            let imported = Process::new(python).args(["-c", &format!("import {package}")]).output();
            imported.is_ok_and(|output| output.status.success())
        })
    };
    let Some(python) = env::var("VOXRELAY_TEST_PYTHON").ok().filter(has_package) else {
        eprintln!("skipped: VOXRELAY_TEST_PYTHON names no python with the package that {script} needs");
        return false;
    };
    let mut client = Command::new(python);
    client.arg(format!("{}/tests/python/{script}", env!("CARGO_MANIFEST_DIR")));
    client.arg(fake.url()).arg("k").kill_on_drop(true);
    let output = timeout(CLIENT, client.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}
