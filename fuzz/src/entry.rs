//! What every decoder must bear: any bytes at all. Used by the fuzz targets and, with fewer tries, by
//! `protocol/tests/garbage.rs`.

use std::collections::BTreeMap;

use voxrelay_protocol::dialect::ClientDialect;
use voxrelay_protocol::provider::{Account, Provider, providers};
use voxrelay_protocol::segment::Segmenter;
use voxrelay_protocol::vendor::native::dialect::Native;
use voxrelay_protocol::vendor::native::messages::ServerMessage;
use voxrelay_protocol::{
    AudioFormat, Command, ContextId, Event, Frame, FrameRef, SynthesisSpec, UpstreamFault,
};

/// Longest note of a fault, in bytes.
const NOTE_MAX: usize = 256;

/// A message of a client, and one of a server.
pub fn native(data: &[u8]) {
    let mut dialect = Native::new("req");
    let _ = dialect.decode(FrameRef::Binary(&data.to_vec().into()));
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(fault) = dialect.decode(FrameRef::Text(text)) {
        assert!(!fault.detail.is_empty());
    }
    let _ = serde_json::from_str::<ServerMessage>(text);
}

/// One thing that happens to a link.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// The relay wants this of a context.
    Command(ContextId, Command),
    /// A frame comes from the vendor.
    Receive(Frame),
    /// The vendor closes.
    Close(u16, String),
}

/// A vendor's link, told as bytes: first which vendor, then one act after the other.
pub fn codec(data: &[u8]) {
    let Some((which, script)) = data.split_first() else { return };
    let kinds: Vec<_> = kinds();
    let (provider, api) = kinds[usize::from(*which) % kinds.len()];
    play(provider, api, &read(script));
}

/// Every protocol of every vendor.
pub fn kinds() -> Vec<(&'static dyn Provider, &'static str)> {
    let apis = |provider: &'static dyn Provider| match provider.apis() {
        [] => vec![(provider, "")],
        apis => apis.iter().map(|api| (provider, *api)).collect(),
    };
    providers().iter().flat_map(|provider| apis(*provider)).collect()
}

/// Lets all of it happen to one codec.
pub fn play(provider: &dyn Provider, api: &'static str, acts: &[Act]) {
    let account = Account { api, ..Account::default() };
    let mut codec = provider.codec(&account, 7);
    let (mut frames, mut freed, mut events) = (Vec::new(), Vec::new(), Vec::new());
    let mut samples = BTreeMap::new();
    for act in acts {
        let fault = match act {
            Act::Command(context, command) => {
                if let Command::Start(spec) = command {
                    samples.insert(context.0, spec.format.encoding.sample_bytes().unwrap_or(1));
                }
                codec.encode(*context, command, &mut frames);
                None
            }
            Act::Receive(frame) => codec.decode(frame.as_ref(), &mut events).err(),
            Act::Close(code, reason) => codec.closed(*code, reason),
        };
        fault.iter().for_each(is_discreet);
        codec.settle(&mut freed, &mut events);
        let _ = codec.keep_alive();
        frames.clear();
        freed.clear();
        for (context, event) in events.drain(..) {
            match event {
                // Half a sample turns all that follows into noise. What nobody asked for reaches nobody.
                Event::Audio(audio) => {
                    let sample = samples.get(&context.0).copied().unwrap_or(1);
                    assert!(audio.len() % sample == 0, "half a sample of {} {api}", provider.kind());
                }
                Event::Words { words, .. } => {
                    assert!(words.iter().all(|word| word.start_ms <= word.end_ms), "{words:?}");
                }
                Event::Failed(fault) => is_discreet(&fault),
                Event::Flushed | Event::Done => {}
            }
        }
    }
}

fn is_discreet(fault: &UpstreamFault) {
    assert!(fault.note.len() <= NOTE_MAX, "{} bytes of note", fault.note.len());
}

/// Sentences, whatever the text and wherever it is cut: none of it is lost.
pub fn segmenter(data: &[u8]) {
    let Some(([size, cut], text)) = data.split_first_chunk() else { return };
    let text = String::from_utf8_lossy(text);
    let mut segmenter = Segmenter::new(usize::from(*size));
    let mut pieces = Vec::new();
    let step = usize::from(*cut).max(1);
    let letters: Vec<char> = text.chars().collect();
    for part in letters.chunks(step) {
        pieces.extend(segmenter.push(&part.iter().collect::<String>()));
    }
    pieces.extend(segmenter.flush());
    assert_eq!(pieces.concat(), text, "text was lost or made up");
    let most = usize::from(*size).max(1);
    assert!(pieces.iter().all(|piece| piece.chars().count() <= most), "a piece is too long");
}

/// Acts from bytes: what it is and of which context, a length, so many bytes.
fn read(mut script: &[u8]) -> Vec<Act> {
    let mut acts = Vec::new();
    while let Some(([what, low, high], rest)) = script.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (body, rest) = rest.split_at(length);
        script = rest;
        let context = ContextId(u64::from(what >> 4) + 1);
        let text = || String::from_utf8_lossy(body).into_owned();
        acts.push(match what & 0x0f {
            0 => Act::Command(context, Command::Start(Box::new(spec()))),
            1 => Act::Command(context, Command::Text(text())),
            2 => Act::Command(context, Command::Flush),
            3 => Act::Command(context, Command::End),
            4 => Act::Command(context, Command::Cancel),
            5 => Act::Close(u16::from(*low) << 4, text()),
            6 => Act::Receive(Frame::Binary(body.to_vec().into())),
            _ => Act::Receive(Frame::Text(text())),
        });
    }
    acts
}

/// The same acts as bytes, as far as bytes can say them.
pub fn write(which: usize, acts: &[Act]) -> Vec<u8> {
    let mut data = vec![which as u8];
    for act in acts {
        let (what, context, body): (u8, u64, &[u8]) = match act {
            Act::Command(context, Command::Start(_)) => (0, context.0, &[]),
            Act::Command(context, Command::Text(text)) => (1, context.0, text.as_bytes()),
            Act::Command(context, Command::Flush) => (2, context.0, &[]),
            Act::Command(context, Command::End) => (3, context.0, &[]),
            Act::Command(context, Command::Cancel) => (4, context.0, &[]),
            Act::Close(_, reason) => (5, 1, reason.as_bytes()),
            Act::Receive(Frame::Binary(bytes)) => (6, 1, bytes),
            Act::Receive(Frame::Text(text)) => (7, 1, text.as_bytes()),
        };
        let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
        data.push(what | ((context.saturating_sub(1) as u8) << 4));
        data.extend(length.to_le_bytes());
        data.extend(&body[..usize::from(length)]);
    }
    data
}

pub fn spec() -> SynthesisSpec {
    SynthesisSpec {
        voice: "v".into(),
        model: None,
        language: None,
        format: AudioFormat::default(),
        words: true,
        options: serde_json::Map::new(),
    }
}
