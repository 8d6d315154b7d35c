//! Frames as no vendor should send them, for the tests of every codec here: anything at all, and
//! frames of the transcripts with a few bytes changed.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::provider::{Account, Provider};
use crate::transcript::{Step, Transcript};
use crate::{AudioFormat, Command, ContextId, Frame, SynthesisSpec};

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
pub(super) fn frame(kind: &str) -> impl Strategy<Value = Frame> {
    prop_oneof![
        ".{0,200}".prop_map(Frame::Text),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| Frame::Binary(Bytes::from(bytes))),
        mangled(kind),
        mangled(kind),
    ]
}

/// A turn of words with such frames between its commands: nothing panics.
pub(super) fn endure(provider: &dyn Provider, frames: &[Frame]) {
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
