//! Upstreams that fail: before the first audio the client notices nothing, after it the stream ends
//! cleanly.

use voxrelay_protocol::{Event, Fault, FaultCode, FaultKind};

use crate::harness::{FRAME, Talk, paced, route, start};

#[test]
fn a_fault_before_audio_speaks_the_whole_text_on_the_next_route() {
    let mut talk = Talk::speaking();
    talk.text("a", "Hel");
    talk.text("a", "lo.");
    talk.flush("a", "m");
    talk.end("a");
    assert_eq!(talk.failed(0, FaultKind::Reset), ["0 detach reset", "0 checkout 1"]);
    let again = talk.leased(0);
    assert_eq!(again, ["a started by two", "0 < text Hello.", "0 < flush", "0 < end"]);
    talk.audio(0, FRAME);
    assert_eq!(talk.event(0, Event::Done), ["a flushed m at 20", "a done 20 ms", "0 release done"]);
    let done = talk.done();
    assert_eq!((done.provider.as_str(), done.characters, done.resumed), ("two", 6, 0));
    assert_eq!(talk.ends[0].characters, 6, "spoken twice, paid once");
}

#[test]
fn text_that_comes_between_two_routes_is_spoken_once() {
    let mut talk = Talk::speaking();
    talk.text("a", "One ");
    talk.failed(0, FaultKind::ClosedEarly);
    assert!(talk.text("a", "two.").is_empty());
    assert_eq!(talk.leased(0), ["a started by two", "0 < text One two."]);
}

#[test]
fn what_a_full_lease_gave_back_is_spoken_once_on_the_next_route() {
    let mut talk = Talk::speaking();
    talk.room = 2;
    talk.text("a", "One.");
    talk.flush("a", "m");
    talk.text("a", "Two.");
    talk.room = usize::MAX;
    assert_eq!(talk.failed(0, FaultKind::WriteStall), ["0 detach write_stall", "0 checkout 1"]);
    let again = talk.leased(0);
    assert_eq!(again, ["a started by two", "0 < text One.", "0 < flush", "0 < text Two."]);
}

#[test]
fn a_lease_that_is_full_when_its_silence_is_judged_loses_nothing() {
    let mut talk = Talk::speaking();
    talk.text("a", "One.");
    talk.flush("a", "m");
    talk.room = 0;
    talk.wait(4_990);
    talk.text("a", "Two.");
    assert_eq!(talk.wait(10), ["0 detach first_audio", "0 checkout 1"]);
    talk.room = usize::MAX;
    let again = talk.leased(0);
    assert_eq!(again, ["a started by two", "0 < text One.", "0 < flush", "0 < text Two."]);
}

#[test]
fn a_route_that_cannot_be_reached_or_has_no_slot_is_passed_over() {
    let mut talk = Talk::new();
    talk.start("a", start());
    assert_eq!(talk.failed(0, FaultKind::Refused), ["0 detach refused", "0 checkout 1"]);
    assert_eq!(talk.leased(0), ["a started by two"]);

    let full = || Fault::new(FaultCode::QuotaExceeded, "no slot");
    let mut talk = Talk::new();
    talk.start("a", start());
    let told = talk.act(|session, now| session.on_refused(now, 0, full()));
    assert_eq!(told, ["0 detach throttled", "0 checkout 1"]);
    let told = talk.act(|session, now| session.on_refused(now, 0, full()));
    assert_eq!(told, ["a error quota_exceeded, ended", "0 release refused"]);
}

#[test]
fn without_another_route_the_client_may_try_again() {
    let mut talk = Talk::new();
    talk.routes = Ok(vec![route("only")]);
    talk.open("a", start());
    talk.text("a", "Hi.");
    let told = talk.failed(0, FaultKind::Auth);
    assert_eq!(told, ["0 detach auth", "a error upstream_unavailable, ended", "0 release failed"]);
    assert!(talk.fault().retryable && talk.fault().sent_ms.is_none());
}

#[test]
fn done_without_audio_for_text_with_letters_is_a_failure() {
    let mut talk = Talk::speaking();
    talk.text("a", "Hi.");
    talk.end("a");
    assert_eq!(talk.event(0, Event::Done), ["0 detach no_audio", "0 checkout 1"]);
    talk.leased(0);
    let told = talk.event(0, Event::Done);
    assert_eq!(told, ["0 detach no_audio", "a error upstream_unavailable, ended", "0 release failed"]);
}

#[test]
fn done_before_the_end_is_a_failure() {
    let mut talk = Talk::speaking();
    talk.text("a", "Hi.");
    assert_eq!(talk.event(0, Event::Done), ["0 detach closed_early", "0 checkout 1"]);
}

#[test]
fn after_audio_there_is_one_clear_error() {
    let mut talk = Talk::speaking();
    talk.text("a", "Hi.");
    talk.audio(0, FRAME);
    let told = talk.failed(0, FaultKind::ClosedMidAudio);
    assert_eq!(
        told,
        ["0 detach closed_mid_audio", "a error upstream_unavailable, ended", "0 release failed"]
    );
    assert_eq!((talk.fault().retryable, talk.fault().sent_ms), (false, Some(20)));
    assert!(talk.audio(0, FRAME).is_empty());
}

#[test]
fn paced_audio_that_had_come_before_the_fault_is_still_heard() {
    let mut talk = Talk::new();
    talk.open("a", paced(40));
    talk.text("a", "Hi.");
    talk.audio(0, 3 * FRAME + 100);
    assert_eq!(talk.failed(0, FaultKind::ClosedMidAudio), ["0 detach closed_mid_audio"]);
    assert!(
        talk.text("a", "More.").is_empty() && talk.flush("a", "m").is_empty() && talk.end("a").is_empty()
    );
    let told = talk.wait(40);
    let end = ["a audio 2880+100", "a error upstream_unavailable, ended", "0 release failed"];
    assert_eq!((told[0].as_str(), &told[1..]), ("a audio 1920+960", &end.map(String::from)[..]));
    assert_eq!(talk.fault().sent_ms, Some(62));
}

#[test]
fn a_broken_stream_can_be_cancelled_while_its_rest_is_heard() {
    let mut talk = Talk::new();
    talk.open("a", paced(20));
    talk.text("a", "Hi.");
    talk.audio(0, 5 * FRAME);
    talk.failed(0, FaultKind::Stalled);
    assert_eq!(talk.cancel("a", None), ["a cancelled at 20", "0 release cancelled"]);
    assert!(talk.wait(1_000).is_empty());
}

#[test]
fn faults_of_the_input_or_the_client_never_move_on() {
    for (kind, code) in
        [(FaultKind::Rejected, "upstream_rejected"), (FaultKind::SlowConsumer, "slow_consumer")]
    {
        let mut talk = Talk::speaking();
        talk.text("a", "Hi.");
        let told = talk.failed(0, kind);
        let error = format!("a error {code}, ended");
        assert_eq!(told, [&format!("0 detach {}", kind.as_str()), &error, "0 release failed"]);
        assert!(!talk.fault().retryable);
    }
}

#[test]
fn words_of_a_route_that_was_left_are_not_told() {
    let mut talk = Talk::new();
    talk.open("a", voxrelay_protocol::Start { words: true, ..start() });
    talk.text("a", "One.");
    talk.words(0, &[("One", 700, 900)]);
    talk.failed(0, FaultKind::Reset);
    talk.leased(0);
    talk.words(0, &[("One", 10, 200)]);
    assert_eq!(talk.audio(0, FRAME), ["a audio 0+960", "a words One@10"]);
}

#[test]
fn a_route_whose_audio_cannot_be_made_into_the_format_is_refused() {
    let mut talk = Talk::new();
    let mut odd = route("odd");
    odd.format.sample_rate = 1;
    talk.routes = Ok(vec![odd]);
    talk.start("a", start());
    assert_eq!(talk.leased(0), ["a error unsupported_format, ended", "0 release refused"]);
}
