//! Whole conversations by clients that know nothing of the relay's own code: PyPI `websockets` and npm `ws`
//! against the real binary with its own voice, a chapter of a book as text.
#![cfg(all(feature = "embedded-voice", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

#[path = "clients/facts.rs"]
mod facts;
mod support;

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use serde_json::Value;
use support::Served;
use tokio::process::Command;

/// Lewis Carroll, "Alice's Adventures in Wonderland" (1865), chapter I; in the public domain.
const CHAPTER: &str = include_str!("clients/chapter.txt");
/// A conversation takes some ten seconds.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test]
async fn a_python_client_holds_a_whole_conversation() {
    let Some(python) = set("VOXRELAY_TEST_PYTHON") else { return };
    let facts = converse(Command::new(python), "conversation.py", "json").await;
    facts::judge(&facts, CHAPTER, "json");
}

#[tokio::test]
async fn a_node_client_holds_a_whole_conversation() {
    if set("VOXRELAY_TEST_NODE_PATH").is_none() {
        return;
    }
    let facts = converse(Command::new("node"), "conversation.mjs", "tagged").await;
    facts::judge(&facts, CHAPTER, "tagged");
}

fn set(variable: &str) -> Option<OsString> {
    let value = std::env::var_os(variable);
    if value.is_none() {
        // Not `eprintln`, which is not shown when a test passes.
        let note = "this client was left out, only the project's own were checked";
        let _ = writeln!(std::io::stderr(), "{variable} is not set: {note}");
    }
    value
}

/// The chapter has some 2,800 tokens. The first 1,000 are read as fast as they come and the rest at a
/// rate: the sender is slowed and never refused. At the default rate that would take 18 s.
async fn converse(mut client: Command, script: &str, whole: &str) -> Value {
    let streams = facts::STREAMS.to_string();
    let relay = Served::start(&[
        ("VOXRELAY__PLANS__DEFAULT__STREAMS", &streams),
        ("VOXRELAY__LIMITS__MESSAGES_PER_SECOND", "400"),
    ])
    .await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");
    client
        .arg(format!("{folder}/{script}"))
        .args([&format!("http://{}", relay.addr), &relay.key, &format!("{folder}/chapter.txt"), whole])
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, client.output()).await.expect("it ends").unwrap();
    let facts = serde_json::from_slice(&output.stdout);
    facts.unwrap_or_else(|_| panic!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}
