//! Streams on a clock: nothing early, everything in its place.

use voxrelay_protocol::{AudioFormat, Container, Event};

use crate::harness::{FRAME, Talk, paced, tagged};

#[test]
fn audio_is_never_further_ahead_than_the_lead() {
    let mut talk = Talk::new();
    talk.open("a", paced(60));
    talk.text("a", "Hi.");
    assert_eq!(talk.audio(0, 6 * FRAME), ["a audio 0+960", "a audio 960+960", "a audio 1920+960"]);
    assert!(talk.wait(19).is_empty());
    assert_eq!(talk.wait(1), ["a audio 2880+960"]);
    assert!(talk.wait(19).is_empty());
    assert_eq!(talk.wait(21), ["a audio 3840+960", "a audio 4800+960"]);
}

#[test]
fn flushed_words_and_done_come_behind_their_audio() {
    let mut talk = Talk::new();
    talk.open("a", voxrelay_protocol::Start { words: true, ..paced(20) });
    talk.text("a", "Hi you.");
    talk.flush("a", "m");
    talk.end("a");
    assert_eq!(talk.audio(0, 3 * FRAME), ["a audio 0+960"]);
    assert!(talk.words(0, &[("Hi", 0, 60)]).is_empty());
    assert!(talk.event(0, Event::Flushed).is_empty());
    assert!(talk.audio(0, FRAME).is_empty());
    assert!(talk.event(0, Event::Done).is_empty());
    assert_eq!(talk.wait(20), ["a audio 960+960"]);
    assert_eq!(talk.wait(20), ["a audio 1920+960", "a words Hi@0", "a flushed m at 60"]);
    assert_eq!(talk.wait(20), ["a audio 2880+960", "a done 80 ms", "0 release done"]);
}

#[test]
fn less_than_a_frame_waits_for_more_and_holds_nothing_up() {
    let mut talk = Talk::new();
    talk.open("a", paced(20));
    talk.text("a", "Hi.");
    talk.flush("a", "m");
    assert_eq!(talk.audio(0, FRAME + 480), ["a audio 0+960"]);
    assert_eq!(talk.event(0, Event::Flushed), ["a flushed m at 30"]);
    talk.text("a", "You.");
    talk.end("a");
    assert!(talk.audio(0, 480).is_empty());
    assert_eq!(talk.wait(20), ["a audio 960+960"]);
    assert_eq!(talk.event(0, Event::Done), ["a done 40 ms", "0 release done"]);
}

#[test]
fn the_end_lets_a_shorter_frame_out() {
    let mut talk = Talk::new();
    talk.open("a", voxrelay_protocol::Start { pace: paced(20).pace, ..tagged() });
    talk.text("a", "Hi.");
    talk.end("a");
    talk.audio(0, FRAME + 480);
    talk.event(0, Event::Done);
    let told = talk.wait(20);
    assert_eq!(told, ["a audio 960+480", "a audio 1440+0 last", "a done 30 ms", "0 release done"]);
}

#[test]
fn a_header_travels_with_the_first_frame() {
    let mut start = paced(20);
    start.format = AudioFormat { container: Container::Wav, ..AudioFormat::default() };
    let mut talk = Talk::new();
    talk.open("a", start);
    talk.text("a", "Hi.");
    talk.flush("a", "m");
    assert_eq!(talk.audio(0, 2 * FRAME), ["a audio 0+1004"]);
    talk.event(0, Event::Flushed);
    assert_eq!(talk.wait(20), ["a audio 1004+960", "a flushed m at 40"]);
}

#[test]
fn a_paced_stream_takes_no_more_than_its_buffer_holds() {
    let mut talk = Talk::new();
    talk.open("a", paced(20));
    talk.text("a", "Hi.");
    assert!(talk.session.wants(0));
    talk.audio(0, 21 * FRAME);
    assert!(!talk.session.wants(0));
    talk.wait(20);
    assert!(talk.session.wants(0));
}

#[test]
fn holes_of_the_upstream_are_counted() {
    let mut talk = Talk::new();
    talk.open("a", paced(20));
    talk.text("a", "Hi.");
    talk.end("a");
    talk.audio(0, FRAME);
    talk.wait(500);
    talk.audio(0, FRAME);
    talk.event(0, Event::Done);
    assert_eq!(talk.ends[0].underruns, 1);
}
