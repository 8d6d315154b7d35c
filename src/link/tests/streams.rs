//! How streams fare on a link.

use std::time::Duration;

use tokio::time::Instant;
use voxrelay_protocol::provider::Sharing;
use voxrelay_protocol::{Command, Event, FaultKind};

use super::super::SendError;
use super::*;

#[tokio::test(start_paused = true)]
async fn commands_arrive_in_order_and_events_come_back() {
    let vendor = Vendor::shared();
    let (mut stream, _) = vendor.open();
    stream.send(Command::Text("a".into())).unwrap();
    stream.send(Command::Flush).unwrap();
    stream.send(Command::End).unwrap();
    assert_eq!(vendor.sent(3).await, ["1 text a", "1 flush", "1 end"]);
    vendor.say("1 audio 4").await;
    vendor.say("1 flushed").await;
    vendor.say("1 done").await;
    assert_eq!(next(&mut stream).await.map(|event| event.audio_len()), Some(4));
    assert_eq!(next(&mut stream).await, Some(Event::Flushed));
    assert_eq!(next(&mut stream).await, Some(Event::Done));
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_commands_is_written_whole_without_waiting_for_anything_else() {
    let vendor = Vendor::new(Sharing::Contexts { per_link: 4 }, 1_000, usize::MAX);
    let (mut stream, _) = vendor.open();
    settle().await;
    for _ in 0..100 {
        stream.send(Command::Text("a".into())).unwrap();
    }
    // Long before the link's own clocks would wake it.
    timeout(Duration::from_secs(1), vendor.sent(100)).await.expect("the rest of the burst was forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_overtakes_text_still_queued() {
    let vendor = Vendor::new(Sharing::Contexts { per_link: 4 }, 1, usize::MAX);
    let (mut stream, _) = vendor.open();
    for text in ["a", "b", "c", "d"] {
        stream.send(Command::Text(text.into())).unwrap();
    }
    settle().await;
    drop(stream);
    settle().await;
    assert_eq!(vendor.sent(2).await, ["1 text a", "1 cancel"]);
    vendor.nothing_sent().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_the_vendor_never_heard_of_is_over_at_once() {
    let vendor = Vendor::shared();
    let (stream, held) = vendor.open();
    settle().await;
    drop(stream);
    settle().await;
    assert!(held.is_free());
    vendor.nothing_sent().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_abandoned_before_it_was_opened_is_never_opened() {
    let vendor = Vendor::shared();
    let (mut stream, held) = vendor.open();
    stream.send(Command::Text("a".into())).unwrap();
    drop(stream);
    settle().await;
    assert!(held.is_free());
    vendor.nothing_sent().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_stream_keeps_its_seat_until_the_vendor_is_done() {
    let vendor = Vendor::shared();
    let (mut stream, held) = vendor.open();
    stream.send(Command::Text("a".into())).unwrap();
    vendor.sent(1).await;
    stream.send(Command::Cancel).unwrap();
    assert_eq!(next(&mut stream).await, None);
    assert_eq!(vendor.sent(1).await, ["1 cancel"]);
    vendor.say("1 audio 4").await;
    assert!(!held.is_free());
    vendor.say("1 done").await;
    settle().await;
    assert!(held.is_free());
}

#[tokio::test(start_paused = true)]
async fn late_frames_stretch_the_grace_and_never_without_end() {
    let vendor = Vendor::shared();
    let (mut stream, held) = vendor.open();
    stream.send(Command::Text("a".into())).unwrap();
    vendor.sent(1).await;
    drop(stream);
    vendor.sent(1).await;
    let cancelled = Instant::now();
    tokio::time::sleep(GRACE / 2).await;
    vendor.say("1 audio 4").await;
    tokio::time::sleep(GRACE * 3 / 4).await;
    assert!(!held.is_free());
    while !held.is_free() {
        vendor.say("1 audio 4").await;
        tokio::time::sleep(GRACE / 2).await;
    }
    assert!(cancelled.elapsed() <= GRACE * 11);
    assert!(vendor.link.is_usable(), "a shared link outlives a stream that would not end");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_read_fails_alone() {
    let vendor = Vendor::shared();
    let (mut slow, _) = vendor.open();
    let (mut neighbour, _) = vendor.open();
    slow.send(Command::Text("a".into())).unwrap();
    neighbour.send(Command::Text("b".into())).unwrap();
    vendor.sent(2).await;
    for _ in 0..30 {
        vendor.say("1 audio 100").await;
        vendor.say("2 audio 10").await;
        assert_eq!(next(&mut neighbour).await.map(|event| event.audio_len()), Some(10));
    }
    assert_eq!(vendor.sent(1).await, ["1 cancel"]);
    assert!(slow.buffered_bytes() <= BUFFER + 100);
    let mut heard = 0;
    let last = loop {
        let event = next(&mut slow).await.unwrap();
        heard += event.audio_len();
        if event.is_last() {
            break event;
        }
    };
    assert_eq!(kind(&last), Some(FaultKind::SlowConsumer));
    assert!((BUFFER..=BUFFER + 100).contains(&heard));
}

#[tokio::test(start_paused = true)]
async fn the_end_arrives_however_full_the_queue_is() {
    let vendor = Vendor::shared();
    let (mut stream, _) = vendor.open();
    stream.send(Command::Text("a".into())).unwrap();
    vendor.sent(1).await;
    for _ in 0..BUFFER / 100 {
        vendor.say("1 audio 100").await;
    }
    vendor.say("1 done").await;
    settle().await;
    for _ in 0..BUFFER / 100 {
        assert_eq!(next(&mut stream).await.map(|event| event.audio_len()), Some(100));
    }
    assert_eq!(next(&mut stream).await, Some(Event::Done));
}

#[tokio::test(start_paused = true)]
async fn an_exclusive_link_rests_until_its_stream_reads() {
    let vendor = Vendor::exclusive();
    let (mut stream, _) = vendor.open();
    stream.send(Command::Text("a".into())).unwrap();
    vendor.sent(1).await;
    let mut said = 0;
    while vendor.try_say("1 audio 100") {
        said += 1;
        settle().await;
    }
    assert!(said < 100, "the link went on reading");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(vendor.link.is_usable(), "silence while reading rests is no death");
    let mut heard = 0;
    while heard < said {
        assert_eq!(next(&mut stream).await.map(|event| event.audio_len()), Some(100));
        heard += 1;
    }
    vendor.say("1 done").await;
    assert_eq!(next(&mut stream).await, Some(Event::Done));
    assert!(vendor.link.is_usable());
}

#[tokio::test(start_paused = true)]
async fn an_exclusive_link_that_rests_takes_a_cancel() {
    let vendor = Vendor::exclusive();
    let (mut stream, held) = vendor.open();
    stream.send(Command::Text("a".into())).unwrap();
    vendor.sent(1).await;
    while vendor.try_say("1 audio 100") {
        settle().await;
    }
    drop(stream);
    assert_eq!(vendor.sent(1).await, ["1 cancel"]);
    vendor.say("1 done").await;
    settle().await;
    assert!(held.is_free());
    assert!(vendor.link.is_usable(), "a proven end makes it clean");
}

#[tokio::test(start_paused = true)]
async fn frames_for_strangers_and_second_ends_are_dropped() {
    let vendor = Vendor::shared();
    let (mut stream, _) = vendor.open();
    let (mut other, _) = vendor.open();
    settle().await;
    vendor.say("77 audio 4").await;
    vendor.say("1 done").await;
    vendor.say("1 done").await;
    vendor.say("1 audio 4").await;
    vendor.say("2 done").await;
    assert_eq!(next(&mut stream).await, Some(Event::Done));
    assert_eq!(next(&mut other).await, Some(Event::Done));
    assert!(vendor.link.is_usable());
}

#[tokio::test(start_paused = true)]
async fn text_is_refused_past_its_buffer_and_taken_again_once_written() {
    let vendor = Vendor::new(Sharing::Contexts { per_link: 4 }, 1, 10);
    let (mut stream, _) = vendor.open();
    let text = || Command::Text("1234".into());
    stream.send(text()).unwrap();
    settle().await;
    stream.send(text()).unwrap();
    stream.send(text()).unwrap();
    assert_eq!(stream.send(text()), Err(SendError::Full(text())));
    stream.send(Command::Flush).unwrap();
    vendor.sent(4).await;
    stream.send(text()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn frames_the_codec_keeps_back_go_out_when_the_vendor_says_so() {
    let vendor = Vendor::shared();
    let ((mut kept, _), (mut cancelled, held)) = (vendor.open(), vendor.open());
    kept.send(Command::Text("late a".into())).unwrap();
    cancelled.send(Command::Text("late b".into())).unwrap();
    vendor.nothing_sent().await;
    drop(cancelled);
    settle().await;
    assert!(held.is_free());
    vendor.say("go").await;
    assert_eq!(vendor.sent(1).await, ["1 text late a"]);
    vendor.nothing_sent().await;
}
