//! How sessions end: the relay drains, something ends them, or the client is gone.

use std::time::Duration;

use voxrelay_protocol::session::Outcome;
use voxrelay_protocol::{Event, Fault, FaultCode};

use crate::harness::{FRAME, Talk, start, tagged};

const DRAIN: Duration = Duration::from_secs(30);

#[test]
fn a_drain_lets_streams_finish_and_refuses_new_ones() {
    let mut talk = Talk::new();
    talk.open("a", tagged());
    talk.text("a", "Hi.");
    assert_eq!(talk.act(|session, _| session.on_drain(DRAIN)), ["draining 30000"]);
    assert!(talk.act(|session, _| session.on_drain(DRAIN)).is_empty(), "once is enough");
    assert_eq!(talk.start("b", tagged()), ["b error draining, ended"]);
    assert_eq!(talk.end("a"), ["0 < end"]);
    talk.audio(0, FRAME);
    let told = talk.event(0, Event::Done);
    assert_eq!(told[1..], ["a done 20 ms", "0 release done", "close 1001 draining"]);
}

#[test]
fn a_session_without_streams_leaves_at_once() {
    let told = Talk::new().act(|session, _| session.on_drain(DRAIN));
    assert_eq!(told, ["draining 30000", "close 1001 draining"]);
}

#[test]
fn a_cancel_of_the_last_stream_ends_a_draining_session() {
    let mut talk = Talk::speaking();
    talk.act(|session, _| session.on_drain(DRAIN));
    let told = talk.cancel("a", None);
    assert_eq!(told, ["a cancelled at 0", "0 release cancelled", "close 1001 draining"]);
}

#[test]
fn what_ends_a_session_ends_its_streams_and_is_told() {
    let mut talk = Talk::new();
    talk.open("a", tagged());
    talk.open("b", tagged());
    talk.text("a", "Hi.");
    talk.audio(0, FRAME);
    let fault = Fault::new(FaultCode::InvalidCredentials, "the key is not valid any more");
    let told = talk.act(|session, _| session.on_end(&fault, 3000));
    assert_eq!(
        told,
        [
            "a error invalid_credentials, ended",
            "0 release failed",
            "b error invalid_credentials, ended",
            "1 release failed",
            "session error invalid_credentials",
            "close 3000 invalid_credentials",
        ]
    );
    assert!(talk.act(|session, _| session.on_end(&fault, 3000)).is_empty());
}

#[test]
fn a_fault_while_draining_still_closes_with_its_own_code() {
    let mut talk = Talk::speaking();
    talk.act(|session, _| session.on_drain(DRAIN));
    let fault = Fault::new(FaultCode::InvalidRequest, "not UTF-8");
    let told = talk.act(|session, _| session.on_end(&fault, 1007));
    assert_eq!(told[2..], ["session error invalid_request", "close 1007 invalid_request"]);
}

#[test]
fn speech_cut_off_by_the_end_of_its_session_is_not_to_be_tried_again() {
    let mut talk = Talk::speaking();
    talk.text("a", "Hi.");
    talk.audio(0, FRAME);
    let cut = Fault::new(FaultCode::Draining, "the relay is going away now");
    talk.act(|session, _| session.on_end(&cut, 1001));
    let voxrelay_protocol::Reply::Error { fault, .. } = &talk.replies[talk.replies.len() - 2] else {
        panic!("the stream's own error comes first");
    };
    assert_eq!((fault.retryable, fault.sent_ms), (false, Some(20)));
}

#[test]
fn a_client_that_is_gone_is_told_nothing_and_holds_nothing() {
    let mut talk = Talk::new();
    talk.open("a", tagged());
    talk.start("b", tagged());
    let told = talk.act(|session, _| session.on_gone());
    assert_eq!(told, ["0 release cancelled", "1 release cancelled"]);
    assert_eq!(talk.outcomes(), [Outcome::Cancelled, Outcome::Cancelled]);
    assert!(talk.audio(0, FRAME).is_empty() && talk.start("c", start()).is_empty());
    assert_eq!(talk.session.poll_timeout(), None);
}
