//! A turn that goes well, and the order of everything in it.

use std::time::Duration;

use voxrelay_protocol::request::{Credential, Framing};
use voxrelay_protocol::session::{Leased, Settings};
use voxrelay_protocol::{AudioFormat, Container, Event, Reply, Request};

use crate::harness::{FRAME, Talk, settings, start, tagged};

#[test]
fn a_whole_turn_goes_from_start_to_done() {
    let mut talk = Talk::new();
    assert_eq!(talk.start("a", start()), ["0 checkout 0"]);
    assert_eq!(talk.leased(0), ["a started by one"]);
    assert_eq!(talk.text("a", "Hello."), ["0 < text Hello."]);
    assert_eq!(talk.end("a"), ["0 < end"]);
    assert_eq!(talk.audio(0, FRAME), ["a audio 0+960"]);
    assert_eq!(talk.audio(0, FRAME), ["a audio 960+960"]);
    assert_eq!(talk.event(0, Event::Done), ["a done 40 ms", "0 release done"]);
    assert_eq!(talk.session.open_streams(), 0);
    let done = talk.done();
    assert_eq!((done.characters, done.bytes, done.provider.as_str()), (6, 1920, "one"));
    assert_eq!((talk.ends[0].characters, talk.ends[0].audio_ms), (6, 40));
}

#[test]
fn text_before_the_lease_is_kept_and_sent_in_order() {
    let mut talk = Talk::new();
    talk.start("a", start());
    for token in ["Hel", "lo", ", "] {
        assert!(talk.text("a", token).is_empty());
    }
    talk.flush("a", "m");
    talk.text("a", "you.");
    talk.end("a");
    let sent = talk.leased(0);
    assert_eq!(sent, ["a started by one", "0 < text Hello, ", "0 < flush", "0 < text you.", "0 < end"]);
}

#[test]
fn a_flush_is_answered_after_its_audio_with_its_mark() {
    let mut talk = Talk::speaking();
    talk.text("a", "One.");
    assert_eq!(talk.flush("a", "m1"), ["0 < flush"]);
    talk.audio(0, FRAME);
    assert_eq!(talk.event(0, Event::Flushed), ["a flushed m1 at 20"]);
    talk.text("a", "Two.");
    talk.flush("a", "m2");
    talk.audio(0, FRAME);
    assert_eq!(talk.event(0, Event::Flushed), ["a flushed m2 at 40"]);
}

#[test]
fn a_flush_without_new_text_shares_the_answer_of_the_one_before() {
    let mut talk = Talk::speaking();
    talk.text("a", "One.");
    talk.flush("a", "m1");
    assert_eq!(talk.text("a", "\n"), ["0 < text \n"]);
    assert!(talk.flush("a", "m2").is_empty());
    talk.audio(0, FRAME);
    assert_eq!(talk.event(0, Event::Flushed), ["a flushed m1 at 20", "a flushed m2 at 20"]);
}

#[test]
fn a_flush_with_nothing_to_speak_is_answered_at_once() {
    let mut talk = Talk::speaking();
    assert_eq!(talk.flush("a", "m"), ["a flushed m at 0"]);
}

#[test]
fn nothing_of_a_stream_is_told_before_it_has_started() {
    let mut talk = Talk::new();
    talk.start("a", start());
    assert!(talk.flush("a", "early").is_empty());
    assert_eq!(talk.leased(0), ["a started by one", "a flushed early at 0"]);
}

#[test]
fn the_end_answers_every_flush_that_waits() {
    let mut talk = Talk::speaking();
    talk.text("a", "One.");
    talk.flush("a", "m1");
    talk.end("a");
    talk.audio(0, FRAME);
    assert_eq!(talk.event(0, Event::Done), ["a flushed m1 at 20", "a done 20 ms", "0 release done"]);
}

#[test]
fn an_answer_to_a_flush_nobody_sent_is_dropped() {
    let mut talk = Talk::speaking();
    talk.text("a", "One.");
    assert!(talk.event(0, Event::Flushed).is_empty());
    talk.flush("a", "m");
    assert_eq!(talk.event(0, Event::Flushed), ["a flushed m at 0"]);
}

#[test]
fn blank_text_is_done_at_no_cost_and_needs_no_upstream() {
    let mut talk = Talk::speaking();
    assert!(talk.text("a", " \n").is_empty());
    assert_eq!(talk.end("a"), ["a done 0 ms", "0 release done"]);
    assert_eq!((talk.done().characters, talk.ends[0].characters), (0, 0));

    let mut talk = Talk::new();
    talk.start("a", start());
    assert_eq!(talk.end("a"), ["a started by one", "a done 0 ms", "0 release done"]);
}

#[test]
fn text_without_letters_may_be_done_without_audio() {
    let mut talk = Talk::speaking();
    talk.text("a", "...");
    talk.end("a");
    assert_eq!(talk.event(0, Event::Done), ["a done 0 ms", "0 release done"]);
    assert_eq!((talk.done().first_audio_ms, talk.ends[0].first_audio_ms), (None, None));
}

#[test]
fn tagged_frames_say_which_is_the_last_and_positions_are_contiguous() {
    let mut talk = Talk::new();
    talk.open("a", tagged());
    talk.text("a", "Hi.");
    talk.end("a");
    assert_eq!(talk.audio(0, 40_000), ["a audio 0+16384", "a audio 16384+16384", "a audio 32768+7232"]);
    let told = talk.event(0, Event::Done);
    assert_eq!(told, ["a audio 40000+0 last", "a done 833 ms", "0 release done"]);
}

#[test]
fn streams_speak_at_the_same_time_and_keep_to_themselves() {
    let mut talk = Talk::new();
    talk.open("a", tagged());
    talk.open("b", tagged());
    talk.text("b", "Bee.");
    assert_eq!(talk.text("a", "Ay."), ["0 < text Ay."]);
    assert_eq!(talk.audio(1, FRAME), ["b audio 0+960"]);
    assert_eq!(talk.audio(0, FRAME), ["a audio 0+960"]);
    assert_eq!(talk.audio(1, FRAME), ["b audio 960+960"]);
}

#[test]
fn the_frames_are_those_the_start_asked_for() {
    for framing in [Framing::Raw, Framing::Tagged, Framing::Json] {
        let mut talk = Talk::new();
        talk.open("a", voxrelay_protocol::Start { framing, ..start() });
        talk.text("a", "Hi.");
        talk.audio(0, FRAME);
        let told = talk.replies.last().unwrap();
        assert!(matches!(told, Reply::Audio { framing: f, .. } if *f == framing), "{told:?}");
    }
}

#[test]
fn a_header_is_no_audio() {
    let mut start = start();
    start.format = AudioFormat { container: Container::Wav, ..AudioFormat::default() };
    let mut talk = Talk::new();
    talk.open("a", start.clone());
    talk.text("a", "Hi.");
    talk.flush("a", "m");
    talk.end("a");
    assert_eq!(talk.audio(0, FRAME), ["a audio 0+1004"]);
    assert_eq!(talk.event(0, Event::Flushed), ["a flushed m at 20"]);
    assert_eq!(talk.event(0, Event::Done)[0], "a done 20 ms");
    assert_eq!(talk.done().bytes, 1004);

    talk.open("b", start);
    assert_eq!(talk.end("b"), ["b audio 0+44", "b done 0 ms", "1 release done"]);
    assert_eq!(talk.done().first_audio_ms, None, "a header alone is nothing to wait for");
}

#[test]
fn words_are_told_in_order_and_never_before_the_first_audio() {
    let mut talk = Talk::new();
    talk.open("a", voxrelay_protocol::Start { words: true, ..start() });
    talk.text("a", "One two three.");
    assert!(talk.words(0, &[("One", 0, 90)]).is_empty());
    assert_eq!(talk.audio(0, FRAME), ["a audio 0+960", "a words One@0"]);
    let told = talk.words(0, &[("two", 100, 190), ("back", 50, 60), ("three", 200, 250)]);
    assert_eq!(told, ["a words two@100 three@200"]);
}

#[test]
fn words_nobody_asked_for_are_not_told() {
    let mut talk = Talk::speaking();
    talk.text("a", "One.");
    talk.audio(0, FRAME);
    assert!(talk.words(0, &[("One", 0, 90)]).is_empty());
}

#[test]
fn what_a_full_lease_gives_back_is_offered_again_in_order() {
    let mut talk = Talk::new();
    talk.start("a", start());
    talk.text("a", "One.");
    talk.flush("a", "m");
    talk.text("a", "Two.");
    talk.end("a");
    talk.room = 1;
    assert_eq!(talk.leased(0), ["a started by one", "0 < text One."]);
    assert!(talk.wait(5_000).is_empty(), "nothing was owed yet, and the lease is still full");
    talk.room = usize::MAX;
    assert_eq!(talk.wait(20), ["0 < flush", "0 < text Two.", "0 < end"]);
}

#[test]
fn the_parts_of_the_timing_add_up() {
    let mut talk = Talk::new();
    talk.start("a", start());
    talk.wait(5);
    talk.text("a", "Hello.");
    talk.wait(12);
    let leased = Leased { queued: Duration::from_millis(7), connected: Duration::from_micros(9_250) };
    talk.act(|session, now| session.on_leased(now, 0, leased));
    talk.end("a");
    talk.wait(83);
    talk.audio(0, FRAME);
    talk.event(0, Event::Done);
    let (first, timing) = (talk.done().first_audio_ms.unwrap(), talk.done().timing);
    assert_eq!(first, 95.0, "from the text to the audio");
    assert_eq!((timing.auth_ms, timing.queue_ms, timing.connect_ms), (1.5, 2.0, 9.25));
    assert_eq!((timing.upstream_ms, timing.relay_ms), (83.0, 0.75));
    let parts = timing.queue_ms + timing.connect_ms + timing.upstream_ms + timing.relay_ms;
    assert!((parts - first).abs() < 1e-9);
}

#[test]
fn a_key_that_nobody_asked_for_is_ignored() {
    let auth = || Request::Auth(Credential::new("sk-unasked"));
    assert_eq!(Talk::new().ask(auth()), ["session error invalid_request"]);
    assert!(Talk::with(Settings { keyless: true, ..settings() }).ask(auth()).is_empty());
}
