//! Writes what the fuzzers begin with to `corpus/`: the transcripts, the example of a config, a few words.

#[allow(dead_code)] // the targets use the rest
mod entry;

use std::fs;
use std::path::Path;

use entry::Act;
use voxrelay_protocol::transcript::{Step, Transcript};

fn main() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (which, (provider, api)) in entry::kinds().into_iter().enumerate() {
        let folder = fuzz.join("../protocol/transcripts").join(provider.kind());
        for path in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry").path()) {
            let text = fs::read_to_string(&path).expect("a transcript");
            let transcript = Transcript::parse(&text).expect("a transcript");
            let default = provider.apis().first().copied().unwrap_or_default();
            let spoken = if transcript.api.is_empty() { default } else { &transcript.api };
            if spoken == api {
                let name = format!("{}-{}", provider.kind(), path.file_stem().expect("a name").display());
                put(fuzz, "codec", &name, &entry::write(which, &acts(transcript)));
            }
        }
    }
    for (number, message) in MESSAGES.iter().enumerate() {
        put(fuzz, "native", &number.to_string(), message.as_bytes());
    }
    put(
        fuzz,
        "segmenter",
        "text",
        b"\xff\x03Dr. Who met 3.5 of them, e.g. at 10 a.m. \"Really?\" Yes... No!\n1. One\n2. Two",
    );
    put(fuzz, "key", "shape", format!("sk-{}", "a".repeat(32)).as_bytes());
    let example = fs::read(fuzz.join("../config.example.toml")).expect("the example");
    put(fuzz, "config", "example", &example);
    put(fuzz, "config", "all", String::from_utf8_lossy(&example).replace("\n#", "\n").as_bytes());
}

const MESSAGES: [&str; 6] = [
    r#"{"type":"auth","key":"sk-x"}"#,
    r#"{"type":"start","stream":"a","voice":"default","format":{"encoding":"pcm_s16le","sample_rate":24000},"frames":"tagged","words":true,"pace":{"lead_ms":60,"frame_ms":20},"options":{}}"#,
    r#"{"type":"text","stream":"a","text":"Hello."}"#,
    r#"{"type":"flush","stream":"a","mark":"m"}"#,
    r#"{"type":"end","stream":"a"}"#,
    r#"{"type":"cancel","stream":"a","played_ms":120}"#,
];

fn acts(transcript: Transcript) -> Vec<Act> {
    let acts = transcript.steps.into_iter().filter_map(|step| match step {
        Step::Command(context, command) => Some(Act::Command(context, command)),
        Step::Receive(payload, _) => Some(Act::Receive(payload.frame())),
        Step::Close(code, reason) => Some(Act::Close(code, reason)),
        _ => None,
    });
    acts.collect()
}

fn put(fuzz: &Path, target: &str, name: &str, data: &[u8]) {
    let folder = fuzz.join("corpus").join(target);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(name), data).expect("a file");
}
