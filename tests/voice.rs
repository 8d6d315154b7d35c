//! The embedded voice through its real process, pipes and codec.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test says what it needs by failing
#![cfg(all(feature = "embedded-voice", target_os = "linux"))]

#[path = "voice/listening.rs"]
mod listening;
#[path = "voice/teller.rs"]
mod teller;

use std::io::Write;
use std::path::Path;
use std::process::{Command as Process, Stdio};

use serde_json::json;
use voxrelay_protocol::provider::Provider;
use voxrelay_protocol::vendor::embedded::messages::{FromWorker, Header, ToWorker, WorkerError};
use voxrelay_protocol::vendor::embedded::provider::Embedded;
use voxrelay_protocol::{Command, Event, FaultKind, Frame};

use teller::{BINARY, Teller, audio_bytes, in_time, samples, words};

#[tokio::test]
async fn text_token_by_token_becomes_speech() {
    in_time(async {
        let mut teller = Teller::dial().await;
        let context = teller.start("default", json!({})).await;
        for token in ["Hel", "lo th", "ere, ", "this is", " a voice", ". And", " more"] {
            teller.command(context, Command::Text(token.into())).await;
        }
        teller.command(context, Command::End).await;
        let token_by_token = teller.rest_of(context).await;
        assert_eq!(token_by_token.last(), Some(&Event::Done));
        listening::assert_speech(&samples(&token_by_token));
        let at_once = teller.say("default", "Hello there, this is a voice. And more").await;
        assert_eq!(audio_bytes(&token_by_token), audio_bytes(&at_once));
    })
    .await;
}

#[tokio::test]
async fn every_voice_speaks_and_they_share_a_worker() {
    in_time(async {
        let mut teller = Teller::dial().await;
        for voice in Embedded.voices() {
            let events = teller.say(voice.name, "Bonjour, hello, hola.").await;
            assert_eq!(events.last(), Some(&Event::Done), "{}", voice.name);
            listening::assert_speech(&samples(&events));
        }
    })
    .await;
}

#[tokio::test]
async fn a_flush_is_answered_after_the_audio_of_its_text() {
    in_time(async {
        let mut teller = Teller::dial().await;
        let context = teller.start("default", json!({})).await;
        teller.command(context, Command::Text("No stop here".into())).await;
        teller.command(context, Command::Flush).await;
        teller.command(context, Command::Flush).await;
        let first = teller.until(context, |event| event == &Event::Flushed).await;
        assert!(audio_bytes(&first) > 16_000, "{}", audio_bytes(&first));
        assert_eq!(teller.next().await, (context, Event::Flushed)); // nothing was left for the second
        teller.command(context, Command::Text(" and on".into())).await;
        teller.command(context, Command::End).await;
        let rest = teller.rest_of(context).await;
        assert!(audio_bytes(&rest) > 8_000 && rest.last() == Some(&Event::Done));
    })
    .await;
}

#[tokio::test]
async fn word_times_are_estimated_in_order_and_lie_in_the_audio() {
    in_time(async {
        let mut teller = Teller::dial().await;
        let events = teller.say("default", "One two three. Four five six seven.").await;
        let words = words(&events);
        let texts: Vec<_> = words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(texts, ["One", "two", "three", "Four", "five", "six", "seven"]);
        assert_eq!(words[0].start_ms, 0);
        assert!(words.windows(2).all(|pair| pair[0].end_ms <= pair[1].start_ms));
        assert!(words.iter().all(|word| word.start_ms < word.end_ms));
        assert_eq!(words[6].end_ms, audio_bytes(&events) as u64 / 32);
    })
    .await;
}

#[tokio::test]
async fn a_cancel_mid_sentence_leaves_nothing_to_the_next_context() {
    in_time(async {
        let mut teller = Teller::dial().await;
        let alone = audio_bytes(&teller.say("default", "Yes.").await);
        // Minutes of speech: the pipes cannot hold it, so the worker is in the middle of it.
        let first = teller.start("default", json!({})).await;
        let long = "a sentence that goes on and on without a stop and never comes to an end ".repeat(100);
        teller.command(first, Command::Text(long)).await;
        assert!(teller.next().await.1.audio_len() > 0);
        teller.command(first, Command::Cancel).await;
        let after = teller.rest_of(first).await;
        assert_eq!(after.last(), Some(&Event::Done));
        assert!(audio_bytes(&after) < 256 * 1024, "{} bytes after a cancel", audio_bytes(&after));
        assert_eq!(audio_bytes(&teller.say("default", "Yes.").await), alone);
    })
    .await;
}

#[tokio::test]
async fn a_cancel_ends_a_context_that_has_said_nothing() {
    in_time(async {
        let mut teller = Teller::dial().await;
        let context = teller.start("default", json!({})).await;
        teller.command(context, Command::Text("never said".into())).await;
        teller.command(context, Command::Cancel).await;
        assert_eq!(teller.rest_of(context).await, [Event::Done]);
    })
    .await;
}

#[tokio::test]
async fn a_cancel_that_comes_too_late_is_not_answered_twice() {
    in_time(async {
        let mut teller = Teller::dial().await;
        let first = teller.start("default", json!({})).await;
        teller.command(first, Command::Text("Yes.".into())).await;
        teller.command(first, Command::End).await;
        assert_eq!(teller.rest_of(first).await.last(), Some(&Event::Done));
        teller.command(first, Command::Cancel).await;
        let events = teller.say("default", "No.").await; // fails on an event of another context
        assert_eq!(events.last(), Some(&Event::Done));
    })
    .await;
}

#[tokio::test]
async fn letters_without_a_sound_are_rejected_and_the_worker_goes_on() {
    in_time(async {
        let mut teller = Teller::dial().await;
        for text in ["\u{4f60}\u{597d}", "\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442}"] {
            match teller.say("default", text).await.as_slice() {
                [Event::Failed(fault)] => assert_eq!(fault.kind, FaultKind::Rejected),
                other => panic!("{other:?}"),
            }
        }
        listening::assert_speech(&samples(&teller.say("default", "Hello again.").await));
    })
    .await;
}

#[tokio::test]
async fn text_without_letters_is_done_without_audio() {
    in_time(async {
        let mut teller = Teller::dial().await;
        for text in ["", "  \n", "...", "?!", "\u{1f642}"] {
            assert_eq!(teller.say("default", text).await, [Event::Done], "{text:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn speed_and_pitch_are_obeyed() {
    in_time(async {
        let mut teller = Teller::dial().await;
        let mut lengths = Vec::new();
        for speed in [50, 100, 200] {
            let context = teller.start("default", json!({ "speed": speed })).await;
            teller.command(context, Command::Text("How long does this take to say?".into())).await;
            teller.command(context, Command::End).await;
            lengths.push(audio_bytes(&teller.rest_of(context).await));
        }
        assert!(lengths.windows(2).all(|pair| pair[0] > pair[1] * 5 / 4), "{lengths:?}");
        let mut crossings = Vec::new();
        for pitch in [50, 100, 200] {
            let context = teller.start("default", json!({ "pitch": pitch })).await;
            teller.command(context, Command::Text("Aaah".into())).await;
            teller.command(context, Command::End).await;
            crossings.push(listening::pitch(&samples(&teller.rest_of(context).await)));
        }
        assert!(crossings.windows(2).all(|pair| pair[0] < pair[1]), "{crossings:?} Hz");
    })
    .await;
}

#[tokio::test]
async fn markup_of_a_client_is_not_obeyed() {
    in_time(async {
        let mut teller = Teller::dial().await;
        let file = std::env::temp_dir().join(format!("voxrelay-test-{}.wav", std::process::id()));
        let text = format!("<genfile file=\"{}\">Hello</genfile>", file.display());
        assert!(audio_bytes(&teller.say("default", &text).await) > 0);
        assert!(!file.exists());
        let quiet = teller.say("default", "<volume level=\"0\">Can you hear me now?").await;
        listening::assert_speech(&samples(&quiet));
        let cut = teller.say("default", "One\0 two <ignore> three four </ignore> five").await;
        assert_eq!(cut.last(), Some(&Event::Done));
        assert!(audio_bytes(&cut) > audio_bytes(&teller.say("default", "One two five").await));
    })
    .await;
}

#[tokio::test]
async fn hostile_text_ends_every_context_and_leaves_the_worker_alive() {
    in_time(async {
        let mut teller = Teller::dial().await;
        let worker = teller.process();
        for text in listening::hostile_texts() {
            // Fast speech: some of these are minutes long.
            let context = teller.start("default", json!({"speed": 500})).await;
            teller.command(context, Command::Text(text.clone())).await;
            teller.command(context, Command::End).await;
            match teller.rest_of(context).await.last() {
                Some(Event::Done) => {}
                Some(Event::Failed(fault)) if fault.kind == FaultKind::Rejected => {}
                other => panic!("{other:?} after {:?}", text.chars().take(60).collect::<String>()),
            }
        }
        listening::assert_speech(&samples(&teller.say("default", "Still here.").await));
        assert_eq!(teller.process(), worker);
    })
    .await;
}

#[tokio::test]
async fn a_worker_has_neither_the_environment_nor_the_sockets_of_the_relay() {
    in_time(async {
        let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut teller = Teller::dial().await;
        teller.say("default", "Up.").await; // it runs its own program by now
        let folder = Path::new("/proc").join(teller.process().unwrap().to_string());
        let environment = std::fs::read(folder.join("environ")).unwrap();
        let names: Vec<_> = environment.split(|&b| b == 0).filter(|entry| !entry.is_empty()).collect();
        assert!(names.iter().all(|entry| entry.starts_with(b"TMPDIR=")), "{} variables", names.len());
        for entry in std::fs::read_dir(folder.join("fd")).unwrap() {
            let target = std::fs::read_link(entry.unwrap().path()).unwrap();
            assert!(!target.to_string_lossy().starts_with("socket:"), "{target:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_worker_ends_when_its_transport_is_dropped() {
    in_time(async {
        let mut teller = Teller::dial().await;
        let context = teller.start("default", json!({})).await;
        teller.command(context, Command::Text("on and on. ".repeat(500))).await;
        assert!(teller.next().await.1.audio_len() > 0);
        let folder = Path::new("/proc").join(teller.process().unwrap().to_string());
        drop(teller);
        while folder.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn workers_that_are_dropped_at_once_leave_no_files() {
    in_time(async {
        let mut folders = Vec::new();
        for _ in 0..20 {
            let teller = Teller::dial().await;
            folders.push(teller.folder());
        }
        for folder in folders {
            assert!(!folder.exists(), "{}", folder.display());
        }
    })
    .await;
}

#[test]
fn a_worker_whose_input_ends_at_once_leaves_no_files() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        let mut child = bare_worker(folder.path());
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_worker_ends_with_its_input_even_when_nobody_takes_its_audio() {
    let mut child = bare_worker(&std::env::temp_dir());
    let mut input = child.stdin.take().unwrap();
    write(&mut input, &start(1, "en-US"));
    write(&mut input, &ToWorker::Text { context: 1, text: "on and on. ".repeat(500) });
    drop(input);
    assert!(child.wait().unwrap().success()); // its output is still open, and full
}

#[test]
fn a_worker_leaves_no_file_and_says_when_it_cannot_write_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = bare_worker(folder.path());
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    write(&mut input, &start(1, "de-DE"));
    assert_eq!(read(&mut output), FromWorker::Started { context: 1 });
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    write(&mut input, &start(2, "nobody"));
    assert_eq!(read(&mut output), FromWorker::Error { context: 2, kind: WorkerError::UnknownVoice });
    folder.close().unwrap();
    write(&mut input, &start(3, "fr-FR"));
    assert_eq!(read(&mut output), FromWorker::Started { context: 3 });
    write(&mut input, &ToWorker::Text { context: 3, text: "Bonjour.\n".into() });
    assert_eq!(read(&mut output), FromWorker::Error { context: 3, kind: WorkerError::Engine });
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_worker_that_is_sent_nonsense_ends_in_failure() {
    for nonsense in [&[0, 0xff, 0, 0, 0][..], &[9, 0, 0, 0, 0], &[0, 0, 0, 0, 2, b'{', b'}']] {
        let mut child = bare_worker(&std::env::temp_dir());
        let mut input = child.stdin.take().unwrap();
        input.write_all(nonsense).unwrap();
        assert!(!child.wait().unwrap().success(), "{nonsense:?}");
    }
}

/// With `VOXRELAY_TEST_PYTHON` (a Python that has `pocketsphinx`) the digits are read back; without
/// it, level, duration and spectrum are all that is checked.
#[tokio::test]
async fn spoken_digits_are_understood() {
    in_time(async {
        let mut teller = Teller::dial().await;
        let mut heard_by = listening::Recogniser::new();
        for said in ["526018", "159083", "016613", "186091", "030824", "757491", "628194", "555979"] {
            let digits: Vec<_> =
                said.bytes().map(|digit| listening::DIGITS[usize::from(digit - b'0')]).collect();
            let events = teller.say("en-US", &format!("{}.", digits.join(" "))).await;
            let audio = samples(&events);
            listening::assert_speech(&audio);
            let seconds = audio.len() as f64 / 16_000.0;
            assert!((1.5..6.0).contains(&seconds), "six digits in {seconds} s");
            heard_by.listen(said, &audio);
        }
        heard_by.verdict();
    })
    .await;
}

fn bare_worker(temporary: &Path) -> std::process::Child {
    let mut command = Process::new(BINARY);
    command.arg("voice-worker").env_clear().env("TMPDIR", temporary);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

fn start(context: u64, voice: &str) -> ToWorker {
    ToWorker::Start { context, voice: voice.into(), words: false, speed: 100, pitch: 100 }
}

fn write(to: &mut impl Write, message: &ToWorker) {
    let json = serde_json::to_string(message).unwrap();
    let header = Header::of(&Frame::Text(json.clone())).unwrap();
    to.write_all(&header.to_bytes()).unwrap();
    to.write_all(json.as_bytes()).unwrap();
}

fn read(from: &mut impl std::io::Read) -> FromWorker {
    let mut header = [0; 5];
    from.read_exact(&mut header).unwrap();
    let mut payload = vec![0; Header::parse(header).unwrap().len];
    from.read_exact(&mut payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}
