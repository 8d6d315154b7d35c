//! How links are kept open.

use std::collections::BTreeSet;

use tokio::time::Instant;
use voxrelay_protocol::provider::KeepAlive;

use super::*;

const EVERY: Duration = Duration::from_secs(10);

/// [`Words`] of a vendor who wants to hear of every context now and then.
#[derive(Default)]
struct Sleepy(BTreeSet<ContextId>);

impl ProviderCodec for Sleepy {
    fn encode(&mut self, context: ContextId, command: &Command, out: &mut Vec<Frame>) {
        match command {
            Command::Text(_) => drop(self.0.insert(context)),
            Command::Cancel => drop(self.0.remove(&context)),
            _ => {}
        }
        Words::default().encode(context, command, out);
    }

    fn decode(
        &mut self,
        frame: FrameRef<'_>,
        out: &mut Vec<(ContextId, Event)>,
    ) -> Result<(), UpstreamFault> {
        Words::default().decode(frame, out)
    }

    fn keep_alive(&self) -> Option<KeepAlive> {
        let frame = |context: &ContextId| (*context, Frame::Text(format!("{} alive", context.0)));
        let mut frames: Vec<_> = self.0.iter().map(frame).collect();
        if frames.is_empty() {
            frames.push((ContextId::FOREIGN, Frame::Text("alive".into())));
        }
        Some(KeepAlive { every: EVERY, frames })
    }
}

fn sleepy(unread: usize) -> Vendor {
    Vendor::with(Sharing::Contexts { per_link: 4 }, unread, usize::MAX, Box::<Sleepy>::default())
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_wants_signs_of_life_gets_them_for_the_link_and_for_each_context() {
    let vendor = sleepy(16);
    let began = Instant::now();
    assert_eq!(vendor.sent(1).await, ["alive"]);
    assert_eq!(began.elapsed(), EVERY);
    let (mut first, _) = vendor.open();
    let (mut second, _) = vendor.open();
    for stream in [&mut first, &mut second] {
        stream.send(Command::Text("a".into())).unwrap();
    }
    assert_eq!(vendor.sent(2).await, ["1 text a", "2 text a"]);
    vendor.pong().await;
    assert_eq!(vendor.sent(2).await, ["1 alive", "2 alive"]);
    assert_eq!(began.elapsed(), EVERY * 2);
    drop(first);
    assert_eq!(vendor.sent(1).await, ["1 cancel"]);
    // Nothing comes of the cancelled one, so the vendor is asked whether it is there.
    assert_eq!(vendor.sent(1).await, ["ping"]);
    vendor.pong().await;
    assert_eq!(vendor.sent(1).await, ["2 alive"]);
}

#[tokio::test(start_paused = true)]
async fn no_sign_of_life_is_given_for_a_context_cancelled_before_it_was_sent() {
    // One frame fits into the pipe: the signs of life for both wait in the link.
    let vendor = sleepy(1);
    let (mut first, _) = vendor.open();
    let (mut second, _) = vendor.open();
    for stream in [&mut first, &mut second] {
        stream.send(Command::Text("a".into())).unwrap();
    }
    assert_eq!(vendor.sent(2).await, ["1 text a", "2 text a"]);
    tokio::time::sleep(EVERY + Duration::from_millis(1)).await;
    drop(second);
    settle().await;
    assert_eq!(vendor.sent(2).await, ["1 alive", "2 cancel"]);
    vendor.nothing_sent().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_cancelled_before_the_vendor_heard_of_it_is_forgotten() {
    let vendor = sleepy(1);
    let (mut first, _) = vendor.open();
    let (mut second, _) = vendor.open();
    first.send(Command::Text("a".into())).unwrap();
    second.send(Command::Text("b".into())).unwrap();
    settle().await;
    drop(second);
    settle().await;
    assert_eq!(vendor.sent(1).await, ["1 text a"]);
    assert_eq!(vendor.sent(1).await, ["1 alive"]);
    vendor.nothing_sent().await;
}

#[tokio::test(start_paused = true)]
async fn a_reason_for_closing_is_told_to_every_stream() {
    for (reason, told) in [("throttled", FaultKind::Throttled), ("", FaultKind::ClosedEarly)] {
        let vendor = Vendor::shared();
        let (mut stream, _) = vendor.open();
        settle().await;
        vendor.close(1008, reason).await;
        assert_eq!(kind(&next(&mut stream).await.unwrap()), Some(told));
        assert_eq!(vendor.ended().await, RetireReason::Dead);
    }
}
