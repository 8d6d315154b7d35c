//! Every transcript, held against the codec of its vendor: the folder's name is the provider's kind.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use voxrelay_protocol::provider::{Account, Provider, ProviderCodec, providers};
use voxrelay_protocol::transcript::{Step, Transcript};
use voxrelay_protocol::{ContextId, Event, FaultKind, Frame};

#[test]
fn every_codec_does_what_its_transcripts_say() {
    let mut told = 0;
    for provider in providers() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(provider.kind());
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let transcript = Transcript::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            retell(*provider, &transcript).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            told += 1;
        }
    }
    assert!(told > 0, "no transcripts");
}

fn retell(provider: &dyn Provider, transcript: &Transcript) -> Result<(), String> {
    let api = provider.apis().iter().find(|api| **api == transcript.api).or(provider.apis().first());
    assert!(
        transcript.api.is_empty() || api == Some(&transcript.api.as_str()),
        "{}: no such api",
        transcript.api
    );
    let account = Account { api: api.copied().unwrap_or_default(), ..Account::default() };
    let mut codec = provider.codec(&account, 0);
    let mut frames: VecDeque<Frame> = VecDeque::new();
    let mut meaning: VecDeque<Meaning> = VecDeque::new();
    for (index, step) in transcript.steps.iter().enumerate() {
        let at = |problem: String| format!("step {}: {problem}", index + 1);
        match step {
            Step::Command(context, command) => {
                nothing_left(&frames, &meaning).map_err(at)?;
                let mut out = Vec::new();
                codec.encode(*context, command, &mut out);
                frames.extend(out);
                settle(&mut *codec, &mut frames, &mut meaning);
            }
            Step::Send(payload) => {
                let frame = frames.pop_front().ok_or_else(|| at("no such frame was sent".into()))?;
                if !payload.matches(&frame) {
                    return Err(at(format!("sent {frame:?}")));
                }
            }
            Step::Receive(payload, _) => {
                nothing_left(&frames, &meaning).map_err(at)?;
                let mut out = Vec::new();
                let result = codec.decode(payload.frame().as_ref(), &mut out);
                meaning.extend(out.into_iter().map(Meaning::of));
                settle(&mut *codec, &mut frames, &mut meaning);
                meaning.extend(result.err().map(|fault| Meaning::Fault(fault.kind)));
            }
            Step::Event(context, event) => {
                expect(meaning.pop_front(), &Meaning::of((*context, event.clone()))).map_err(at)?;
            }
            Step::Close(code, reason) => {
                nothing_left(&frames, &meaning).map_err(at)?;
                let fault = codec.closed(*code, reason);
                settle(&mut *codec, &mut frames, &mut meaning);
                meaning.extend(fault.map(|fault| Meaning::Fault(fault.kind)));
            }
            Step::Fault(kind) => expect(meaning.pop_front(), &Meaning::Fault(*kind)).map_err(at)?,
        }
    }
    nothing_left(&frames, &meaning)
}

fn settle(codec: &mut dyn ProviderCodec, frames: &mut VecDeque<Frame>, meaning: &mut VecDeque<Meaning>) {
    let (mut freed, mut events) = (Vec::new(), Vec::new());
    codec.settle(&mut freed, &mut events);
    frames.extend(freed.into_iter().map(|(_, frame)| frame));
    meaning.extend(events.into_iter().map(Meaning::of));
}

/// What a received frame came to; the notes of faults are free.
#[derive(Debug, PartialEq)]
enum Meaning {
    Event(ContextId, Event),
    Failed(ContextId, FaultKind),
    Fault(FaultKind),
}

impl Meaning {
    fn of((context, event): (ContextId, Event)) -> Self {
        match event {
            Event::Failed(fault) => Self::Failed(context, fault.kind),
            event => Self::Event(context, event),
        }
    }
}

fn expect(found: Option<Meaning>, wanted: &Meaning) -> Result<(), String> {
    if found.as_ref() == Some(wanted) {
        return Ok(());
    }
    Err(format!("wanted {wanted:?}, found {found:?}"))
}

fn nothing_left(frames: &VecDeque<Frame>, meaning: &VecDeque<Meaning>) -> Result<(), String> {
    if frames.is_empty() && meaning.is_empty() {
        return Ok(());
    }
    Err(format!("left over before this step: {frames:?} {meaning:?}"))
}
