//! What a whole conversation must have been, whoever's client held it.

use serde_json::Value;

/// Streams the key may run at once in the test's config.
pub const STREAMS: u64 = 3;

/// How long the embedded voice takes for a character of prose, in ms; the whole chapter takes 65.
const PACE: std::ops::Range<f64> = 45.0..95.0;

/// Fails unless everything was as the contract says; `whole` names the frames of the whole chapter.
pub fn judge(facts: &Value, chapter: &str, whole: &str) {
    let length = chapter.chars().count() as u64;
    assert_eq!(facts["text"], length);
    let paragraphs: Vec<&str> = chapter.split_inclusive("\n\n").collect();
    for frames in ["json", "tagged", "raw"] {
        let said = if frames == whole { &paragraphs[..] } else { &paragraphs[..5] };
        judge_turn(&facts[frames], said, frames, if frames == "raw" { 8 } else { 32 });
        assert_eq!(facts[frames]["before_end"], true, "{frames}: text was heard before all of it was sent");
        assert_eq!(facts[frames]["closed"], 1000);
        judge_ready(&facts[frames]["ready"]);
    }
    assert_eq!(facts[whole]["text"], length);
    judge_words(&facts["json"]);
    judge_words(&facts["raw"]);
    assert_eq!(facts["tagged"]["words"], 0, "words that were not asked for");
    judge_first_frame(&facts["first_frame"], &paragraphs);
    judge_problem(&facts["bad_key"]["problem"], "invalid_credentials", 401, false);
    assert_eq!(facts["bad_key"]["status"], 401);
    assert_eq!(facts["bad_key"]["kind"], "application/problem+json");
    assert!(facts["bad_key"]["asks"].as_str().unwrap().starts_with("Bearer"), "{}", facts["bad_key"]);
    judge_tokens(&facts["tokens"]);
    judge_http(facts, paragraphs[1]);
}

/// One stream that was spoken to its end, in a format of so many bytes a ms.
fn judge_turn(heard: &Value, said: &[&str], told: &str, bytes_per_ms: u64) {
    let (end, number) = (&heard["end"], |field: &str| heard[field].as_u64().unwrap());
    assert_eq!(heard["ended_by"], "done", "{told}: {end}");
    let characters: usize = said.iter().map(|part| part.chars().count()).sum();
    assert_eq!(end["characters"], characters, "{told}");
    assert_eq!(number("text"), characters as u64, "{told}");
    assert_eq!(end["bytes"], heard["audio"], "{told}");
    assert_eq!(end["audio_ms"], number("audio") / bytes_per_ms, "{told}");
    let pace = end["audio_ms"].as_f64().unwrap() / characters as f64;
    assert!(characters < 100 || PACE.contains(&pace), "{told}: {pace} ms a character");
    assert_eq!((number("misplaced"), number("late")), (0, 0), "{told}");
    let marks: Vec<_> = (0..said.len() - 1).map(|number| format!("paragraph {number}")).collect();
    assert_eq!(heard["marks"], Value::from(marks), "{told}");
    assert_eq!(heard["started"]["provider"], "local", "{told}");
    assert_eq!(heard["started"]["voice"], "default", "{told}");
    judge_timing(end, told);
}

/// The parts of the time to the first audio add up to it.
fn judge_timing(end: &Value, told: &str) {
    let part = |name: &str| end["timing"][name].as_f64().unwrap();
    let sum = part("queue_ms") + part("connect_ms") + part("upstream_ms") + part("relay_ms");
    let first = end["first_audio_ms"].as_f64().unwrap();
    assert!((sum - first).abs() < 0.1, "{told}: {end}");
}

fn judge_ready(ready: &Value) {
    assert_eq!(ready["type"], "ready");
    assert!(ready["key"].as_str().unwrap().starts_with("key_"), "{ready}");
    assert_eq!(ready["org"], "default");
    assert_eq!(ready["limits"]["streams"], STREAMS);
    assert_eq!(ready["version"], env!("CARGO_PKG_VERSION"));
}

/// About a word for every five characters, in order, and said to be estimated.
fn judge_words(heard: &Value) {
    let (words, text) = (heard["words"].as_u64().unwrap(), heard["text"].as_u64().unwrap());
    assert!((text / 7..text / 4).contains(&words), "{words} words in {text} characters");
    assert_eq!(heard["backwards"], 0);
    assert_eq!(heard["estimated"], true);
}

fn judge_first_frame(facts: &Value, paragraphs: &[&str]) {
    judge_ready(&facts["ready"]);
    judge_turn(&facts["early"], &["Not waiting for anybody."], "pipelined", 48);
    for turn in facts["two"]["turns"].as_array().unwrap() {
        judge_turn(turn, &paragraphs[..3], "one of two", 48);
        assert_eq!(turn["last"], 1, "frames that say they are the last");
    }
    assert!(facts["two"]["switches"].as_u64().unwrap() >= 10, "two streams did not share the session");
    let cancelled = &facts["barge_in"]["cancelled"];
    assert_eq!(cancelled["ended_by"], "cancelled");
    assert_eq!(cancelled["late"], 0, "audio after `cancelled`");
    assert_eq!(cancelled["end"]["sent_ms"], cancelled["audio"].as_u64().unwrap() / 48);
    assert_eq!(
        cancelled["end"]["heard_ms"].as_u64(),
        cancelled["end"]["sent_ms"].as_u64().map(|ms| ms.min(120))
    );
    judge_turn(&facts["barge_in"]["next"], &["As I was saying."], "the next turn", 48);
    judge_refusals(&facts["refusals"]);
    assert_eq!(facts["closed"], 1000);
}

fn judge_refusals(facts: &Value) {
    judge_problem(&facts["unknown_voice"], "unknown_voice", 404, false);
    judge_problem(&facts["quota"], "quota_exceeded", 429, true);
    judge_problem(&facts["unknown_stream"], "unknown_stream", 409, false);
    judge_problem(&facts["unknown_type"], "invalid_request", 400, false);
    let quota = &facts["quota"];
    assert_eq!((&quota["limit"], &quota["used"]), (&STREAMS.into(), &STREAMS.into()), "{quota}");
    assert_eq!(quota["scope"], "key");
    assert!(quota["retry_after_ms"].is_u64(), "{quota}");
}

/// An error of the closed list, with all its members.
fn judge_problem(problem: &Value, code: &str, status: u16, retryable: bool) {
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
    assert_eq!(problem["retryable"], retryable, "{problem}");
    let uri = if problem["type"] == "error" { &problem["problem"] } else { &problem["type"] };
    for text in [uri, &problem["title"], &problem["detail"], &problem["request_id"]] {
        assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{problem}");
    }
}

fn judge_tokens(facts: &Value) {
    for (way, protocol) in [("protocol", Value::from("voxrelay.v1")), ("query", Value::Null)] {
        let [first, second] = facts[way].as_array().unwrap().as_slice() else { panic!("{facts}") };
        judge_ready(&first["first"]);
        assert_eq!((&first["protocol"], &first["closed"]), (&protocol, &1000.into()), "{way}: {first}");
        judge_problem(&second["first"], "invalid_credentials", 401, false);
        assert_eq!(second["closed"], 3000, "{way}: {second}");
    }
}

fn judge_http(facts: &Value, said: &str) {
    let (speech, me) = (&facts["speech"], &facts["me"]);
    assert_eq!(speech["status"], 200);
    assert_eq!(speech["kind"], "audio/pcm;rate=24000;channels=1;encoding=pcm_s16le");
    assert_eq!(speech["chunked"], "chunked");
    assert!(speech["request_id"].as_str().unwrap().starts_with("req_"), "{speech}");
    let pace = speech["audio"].as_f64().unwrap() / 48.0 / said.chars().count() as f64;
    assert!(PACE.contains(&pace), "{pace} ms a character");
    assert!(speech["pieces"].as_u64().unwrap() > 1, "the answer came in one piece");
    let spoken = facts["text"].as_u64().unwrap();
    assert!(me["characters"].as_u64().unwrap() > spoken, "{me}");
    assert!(me["audio_seconds"].as_f64().unwrap() > spoken as f64 * PACE.start / 1e3, "{me}");
    assert_eq!(me["live_streams"], 0, "{me}");
    assert_eq!(me["limits"]["streams"], STREAMS);
}
