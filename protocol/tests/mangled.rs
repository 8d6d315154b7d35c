//! Frames as no vendor should send them, for every codec there is: anything at all, and frames of its
//! transcripts with a few bytes changed.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::fs;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};

use voxrelay_protocol::provider::{Account, Provider, providers};
use voxrelay_protocol::transcript::{Step, Transcript};
use voxrelay_protocol::{AudioFormat, Command, ContextId, Frame, SynthesisSpec};

/// For each kind of upstream.
const CASES: u32 = 256;

#[test]
fn no_frame_makes_a_codec_panic() {
    for provider in providers() {
        let mut runner =
            TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
        let frames = prop::collection::vec(frame(provider.kind()), 0..12);
        let run = runner.run(&frames, |frames| {
            endure(*provider, &frames);
            Ok(())
        });
        run.unwrap_or_else(|failure| panic!("{}: {failure}", provider.kind()));
    }
}

/// Frames a vendor of this kind has sent, mangled or not.
fn recorded(kind: &str) -> Vec<Frame> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(kind);
    let mut frames = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let transcript = Transcript::parse(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        frames.extend(transcript.steps.into_iter().filter_map(|step| match step {
            Step::Receive(payload, _) => Some(payload.frame()),
            _ => None,
        }));
    }
    frames
}

fn mangled(kind: &str) -> impl Strategy<Value = Frame> {
    let changes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..4);
    let cut = prop::option::of(any::<Index>());
    (select(recorded(kind)), changes, cut).prop_map(|(frame, changes, cut)| {
        let (mut bytes, is_text) = match frame {
            Frame::Text(text) => (text.into_bytes(), true),
            Frame::Binary(bytes) => (bytes.to_vec(), false),
        };
        for (place, byte) in changes {
            let place = place.index(bytes.len().max(1));
            bytes.get_mut(place).into_iter().for_each(|old| *old = byte);
        }
        bytes.truncate(cut.map_or(usize::MAX, |cut| cut.index(bytes.len() + 1)));
        if is_text {
            Frame::Text(String::from_utf8_lossy(&bytes).into_owned())
        } else {
            Frame::Binary(bytes.into())
        }
    })
}

/// Any frame at all.
fn frame(kind: &str) -> impl Strategy<Value = Frame> {
    prop_oneof![
        ".{0,200}".prop_map(Frame::Text),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| Frame::Binary(Bytes::from(bytes))),
        mangled(kind),
        mangled(kind),
    ]
}

/// A turn of words with such frames between its commands: nothing panics.
fn endure(provider: &dyn Provider, frames: &[Frame]) {
    let apis = provider.apis();
    for api in apis.iter().chain(apis.is_empty().then_some(&"")) {
        let account = Account { api, ..Account::default() };
        let mut codec = provider.codec(&account, 0);
        let commands = [
            Command::Start(Box::new(spec())),
            Command::Text("One. Two. ".into()),
            Command::Flush,
            Command::Text("Three".into()),
            Command::End,
            Command::Cancel,
        ];
        let (mut events, mut freed, mut out) = (Vec::new(), Vec::new(), Vec::new());
        for (index, frame) in frames.iter().enumerate() {
            if let Some(command) = commands.get(index) {
                codec.encode(ContextId(1), command, &mut out);
                codec.settle(&mut freed, &mut events);
            }
            let _ = codec.decode(frame.as_ref(), &mut events);
            codec.settle(&mut freed, &mut events);
        }
        let _ = codec.closed(1011, "why");
        codec.settle(&mut freed, &mut events);
    }
}

fn spec() -> SynthesisSpec {
    SynthesisSpec {
        voice: "v".into(),
        model: None,
        language: None,
        format: AudioFormat::default(),
        words: true,
        options: serde_json::Map::new(),
    }
}
