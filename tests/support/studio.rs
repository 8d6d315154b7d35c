//! A vendor's fake with a pool in front of it, and what the tests of every vendor do with the two.

use std::env;
use std::process::Command as Process;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;
use voxrelay::lease::Lease;
use voxrelay_protocol::{FaultClass, FaultKind};

use super::bench::{Bench, speak};
use super::fake_server::{Behaviour, Fake, Judge, watermark};

/// Long enough for the vendor's own client.
const CLIENT: Duration = Duration::from_secs(60);

/// A vendor: its name in the table, its fake, and one of its sockets.
#[derive(Clone, Copy)]
pub struct Vendor {
    pub name: &'static str,
    pub judge: Judge,
    pub api: &'static str,
}

/// A fake and the pool in front of it.
pub struct Studio {
    pub fake: Fake,
    pub bench: Bench,
}

impl Studio {
    /// Lets in the key that the pool has, unless another is asked for.
    pub async fn start(vendor: Vendor, behaviour: Behaviour) -> Self {
        let key = behaviour.key.clone().or(Some("secret".into()));
        let fake = Fake::start(vendor.judge, Behaviour { key, ..behaviour }).await;
        let bench = Bench::before(&fake, vendor.name, vendor.api).await;
        Self { fake, bench }
    }

    /// A lease whose word times are told.
    pub async fn lease(&self) -> Lease {
        self.bench.lease_with(|spec| spec.words = true).await
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
