//! How links end.

use std::time::Duration;

use tokio::time::Instant;
use voxrelay_protocol::provider::Sharing;
use voxrelay_protocol::{Command, Event, FaultKind};

use super::*;

#[tokio::test(start_paused = true)]
async fn an_exclusive_link_whose_cancelled_stream_does_not_end_is_retired() {
    let vendor = Vendor::exclusive();
    let (mut stream, held) = vendor.open();
    stream.send(Command::Text("a".into())).unwrap();
    vendor.sent(1).await;
    drop(stream);
    assert_eq!(vendor.ended().await, RetireReason::Dirty);
    assert!(held.is_free());
}

#[tokio::test(start_paused = true)]
async fn an_exclusive_link_that_speaks_unasked_is_retired() {
    let vendor = Vendor::exclusive();
    vendor.say("1 audio 4").await;
    assert_eq!(vendor.ended().await, RetireReason::UnexpectedData);
}

#[tokio::test(start_paused = true)]
async fn a_link_for_one_stream_ends_with_it() {
    let vendor = Vendor::new(Sharing::Once, 16, usize::MAX);
    let (mut stream, _) = vendor.open();
    stream.send(Command::Text("a".into())).unwrap();
    vendor.sent(1).await;
    vendor.say("1 done").await;
    assert_eq!(next(&mut stream).await, Some(Event::Done));
    assert_eq!(vendor.ended().await, RetireReason::Spent);
}

#[tokio::test(start_paused = true)]
async fn the_death_of_a_link_is_told_to_every_stream_by_what_it_had_heard() {
    let vendor = Vendor::shared();
    let (mut silent, _) = vendor.open();
    let (mut spoken, _) = vendor.open();
    spoken.send(Command::Text("b".into())).unwrap();
    vendor.sent(1).await;
    vendor.say("2 audio 4").await;
    settle().await;
    vendor.hang_up();
    assert_eq!(kind(&next(&mut silent).await.unwrap()), Some(FaultKind::ClosedEarly));
    assert_eq!(next(&mut spoken).await.map(|event| event.audio_len()), Some(4));
    assert_eq!(kind(&next(&mut spoken).await.unwrap()), Some(FaultKind::ClosedMidAudio));
    assert_eq!(vendor.ended().await, RetireReason::Dead);
    let (mut late, held) = vendor.open();
    assert_eq!(kind(&next(&mut late).await.unwrap()), Some(FaultKind::ClosedEarly));
    assert!(held.is_free());
}

#[tokio::test(start_paused = true)]
async fn a_link_survives_one_broken_frame_and_not_a_second() {
    let vendor = Vendor::shared();
    let (mut stream, _) = vendor.open();
    settle().await;
    vendor.say("garbage").await;
    vendor.say("1 audio 4").await;
    assert_eq!(next(&mut stream).await.map(|event| event.audio_len()), Some(4));
    vendor.say("garbage").await;
    assert_eq!(kind(&next(&mut stream).await.unwrap()), Some(FaultKind::BadFrame));
    assert_eq!(vendor.ended().await, RetireReason::Faulted);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_connection_fails_every_stream_with_its_kind() {
    let vendor = Vendor::shared();
    let (mut first, _) = vendor.open();
    let (mut second, _) = vendor.open();
    settle().await;
    vendor.say("throttled").await;
    for stream in [&mut first, &mut second] {
        assert_eq!(kind(&next(stream).await.unwrap()), Some(FaultKind::Throttled));
    }
    assert_eq!(vendor.ended().await, RetireReason::Faulted);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_does_not_answer_a_ping_is_dead() {
    let vendor = Vendor::shared();
    let (mut stream, _) = vendor.open();
    assert_eq!(vendor.sent(1).await, ["ping"]);
    vendor.pong().await;
    assert_eq!(vendor.sent(1).await, ["ping"]);
    let pinged = Instant::now();
    assert_eq!(kind(&next(&mut stream).await.unwrap()), Some(FaultKind::ClosedEarly));
    assert_eq!(pinged.elapsed().as_secs(), 10);
    assert_eq!(vendor.ended().await, RetireReason::Dead);
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_stops_reading_is_dead_and_was_read_to_the_end() {
    let vendor = Vendor::new(Sharing::Contexts { per_link: 4 }, 1, usize::MAX);
    let (mut stream, _) = vendor.open();
    let stalled = Instant::now();
    for _ in 0..4 {
        stream.send(Command::Text("a".into())).unwrap();
    }
    settle().await;
    vendor.say("1 audio 4").await;
    assert_eq!(next(&mut stream).await.map(|event| event.audio_len()), Some(4), "reading goes on");
    assert_eq!(kind(&next(&mut stream).await.unwrap()), Some(FaultKind::WriteStall));
    assert_eq!(stalled.elapsed().as_secs(), 5);
    assert_eq!(vendor.ended().await, RetireReason::Dead);
}

#[tokio::test(start_paused = true)]
async fn an_idle_link_ends_and_a_busy_one_does_not() {
    let vendor = Vendor::shared();
    vendor.keep_alive();
    let (mut stream, _) = vendor.open();
    tokio::time::sleep(IDLE * 3).await;
    assert!(vendor.link.is_usable());
    vendor.say("1 done").await;
    assert_eq!(next(&mut stream).await, Some(Event::Done));
    let done = Instant::now();
    assert_eq!(vendor.ended().await, RetireReason::Idle);
    assert_eq!(done.elapsed().as_secs(), IDLE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_old_link_takes_no_stream_and_ends_with_its_last() {
    let vendor = Vendor::shared();
    vendor.keep_alive();
    let (mut stream, _) = vendor.open();
    tokio::time::sleep(MAX_AGE + Duration::from_secs(1)).await;
    assert!(!vendor.link.is_usable());
    vendor.say("1 done").await;
    assert_eq!(next(&mut stream).await, Some(Event::Done));
    assert_eq!(vendor.ended().await, RetireReason::Age);
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_streams_finish_and_a_cut_does_not() {
    let vendor = Vendor::shared();
    let (mut stream, _) = vendor.open();
    settle().await;
    vendor.drain.begin();
    settle().await;
    assert!(!vendor.link.is_usable());
    vendor.say("1 audio 4").await;
    assert_eq!(next(&mut stream).await.map(|event| event.audio_len()), Some(4));
    vendor.drain.cut();
    assert_eq!(kind(&next(&mut stream).await.unwrap()), Some(FaultKind::ClosedMidAudio));
    assert_eq!(vendor.ended().await, RetireReason::Drain);
    let idle = Vendor::shared();
    idle.drain.begin();
    assert_eq!(idle.ended().await, RetireReason::Drain);
}

#[tokio::test(start_paused = true)]
async fn a_close_can_be_the_end_of_a_stream() {
    let vendor = Vendor::shared();
    let ((mut ended, _), (mut other, _)) = (vendor.open(), vendor.open());
    settle().await;
    vendor.close(1000, "1").await;
    assert_eq!(next(&mut ended).await, Some(Event::Done));
    assert_eq!(kind(&next(&mut other).await.unwrap()), Some(FaultKind::ClosedEarly));
    assert_eq!(vendor.ended().await, RetireReason::Dead);
}
