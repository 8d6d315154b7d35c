//! Barge-in, at every moment of a stream's life.

use voxrelay_protocol::{Event, FaultKind};

use crate::harness::{FRAME, Talk, paced, start, tagged};

#[test]
fn a_stream_can_be_cancelled_before_its_lease() {
    let mut talk = Talk::new();
    talk.start("a", start());
    talk.text("a", "Hello.");
    assert_eq!(talk.cancel("a", None), ["a cancelled at 0", "0 release cancelled"]);
    assert!(talk.leased(0).is_empty(), "a lease that comes too late is nobody's");
    assert_eq!((talk.ends[0].characters, talk.ends[0].bytes), (0, 0));
    let told = talk.cancelled();
    assert_eq!((told.heard_ms, told.heard_text.as_deref()), (Some(0), Some("")));
    assert_eq!(told.unheard_text.as_deref(), Some("Hello."));
}

#[test]
fn nothing_of_a_stream_comes_after_its_cancel() {
    let mut talk = Talk::new();
    talk.open("a", voxrelay_protocol::Start { words: true, ..tagged() });
    talk.text("a", "Hello.");
    talk.flush("a", "m");
    talk.audio(0, FRAME);
    assert_eq!(talk.cancel("a", None), ["a cancelled at 20", "0 release cancelled"]);
    assert!(talk.audio(0, FRAME).is_empty());
    assert!(talk.words(0, &[("Hello", 0, 300)]).is_empty());
    assert!(talk.event(0, Event::Flushed).is_empty());
    assert!(talk.event(0, Event::Done).is_empty());
    assert!(talk.failed(0, FaultKind::Reset).is_empty());
    assert!(talk.wait(10_000).is_empty());
}

#[test]
fn a_second_cancel_and_one_after_done_find_no_stream() {
    let mut talk = Talk::speaking();
    talk.cancel("a", None);
    assert_eq!(talk.cancel("a", None), ["a error unknown_stream, ended"]);
    talk.open("a", start());
    talk.text("a", "Hi.");
    talk.end("a");
    talk.audio(1, FRAME);
    talk.event(1, Event::Done);
    assert_eq!(talk.cancel("a", None), ["a error unknown_stream, ended"]);
}

#[test]
fn a_cancel_that_meets_a_fault_on_the_way_is_answered_by_the_fault() {
    let mut talk = Talk::speaking();
    talk.text("a", "Hi.");
    talk.audio(0, FRAME);
    talk.failed(0, FaultKind::Reset);
    assert!(talk.cancel("a", Some(10)).is_empty(), "one terminal message is enough");
}

#[test]
fn a_name_may_be_used_again_after_a_cancel() {
    let mut talk = Talk::speaking();
    talk.cancel("a", None);
    assert_eq!(talk.start("a", start()), ["1 checkout 0"]);
    assert!(talk.audio(0, FRAME).is_empty(), "late audio of the first is not the second's");
    assert_eq!(talk.leased(1), ["a started by one"]);
}

#[test]
fn what_was_played_tells_what_was_heard() {
    let mut talk = Talk::speaking();
    talk.text("a", "One two three.");
    talk.words(0, &[("One", 0, 20), ("two", 20, 40), ("three", 40, 60)]);
    talk.audio(0, 3 * FRAME);
    talk.cancel("a", Some(45));
    let told = talk.cancelled();
    assert_eq!((told.sent_ms, told.heard_ms), (60, Some(45)));
    assert_eq!(told.heard_text.as_deref(), Some("One two "));
    assert_eq!(told.unheard_text.as_deref(), Some("three."));
}

#[test]
fn nobody_can_have_heard_more_than_was_sent() {
    let mut talk = Talk::speaking();
    talk.text("a", "One.");
    talk.audio(0, FRAME);
    talk.cancel("a", Some(9_000));
    assert_eq!(talk.cancelled().heard_ms, Some(20));
}

#[test]
fn what_is_not_known_is_not_told() {
    let mut talk = Talk::speaking();
    talk.text("a", "One.");
    talk.audio(0, FRAME);
    talk.cancel("a", None);
    let told = talk.cancelled();
    assert_eq!((told.heard_ms, &told.heard_text, &told.unheard_text), (None, &None, &None));
}

#[test]
fn the_clock_of_a_paced_stream_tells_what_was_heard() {
    let mut talk = Talk::new();
    talk.open("a", paced(100));
    talk.text("a", "One two.");
    talk.words(0, &[("One", 0, 30), ("two", 30, 200)]);
    talk.audio(0, 10 * FRAME);
    talk.wait(47);
    assert_eq!(talk.cancel("a", None), ["a cancelled at 140", "0 release cancelled"]);
    let told = talk.cancelled();
    assert_eq!((told.heard_ms, told.heard_text.as_deref()), (Some(47), Some("One ")));
    assert!(talk.wait(1_000).is_empty(), "what was held back is dropped");
}
