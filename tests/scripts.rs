//! The transcripts of the vendors, played by a scripted vendor through real sockets: pool, link and
//! codec send what they say and yield what they say.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

#[path = "support/bench.rs"]
mod bench;
#[path = "support/fake.rs"]
mod fake;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bench::{Bench, next};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use voxrelay::drain::Drain;
use voxrelay::lease::Lease;
use voxrelay_protocol::transcript::{Payload, Step, Transcript};
use voxrelay_protocol::{Command, ContextId, Event, Frame};

/// Those that end their link on purpose: what is left of them is in `link_faults.rs`.
const NOT_HERE: [&str; 1] = ["errors_of_the_link"];

#[tokio::test]
async fn every_transcript_of_cartesia_comes_true_on_the_wire() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol/transcripts/cartesia");
    let mut played = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if NOT_HERE.contains(&name.as_str()) {
            continue;
        }
        let transcript = Transcript::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let vendor = Vendor::start(transcript.clone()).await;
        let bench = Bench::at(vendor.url.clone(), |_| {}).await;
        timeout(Duration::from_secs(10), play(&bench, &transcript)).await.expect(&name);
        played += 1;
    }
    assert!(played > 5, "only {played} transcripts");
}

/// The relay's part.
async fn play(bench: &Bench, transcript: &Transcript) {
    let mut leases: HashMap<ContextId, Lease> = HashMap::new();
    for step in &transcript.steps {
        match step {
            Step::Command(context, Command::Start(spec)) => {
                let lease = bench.lease_with(|wanted| *wanted = (**spec).clone()).await;
                leases.insert(*context, lease);
            }
            Step::Command(context, Command::Cancel) => drop(leases.remove(context)),
            Step::Command(context, command) => {
                leases.get_mut(context).unwrap().send(command.clone()).unwrap();
            }
            Step::Event(context, event) => {
                // What comes for a cancelled context reaches nobody.
                let Some(lease) = leases.get_mut(context) else { continue };
                match (next(lease).await.unwrap(), event) {
                    (Event::Failed(told), Event::Failed(wanted)) => assert_eq!(told.kind, wanted.kind),
                    (told, wanted) => assert_eq!(told, *wanted, "{}", transcript.about),
                }
            }
            Step::Send(_) | Step::Receive(..) | Step::Fault(_) => {}
        }
    }
}

/// The vendor's part.
struct Vendor {
    url: String,
    drain: Drain,
}

impl Vendor {
    async fn start(transcript: Transcript) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let drain = Drain::new();
        drain.spawn_until_cut(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
            // Names in the transcript, and what the relay calls them.
            let mut names: HashMap<String, String> = HashMap::new();
            for step in &transcript.steps {
                match step {
                    Step::Send(payload) => {
                        let Some(Ok(Message::Text(text))) = socket.next().await else {
                            panic!("the relay sent nothing for {payload:?}");
                        };
                        assert!(matches(payload, &text, &mut names), "{text} is not {payload:?}");
                    }
                    Step::Receive(payload, after_ms) => {
                        sleep(Duration::from_millis(*after_ms)).await;
                        let Frame::Text(mut text) = payload.frame() else { panic!("binary") };
                        for (written, real) in &names {
                            text = text.replace(&format!("\"{written}\""), &format!("\"{real}\""));
                        }
                        socket.send(Message::text(text)).await.unwrap();
                    }
                    Step::Command(..) | Step::Event(..) | Step::Fault(_) => {}
                }
            }
            while socket.next().await.is_some() {}
        });
        Self { url, drain }
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.drain.cut();
    }
}

fn matches(payload: &Payload, text: &str, names: &mut HashMap<String, String>) -> bool {
    let Payload::Json(wanted) = payload else { return false };
    let mut sent: Value = serde_json::from_str(text).unwrap();
    let (written, real) = (wanted["context_id"].as_str().unwrap(), sent["context_id"].as_str().unwrap());
    if names.entry(written.to_owned()).or_insert_with(|| real.to_owned()) != real {
        return false;
    }
    sent["context_id"] = wanted["context_id"].clone();
    sent == *wanted
}
