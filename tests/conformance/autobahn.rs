//! The Autobahn test suite against both ends: `wstest` as a client of the echo, and as a server of the
//! relay's own client.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use voxrelay::transport::Incoming;
use voxrelay::transport::websocket::dial;
use voxrelay_protocol::Frame;

use super::echo;

/// Known and allowed: invalid UTF-8 within a fragment is told at the end of the message, not at once.
const NON_STRICT: [&str; 2] = ["6.4.3", "6.4.4"];
/// Messages above what the relay takes from a vendor: 4 MiB and more.
const TOO_BIG_FOR_A_LINK: [&str; 8] =
    ["9.1.4", "9.1.5", "9.1.6", "9.2.4", "9.2.5", "9.2.6", "9.3.*", "9.4.*"];
const PATIENCE: Duration = Duration::from_secs(10);

/// The suite judges answers by its own clock of a second: it has the machine to itself.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_passes_the_autobahn_suite() {
    let Some(wstest) = installed() else { return };
    let _alone = ALONE.lock().await;
    let address = echo::listen(echo::generous()).await;
    let wrong = wrong_of_listener(&wstest, address, json!(["*"]), 517).await;
    let cases: Vec<&str> = wrong.iter().map(|(case, _)| case.as_str()).collect();
    if !cases.is_empty() {
        // Its clock also counts what else the machine does: what is really wrong is wrong again.
        let again = wrong_of_listener(&wstest, address, json!(cases), cases.len()).await;
        assert!(again.is_empty(), "{wrong:#?}, and again {again:#?}");
    }
}

async fn wrong_of_listener(wstest: &Path, address: SocketAddr, cases: Value, count: usize) -> Vec<Wrong> {
    let folder = tempfile::tempdir().unwrap();
    let spec = json!({
        "outdir": folder.path(),
        "servers": [{"agent": "voxrelay", "url": format!("ws://{address}/")}],
        "cases": cases, "exclude-cases": [], "exclude-agent-cases": {},
    });
    let mut suite = run(wstest, "fuzzingclient", folder.path(), &spec);
    let ended = tokio::task::spawn_blocking(move || suite.0.wait().unwrap()).await.unwrap();
    assert!(ended.success(), "{}", log(folder.path()));
    judge(folder.path(), count)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_to_a_vendor_passes_the_autobahn_suite() {
    let Some(wstest) = installed() else { return };
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let address = free_port().await;
    let spec = json!({
        "url": format!("ws://{address}"), "outdir": folder.path(),
        "cases": ["*"], "exclude-cases": TOO_BIG_FOR_A_LINK, "exclude-agent-cases": {},
    });
    let mut suite = run(&wstest, "fuzzingserver", folder.path(), &spec);
    until_listening(&mut suite.0, address, folder.path()).await;
    let count: usize = echo_back(address, "getCaseCount").await.unwrap().parse().unwrap();
    for case in 1..=count {
        echo_back(address, &format!("runCase?case={case}&agent=voxrelay")).await;
    }
    echo_back(address, "updateReports?agent=voxrelay").await;
    let wrong = judge(folder.path(), count);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count > 450, "{count} cases");
}

fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("VOXRELAY_TEST_WSTEST").map(PathBuf::from);
    if path.is_none() {
        // Not `eprintln`, which is not shown when a test passes.
        let note = "Autobahn was left out, only the project's own cases were checked";
        let _ = writeln!(std::io::stderr(), "VOXRELAY_TEST_WSTEST is not set: {note}");
    }
    path
}

/// A running suite, killed on drop.
struct Suite(Child);

impl Drop for Suite {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(wstest: &Path, mode: &str, folder: &Path, spec: &Value) -> Suite {
    let file = folder.join("spec.json");
    std::fs::write(&file, spec.to_string()).unwrap();
    let out = std::fs::File::create(folder.join("log")).unwrap();
    let suite = Command::new(wstest)
        .args(["--mode", mode, "--webport", "0", "--spec"])
        .arg(file)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .spawn();
    Suite(suite.unwrap())
}

fn log(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    text.lines().rev().take(20).collect::<Vec<_>>().join("\n")
}

/// A case, and what the suite says of it.
type Wrong = (String, String);

/// The cases that did anything but what is allowed; fails unless `count` were run.
fn judge(folder: &Path, count: usize) -> Vec<Wrong> {
    let index: Value =
        serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap_or_default()).unwrap();
    let cases = index["voxrelay"].as_object().unwrap();
    assert_eq!(cases.len(), count, "{}", log(folder));
    let (mut wrong, mut unimplemented) = (Vec::new(), 0);
    for (case, told) in cases {
        let (behaviour, closing) =
            (told["behavior"].as_str().unwrap(), told["behaviorClose"].as_str().unwrap());
        let group = case.split('.').next().unwrap();
        let fine = match behaviour {
            "OK" | "INFORMATIONAL" => true,
            "NON-STRICT" => NON_STRICT.contains(&case.as_str()),
            // Compression is not offered.
            "UNIMPLEMENTED" => matches!(group, "12" | "13"),
            _ => false,
        };
        unimplemented += usize::from(behaviour == "UNIMPLEMENTED");
        if !fine || !matches!(closing, "OK" | "INFORMATIONAL") {
            wrong.push((case.clone(), format!("{behaviour}, closed {closing}")));
        }
    }
    wrong.sort();
    eprintln!("Autobahn: {count} cases, {unimplemented} of them on compression, {} wrong", wrong.len());
    wrong
}

async fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn until_listening(suite: &mut Child, address: SocketAddr, folder: &Path) {
    while TcpStream::connect(address).await.is_err() {
        assert!(suite.try_wait().unwrap().is_none(), "{}", log(folder));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Sends back every message, as far as the link goes; the last text.
async fn echo_back(address: SocketAddr, path: &str) -> Option<String> {
    let mut socket = dial(&format!("ws://{address}/{path}"), &[], PATIENCE).await.unwrap();
    let mut last = None;
    while let Some(Ok(incoming)) = socket.next().await {
        let frame = match incoming {
            Incoming::Text(text) => {
                last = Some(text.to_string());
                Frame::Text(text.to_string())
            }
            Incoming::Binary(bytes) => Frame::Binary(bytes),
            _ => continue,
        };
        if socket.send(frame).await.is_err() {
            break;
        }
    }
    let _ = socket.close().await;
    last
}
