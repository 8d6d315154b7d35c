//! What is refused, and what it leaves untouched.

use std::time::Duration;

use voxrelay_protocol::request::Framing;
use voxrelay_protocol::session::{Outcome, Settings};
use voxrelay_protocol::{
    AudioFormat, Encoding, Event, Fault, FaultCode, FaultKind, QuotaScope, Refusal, Request, Start,
};

use crate::harness::{FRAME, Talk, name, paced, route, settings, start, tagged};

#[test]
fn a_stream_that_is_not_open_is_unknown() {
    let mut talk = Talk::new();
    assert_eq!(talk.text("a", "Hi."), ["a error unknown_stream, ended"]);
    assert_eq!(talk.flush("a", "m"), ["a error unknown_stream, ended"]);
    assert_eq!(talk.end("a"), ["a error unknown_stream, ended"]);
}

#[test]
fn a_name_in_use_is_refused_and_its_stream_goes_on() {
    let mut talk = Talk::new();
    talk.open("a", tagged());
    assert_eq!(talk.start("a", tagged()), ["a error stream_exists"]);
    assert_eq!(talk.text("a", "Hi."), ["0 < text Hi."]);
}

#[test]
fn raw_frames_allow_no_second_stream_whichever_comes_first() {
    let mut talk = Talk::speaking();
    assert_eq!(talk.start("b", tagged()), ["b error stream_conflict, ended"]);
    assert_eq!(talk.text("a", "Hi."), ["0 < text Hi."]);

    let mut talk = Talk::new();
    talk.open("a", Start { framing: Framing::Json, ..start() });
    assert_eq!(talk.start("b", start()), ["b error stream_conflict, ended"]);
    assert_eq!(talk.start("c", tagged()), ["1 checkout 0"]);
}

#[test]
fn a_session_runs_as_many_streams_as_it_may() {
    let mut talk = Talk::new();
    for name in ["a", "b", "c"] {
        talk.open(name, tagged());
    }
    assert_eq!(talk.start("d", tagged()), ["d error quota_exceeded, ended"]);
    assert_eq!(talk.fault().quota, Some(Refusal { limit: 3, used: 3, scope: QuotaScope::Session }));
    talk.cancel("b", None);
    assert_eq!(talk.start("d", tagged()), ["3 checkout 0"]);
}

#[test]
fn a_format_or_pace_that_cannot_be_is_refused_at_start() {
    let mut talk = Talk::new();
    let mp3 = Start { format: AudioFormat::raw(Encoding::Mp3, 24_000), ..start() };
    assert_eq!(talk.start("a", mp3), ["a error unsupported_format, ended"]);
    let mut fast = paced(100);
    fast.pace.as_mut().unwrap().frame_ms = 1;
    assert_eq!(talk.start("a", fast), ["a error invalid_request, ended"]);
    assert_eq!(talk.start("a", start())[0].split_once(' ').unwrap().1, "checkout 0");
}

#[test]
fn what_follows_a_refused_start_is_answered_by_its_one_error() {
    let mut talk = Talk::new();
    talk.routes = Err(Fault::new(FaultCode::UnknownVoice, "no such voice"));
    assert_eq!(talk.start("a", start()), ["a error unknown_voice, ended", "0 release refused"]);
    let silent = |talk: &mut Talk| {
        talk.text("a", "Hi.").is_empty() && talk.flush("a", "m").is_empty() && talk.end("a").is_empty()
    };
    assert!(silent(&mut talk));
    assert_eq!(talk.outcomes(), [Outcome::Refused]);

    let bad = Request::BadStart(name("a"), Fault::invalid("words", "must be true or false"));
    assert_eq!(talk.ask(bad), ["a error invalid_request, ended"]);
    assert!(silent(&mut talk));

    talk.routes = Ok(vec![route("one")]);
    talk.open("b", start());
    assert_eq!(talk.start("a", start()), ["a error stream_conflict, ended"]);
    assert!(silent(&mut talk));
}

#[test]
fn what_follows_a_fault_is_answered_by_it() {
    let mut talk = Talk::speaking();
    talk.text("a", "Hi.");
    talk.failed(0, FaultKind::Rejected);
    assert!(talk.text("a", "More.").is_empty());
    assert_eq!(talk.start("a", start()), ["1 checkout 0"]);
    talk.leased(1);
    assert_eq!(talk.text("a", "Again."), ["1 < text Again."]);
    talk.cancel("a", None);
    assert_eq!(talk.text("a", "Late."), ["a error unknown_stream, ended"], "that one did not fail");
}

#[test]
fn a_bad_start_for_an_open_name_leaves_its_stream_alone() {
    let mut talk = Talk::speaking();
    let bad = Request::BadStart(name("a"), Fault::invalid("voice", "is missing"));
    assert_eq!(talk.ask(bad), ["a error invalid_request"]);
    assert_eq!(talk.text("a", "Hi."), ["0 < text Hi."]);
}

#[test]
fn text_past_the_limits_is_refused_and_the_stream_goes_on() {
    let mut talk = Talk::new();
    talk.start("a", start());
    talk.text("a", &"x".repeat(400));
    assert_eq!(talk.text("a", &"y".repeat(101)), ["a error rate_limited"]);
    assert_eq!(talk.fault().retry_after_ms, Some(1000));
    talk.leased(0);
    let long = "é".repeat(601);
    assert_eq!(talk.text("a", &long), ["a error text_too_long"]);
    talk.text("a", "end.");
    talk.end("a");
    talk.audio(0, FRAME);
    assert_eq!(talk.event(0, Event::Done)[0], "a done 20 ms");
    assert_eq!(talk.done().characters, 404);
}

#[test]
fn flushes_without_end_are_refused() {
    let mut talk = Talk::new();
    talk.start("a", start());
    for _ in 0..1024 {
        assert!(talk.flush("a", "m").is_empty());
    }
    assert_eq!(talk.flush("a", "m"), ["a error rate_limited"]);
    talk.leased(0);
    assert_eq!(talk.flush("a", "m"), ["a flushed m at 0"]);
}

#[test]
fn nothing_follows_the_end() {
    let mut talk = Talk::speaking();
    talk.text("a", "Hi.");
    talk.end("a");
    assert_eq!(talk.text("a", "More."), ["a error invalid_request"]);
    assert_eq!(talk.flush("a", "m"), ["a error invalid_request"]);
    assert_eq!(talk.end("a"), ["a error invalid_request"]);
    assert!(talk.fault().detail.starts_with("end:"));
    talk.audio(0, FRAME);
    assert_eq!(talk.event(0, Event::Done)[0], "a done 20 ms");
}

#[test]
fn too_many_refusals_in_ten_seconds_end_the_session() {
    let mut talk = Talk::new();
    talk.open("a", start());
    let bad = || Err(Fault::invalid("type", "is missing"));
    for _ in 0..50 {
        let told = talk.act(|session, now| session.on_request(now, bad()));
        assert_eq!(told, ["session error invalid_request"]);
    }
    let told = talk.act(|session, now| session.on_request(now, bad()));
    let end = ["a error rate_limited, ended", "0 release failed", "session error rate_limited"];
    assert_eq!(told[1..4], end);
    assert_eq!(told[4..], ["close 1008 rate_limited"]);
    assert!(talk.text("a", "Hi.").is_empty());
    assert_eq!(talk.session.poll_timeout(), None);
}

#[test]
fn refusals_that_are_spread_out_are_borne() {
    let mut talk = Talk::with(Settings { idle: Duration::from_secs(9_999), ..settings() });
    for _ in 0..500 {
        assert_eq!(talk.text("a", "Hi."), ["a error unknown_stream, ended"]);
        talk.wait(210);
    }
}
