//! Time that passes: watchdogs on upstreams, clients that fall silent.

use voxrelay_protocol::{Event, Fault, FaultCode};

use crate::harness::{FRAME, Talk, paced, start};

#[test]
fn an_upstream_that_owes_nothing_may_be_silent() {
    let mut talk = Talk::speaking();
    talk.text("a", "Hello");
    assert!(talk.wait(59_000).is_empty());
    talk.flush("a", "m");
    talk.wait(4_000);
    talk.audio(0, FRAME);
    talk.event(0, Event::Flushed);
    assert!(talk.wait(50_000).is_empty());
}

#[test]
fn the_first_audio_has_a_deadline_once_it_is_asked_for() {
    let mut talk = Talk::speaking();
    talk.text("a", "Hello.");
    talk.wait(30_000);
    talk.flush("a", "m");
    assert!(talk.wait(4_999).is_empty());
    assert_eq!(talk.wait(1), ["0 detach first_audio", "0 checkout 1"]);
    assert!(talk.wait(20_000).is_empty(), "who waits for a lease is not silent");
    talk.leased(0);
    let told = talk.wait(5_000);
    assert_eq!(told, ["0 detach first_audio", "a error upstream_timeout, ended", "0 release failed"]);
    assert!(talk.fault().retryable);
}

#[test]
fn a_gap_in_the_audio_has_a_shorter_one() {
    let mut talk = Talk::speaking();
    talk.text("a", "Hello.");
    talk.end("a");
    talk.wait(4_000);
    talk.audio(0, FRAME);
    talk.wait(2_999);
    talk.audio(0, FRAME);
    assert!(talk.wait(2_999).is_empty());
    let told = talk.wait(1);
    assert_eq!(told, ["0 detach stalled", "a error upstream_timeout, ended", "0 release failed"]);
    assert_eq!((talk.fault().retryable, talk.fault().sent_ms), (false, Some(40)));
}

#[test]
fn the_end_has_its_own_once_everything_is_spoken() {
    let mut talk = Talk::speaking();
    talk.text("a", "Hello.");
    talk.flush("a", "m");
    talk.audio(0, FRAME);
    talk.event(0, Event::Flushed);
    talk.end("a");
    assert!(talk.wait(4_999).is_empty());
    let told = talk.wait(1);
    assert_eq!(told, ["0 detach no_end", "a error upstream_timeout, ended", "0 release failed"]);
}

#[test]
fn an_upstream_that_never_stops_is_left() {
    let mut talk = Talk::speaking();
    talk.text("a", "Hello.");
    talk.end("a");
    for _ in 0..30 {
        talk.audio(0, 50 * 60 * FRAME);
    }
    let told = talk.audio(0, FRAME);
    assert_eq!(told[1..], ["0 detach oversize", "a error upstream_unavailable, ended", "0 release failed"]);
    assert_eq!(talk.fault().sent_ms, Some(1_800_020));
}

#[test]
fn each_new_piece_of_work_has_the_time_of_a_first_audio() {
    let mut talk = Talk::speaking();
    talk.text("a", "One.");
    talk.flush("a", "m");
    talk.audio(0, FRAME);
    talk.event(0, Event::Flushed);
    talk.wait(20_000);
    talk.text("a", "Two.");
    talk.flush("a", "n");
    assert!(talk.wait(4_999).is_empty());
    assert_eq!(talk.audio(0, FRAME), ["a audio 960+960"]);
}

#[test]
fn silence_while_the_client_did_not_read_is_forgiven() {
    let mut talk = Talk::speaking();
    talk.text("a", "Hello.");
    talk.end("a");
    talk.audio(0, FRAME);
    // The shell rings no timer while the client's socket is stuck.
    talk.now += std::time::Duration::from_secs(9);
    talk.act(|session, now| session.on_unblocked(now));
    assert!(talk.wait(2_999).is_empty());
    assert_eq!(talk.wait(1)[0], "0 detach stalled");
}

#[test]
fn silence_while_a_paced_stream_takes_no_more_is_ours() {
    let mut talk = Talk::new();
    talk.open("a", paced(20));
    talk.text("a", "Hello.");
    talk.end("a");
    talk.audio(0, 220 * FRAME);
    assert!(!talk.session.wants(0));
    let told = talk.wait(3_990);
    assert!(told.iter().all(|line| line.starts_with("a audio")), "{told:?}");
    talk.wait(20);
    assert!(talk.session.wants(0));
    assert!(talk.wait(2_900).iter().all(|line| line.starts_with("a audio")));
    assert!(talk.wait(100).contains(&"0 detach stalled".to_owned()), "from now on it is the upstream's");
}

#[test]
fn a_stream_that_is_never_ended_is_ended_for_its_client() {
    let mut talk = Talk::speaking();
    talk.text("a", "Hello.");
    assert!(talk.wait(59_999).is_empty());
    assert_eq!(talk.wait(1), ["0 < end"]);
    talk.audio(0, FRAME);
    assert_eq!(talk.event(0, Event::Done), ["a done 20 ms", "0 release done"]);
}

#[test]
fn a_flush_is_a_sign_of_life_of_the_client() {
    let mut talk = Talk::speaking();
    talk.text("a", "Hello.");
    talk.wait(50_000);
    talk.flush("a", "m");
    talk.audio(0, FRAME);
    talk.event(0, Event::Flushed);
    assert!(talk.wait(59_999).is_empty());
    assert_eq!(talk.wait(1), ["0 < end"]);
}

#[test]
fn a_stream_that_is_given_no_text_ends() {
    let mut talk = Talk::speaking();
    talk.text("a", " ");
    assert_eq!(talk.wait(60_000), ["a error idle_timeout, ended", "0 release refused"]);
    assert!(talk.text("a", "Late.").is_empty());
}

#[test]
fn a_session_where_nothing_happens_is_closed() {
    let mut talk = Talk::new();
    assert!(talk.wait(599_999).is_empty());
    assert_eq!(talk.wait(1), ["session error idle_timeout", "close 3008 idle_timeout"]);
    assert!(talk.start("a", start()).is_empty());
}

#[test]
fn a_session_is_idle_from_the_end_of_its_last_stream() {
    let mut talk = Talk::new();
    talk.open("a", paced(20));
    talk.text("a", "Hello.");
    talk.end("a");
    talk.audio(0, 35_000 * FRAME);
    talk.event(0, Event::Done);
    let told = talk.wait(700_000);
    assert_eq!(told.last().unwrap(), "0 release done");
    assert!(talk.wait(599_000).is_empty(), "it was listened to for longer than a session may idle");
    assert_eq!(talk.wait(1_000).last().unwrap(), "close 3008 idle_timeout");
}

#[test]
fn a_full_lease_is_offered_again_at_a_steady_pace() {
    let mut talk = Talk::speaking();
    talk.text("a", "Hello.");
    talk.flush("a", "m");
    talk.audio(0, FRAME);
    talk.room = 0;
    talk.wait(1_000);
    talk.text("a", "More.");
    for _ in 0..50 {
        let at = talk.session.poll_timeout().unwrap();
        assert!(at > talk.now, "a timer that rings at once burns the processor");
        assert!(talk.wait(20).is_empty());
    }
    talk.room = usize::MAX;
    assert_eq!(talk.wait(20), ["0 < text More."]);
}

#[test]
fn a_refusal_while_waiting_ends_the_stream() {
    let mut talk = Talk::new();
    talk.routes.as_mut().unwrap().truncate(1);
    talk.start("a", start());
    let fault = Fault::new(FaultCode::Draining, "the relay is going away");
    let told = talk.act(|session, now| session.on_refused(now, 0, fault));
    assert_eq!(told, ["a error draining, ended", "0 release refused"]);
}
