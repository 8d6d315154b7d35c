//! Every decoder bears anything: a few tries of each fuzz target, on any bytes and on what vendors have
//! really sent with some of it changed.

#[allow(dead_code)] // the corpus is written elsewhere
#[path = "../../fuzz/src/entry.rs"]
mod entry;

use std::fs;
use std::path::Path;

use entry::Act;
use proptest::prelude::*;
use proptest::sample::Index;
use voxrelay_protocol::provider::Provider;
use voxrelay_protocol::transcript::{Step, Transcript};

/// What has happened on the links of a vendor's protocol, one list per transcript.
fn recorded(provider: &dyn Provider, api: &str) -> Vec<Vec<Act>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(provider.kind());
    let files = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let transcripts = files.map(|path| Transcript::parse(&fs::read_to_string(path).unwrap()).unwrap());
    let default = provider.apis().first().copied().unwrap_or_default();
    let spoken = transcripts.filter(|it| if it.api.is_empty() { api == default } else { it.api == api });
    spoken.map(|transcript| transcript.steps.into_iter().filter_map(act).collect()).collect()
}

fn act(step: Step) -> Option<Act> {
    match step {
        Step::Command(context, command) => Some(Act::Command(context, command)),
        Step::Receive(payload, _) => Some(Act::Receive(payload.frame())),
        Step::Close(code, reason) => Some(Act::Close(code, reason)),
        Step::Send(_) | Step::Event(..) | Step::Fault(_) => None,
    }
}

/// The bytes of a recorded link with some changed, cut out, or said twice.
fn mangled(which: usize, links: Vec<Vec<Act>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..6);
    let splice = prop::option::of((any::<Index>(), any::<Index>(), any::<Index>()));
    (prop::sample::select(links), changes, splice).prop_map(move |(mut acts, changes, splice)| {
        if let Some((from, to, length)) = splice.filter(|_| !acts.is_empty()) {
            let from = from.index(acts.len());
            let piece: Vec<_> = acts[from..].iter().take(length.index(4) + 1).cloned().collect();
            let to = to.index(acts.len());
            acts.splice(to..to, piece);
        }
        let mut data = entry::write(which, &acts);
        for (place, byte) in changes {
            let place = 1 + place.index(data.len());
            data.get_mut(place).into_iter().for_each(|old| *old = byte);
        }
        data
    })
}

#[test]
fn what_vendors_have_sent_passes_as_it_is() {
    for (which, (provider, api)) in entry::kinds().into_iter().enumerate() {
        let links = recorded(provider, api);
        assert!(!links.is_empty(), "{} {api} has no transcript", provider.kind());
        for acts in links {
            entry::codec(&entry::write(which, &acts));
            entry::play(provider, api, &acts);
        }
    }
}

#[test]
fn no_vendor_breaks_its_codec() {
    for (which, (provider, api)) in entry::kinds().into_iter().enumerate() {
        let links = recorded(provider, api);
        proptest!(ProptestConfig::with_cases(300), |(data in mangled(which, links))| entry::codec(&data));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_bytes_pass_every_codec(data in prop::collection::vec(any::<u8>(), 0..400)) {
        entry::codec(&data);
    }

    #[test]
    fn any_message_passes_the_native_dialect(data in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        r#"\{"type":"(auth|start|text|flush|end|cancel)","(key|stream|text|mark|voice|played_ms)":(".{0,20}"|-?[0-9]{1,20}|\[\[|null)\}?"#
            .prop_map(String::into_bytes),
    ]) {
        entry::native(&data);
    }

    #[test]
    fn any_text_is_cut_without_loss(data in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "..[A-Za-z0-9 .,!?…\"'\n\u{0301}()]{0,200}".prop_map(String::into_bytes),
    ]) {
        entry::segmenter(&data);
    }
}
