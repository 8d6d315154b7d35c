//! The transcripts of the vendors, played by a scripted vendor through real sockets: pool, link and
//! codec send what they say and yield what they say.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use support::bench::{Bench, next};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use voxrelay::drain::Drain;
use voxrelay::lease::Lease;
use voxrelay_protocol::provider::provider;
use voxrelay_protocol::transcript::{Payload, Step, Transcript};
use voxrelay_protocol::{Command, ContextId, Event, Frame};

/// Those that end their link on purpose: what is left of them is in `link_faults.rs` and the files of
/// the vendors.
const NOT_HERE: [(&str, &str); 22] = [
    // An error about the key closes the upstream for a while.
    ("cartesia", "errors_new"),
    ("cartesia", "errors_old"),
    ("elevenlabs", "errors_of_a_context"),
    ("cartesia", "errors_of_the_link"),
    ("elevenlabs", "errors_of_the_link"),
    ("elevenlabs", "stream_cancel"),
    ("deepgram", "errors_of_the_link"),
    ("deepgram", "strangers"),
    ("deepgram", "flux_errors_of_the_link"),
    ("deepgram", "flux_cancel"),
    ("rime", "errors"),
    ("rime", "errors_of_the_link"),
    ("rime", "cancel_late_frames"),
    ("rime", "ws_cancel_late_frames"),
    ("rime", "ws_closes"),
    // What waits for the greeting goes out in another order than what comes behind it.
    ("rime", "v1_plain_turn"),
    ("rime", "v1_two_contexts"),
    ("rime", "v1_cancel_late_frames"),
    ("rime", "v1_errors"),
    ("fish-audio", "errors"),
    ("fish-audio", "errors_of_the_link"),
    ("fish-audio", "cancel_late_frames"),
];

#[tokio::test]
async fn every_transcript_of_cartesia_comes_true_on_the_wire() {
    every_transcript_comes_true("cartesia").await;
}

#[tokio::test]
async fn every_transcript_of_elevenlabs_comes_true_on_the_wire() {
    every_transcript_comes_true("elevenlabs").await;
}

#[tokio::test]
async fn every_transcript_of_deepgram_comes_true_on_the_wire() {
    every_transcript_comes_true("deepgram").await;
}

#[tokio::test]
async fn every_transcript_of_rime_comes_true_on_the_wire() {
    every_transcript_comes_true("rime").await;
}

#[tokio::test]
async fn every_transcript_of_fish_audio_comes_true_on_the_wire() {
    every_transcript_comes_true("fish-audio").await;
}

async fn every_transcript_comes_true(kind: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol/transcripts").join(kind);
    let vendor_kind = provider(kind).unwrap();
    let mut played = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if NOT_HERE.contains(&(kind, name.as_str())) {
            continue;
        }
        let transcript = Transcript::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let vendor = Vendor::start(transcript.clone()).await;
        let bench = Bench::at(vendor.url.clone(), |upstream| {
            upstream.provider = vendor_kind;
            let apis = vendor_kind.apis().iter();
            let first = vendor_kind.apis().first().copied().unwrap_or_default();
            upstream.account.api = apis.copied().find(|api| *api == transcript.api).unwrap_or(first);
        });
        let bench = bench.await;
        timeout(Duration::from_secs(10), play(&bench, &transcript)).await.expect(&name);
        played += 1;
    }
    assert!(played >= 5, "only {played} transcripts");
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
            Step::Send(_) | Step::Receive(..) | Step::Close(..) | Step::Fault(_) => {}
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
                        let sent = match socket.next().await {
                            Some(Ok(Message::Text(text))) => Frame::Text(text.as_str().to_owned()),
                            Some(Ok(Message::Binary(bytes))) => Frame::Binary(bytes),
                            _ => panic!("the relay sent nothing for {payload:?}"),
                        };
                        assert!(matches(payload, &sent, &mut names), "{sent:?} is not {payload:?}");
                    }
                    Step::Receive(payload, after_ms) => {
                        sleep(Duration::from_millis(*after_ms)).await;
                        let message = match payload.frame() {
                            Frame::Text(mut text) => {
                                for (written, real) in &names {
                                    text = text.replace(&format!("\"{written}\""), &format!("\"{real}\""));
                                }
                                Message::text(text)
                            }
                            Frame::Binary(bytes) => Message::binary(bytes),
                        };
                        socket.send(message).await.unwrap();
                    }
                    Step::Close(code, reason) => {
                        let frame = CloseFrame { code: (*code).into(), reason: reason.as_str().into() };
                        let _ = socket.close(Some(frame)).await;
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

fn matches(payload: &Payload, sent: &Frame, names: &mut HashMap<String, String>) -> bool {
    let (Payload::Json(wanted), Frame::Text(text)) = (payload, sent) else { return payload.matches(sent) };
    let mut sent: Value = serde_json::from_str(text).unwrap();
    for member in ["context_id", "contextId"] {
        let Some(written) = wanted[member].as_str() else { continue };
        let real = sent[member].as_str().unwrap();
        if names.entry(written.to_owned()).or_insert_with(|| real.to_owned()) != real {
            return false;
        }
        sent[member] = wanted[member].clone();
    }
    sent == *wanted
}
