//! The rules of a link, on a paused clock over pipes in memory.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream as Frames};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::PollSender;
use voxrelay_protocol::provider::{Capabilities, ProviderCodec, Sharing};
use voxrelay_protocol::{
    AudioFormat, Command, ContextId, Event, FaultKind, Frame, FrameRef, SynthesisSpec, UpstreamFault,
};

use super::{Link, LinkSettings, Retired, Stream};
use crate::drain::Drain;
use crate::transport::{Incoming, Wire};

const GRACE: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn commands_arrive_in_order_and_events_come_back() {
    let mut vendor = Vendor::shared();
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
async fn a_cancel_overtakes_text_still_queued() {
    let mut vendor = Vendor::new(Sharing::Contexts { per_link: 4 }, 1, usize::MAX);
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
    let mut vendor = Vendor::shared();
    let (stream, held) = vendor.open();
    settle().await;
    drop(stream);
    settle().await;
    assert!(held.is_free());
    vendor.nothing_sent().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_abandoned_before_it_was_opened_is_never_opened() {
    let mut vendor = Vendor::shared();
    let (mut stream, held) = vendor.open();
    stream.send(Command::Text("a".into())).unwrap();
    drop(stream);
    settle().await;
    assert!(held.is_free());
    vendor.nothing_sent().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_stream_keeps_its_seat_until_the_vendor_is_done() {
    let mut vendor = Vendor::shared();
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
    let mut vendor = Vendor::shared();
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
    let mut vendor = Vendor::shared();
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
    let mut vendor = Vendor::shared();
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
    let mut vendor = Vendor::exclusive();
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
    let mut vendor = Vendor::exclusive();
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
async fn an_exclusive_link_whose_cancelled_stream_does_not_end_is_retired() {
    let mut vendor = Vendor::exclusive();
    let (mut stream, held) = vendor.open();
    stream.send(Command::Text("a".into())).unwrap();
    vendor.sent(1).await;
    drop(stream);
    assert_eq!(vendor.ended().await, Retired::Dirty);
    assert!(held.is_free());
}

#[tokio::test(start_paused = true)]
async fn an_exclusive_link_that_speaks_unasked_is_retired() {
    let mut vendor = Vendor::exclusive();
    vendor.say("1 audio 4").await;
    assert_eq!(vendor.ended().await, Retired::UnexpectedData);
}

#[tokio::test(start_paused = true)]
async fn a_link_for_one_stream_ends_with_it() {
    let mut vendor = Vendor::new(Sharing::Once, 16, usize::MAX);
    let (mut stream, _) = vendor.open();
    stream.send(Command::Text("a".into())).unwrap();
    vendor.sent(1).await;
    vendor.say("1 done").await;
    assert_eq!(next(&mut stream).await, Some(Event::Done));
    assert_eq!(vendor.ended().await, Retired::Spent);
}

#[tokio::test(start_paused = true)]
async fn the_death_of_a_link_is_told_to_every_stream_by_what_it_had_heard() {
    let mut vendor = Vendor::shared();
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
    assert_eq!(vendor.ended().await, Retired::Dead);
    let (mut late, held) = vendor.open();
    assert_eq!(kind(&next(&mut late).await.unwrap()), Some(FaultKind::ClosedEarly));
    assert!(held.is_free());
}

#[tokio::test(start_paused = true)]
async fn a_link_survives_one_broken_frame_and_not_a_second() {
    let mut vendor = Vendor::shared();
    let (mut stream, _) = vendor.open();
    vendor.say("garbage").await;
    vendor.say("1 audio 4").await;
    assert_eq!(next(&mut stream).await.map(|event| event.audio_len()), Some(4));
    vendor.say("garbage").await;
    assert_eq!(kind(&next(&mut stream).await.unwrap()), Some(FaultKind::BadFrame));
    assert_eq!(vendor.ended().await, Retired::Faulted);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_connection_fails_every_stream_with_its_kind() {
    let mut vendor = Vendor::shared();
    let (mut first, _) = vendor.open();
    let (mut second, _) = vendor.open();
    settle().await;
    vendor.say("throttled").await;
    for stream in [&mut first, &mut second] {
        assert_eq!(kind(&next(stream).await.unwrap()), Some(FaultKind::Throttled));
    }
    assert_eq!(vendor.ended().await, Retired::Faulted);
}

#[tokio::test(start_paused = true)]
async fn frames_for_strangers_and_second_ends_are_dropped() {
    let mut vendor = Vendor::shared();
    let (mut stream, _) = vendor.open();
    let (mut other, _) = vendor.open();
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
async fn a_link_that_does_not_answer_a_ping_is_dead() {
    let mut vendor = Vendor::shared();
    let (mut stream, _) = vendor.open();
    assert_eq!(vendor.sent(1).await, ["ping"]);
    vendor.pong().await;
    assert_eq!(vendor.sent(1).await, ["ping"]);
    let pinged = Instant::now();
    assert_eq!(kind(&next(&mut stream).await.unwrap()), Some(FaultKind::ClosedEarly));
    assert_eq!(pinged.elapsed().as_secs(), 10);
    assert_eq!(vendor.ended().await, Retired::Dead);
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_stops_reading_is_dead_and_was_read_to_the_end() {
    let mut vendor = Vendor::new(Sharing::Contexts { per_link: 4 }, 1, usize::MAX);
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
    assert_eq!(vendor.ended().await, Retired::Dead);
}

#[tokio::test(start_paused = true)]
async fn text_is_refused_past_its_buffer_and_taken_again_once_written() {
    let mut vendor = Vendor::new(Sharing::Contexts { per_link: 4 }, 1, 10);
    let (mut stream, _) = vendor.open();
    let text = || Command::Text("1234".into());
    stream.send(text()).unwrap();
    settle().await;
    stream.send(text()).unwrap();
    stream.send(text()).unwrap();
    assert_eq!(stream.send(text()), Err(super::SendError::Full));
    stream.send(Command::Flush).unwrap();
    vendor.sent(4).await;
    stream.send(text()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_link_ends_and_a_busy_one_does_not() {
    let mut vendor = Vendor::shared();
    vendor.keep_alive();
    let (mut stream, _) = vendor.open();
    tokio::time::sleep(IDLE * 3).await;
    assert!(vendor.link.is_usable());
    vendor.say("1 done").await;
    assert_eq!(next(&mut stream).await, Some(Event::Done));
    let done = Instant::now();
    assert_eq!(vendor.ended().await, Retired::Idle);
    assert_eq!(done.elapsed().as_secs(), IDLE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_old_link_takes_no_stream_and_ends_with_its_last() {
    let mut vendor = Vendor::shared();
    vendor.keep_alive();
    let (mut stream, _) = vendor.open();
    tokio::time::sleep(MAX_AGE + Duration::from_secs(1)).await;
    assert!(!vendor.link.is_usable());
    vendor.say("1 done").await;
    assert_eq!(next(&mut stream).await, Some(Event::Done));
    assert_eq!(vendor.ended().await, Retired::Age);
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_streams_finish_and_a_cut_does_not() {
    let mut vendor = Vendor::shared();
    let (mut stream, _) = vendor.open();
    settle().await;
    vendor.drain.begin();
    settle().await;
    assert!(!vendor.link.is_usable());
    vendor.say("1 audio 4").await;
    assert_eq!(next(&mut stream).await.map(|event| event.audio_len()), Some(4));
    vendor.drain.cut();
    assert_eq!(kind(&next(&mut stream).await.unwrap()), Some(FaultKind::ClosedMidAudio));
    assert_eq!(vendor.ended().await, Retired::Drain);
    let mut idle = Vendor::shared();
    idle.drain.begin();
    assert_eq!(idle.ended().await, Retired::Drain);
}

const BUFFER: usize = 1000;
const IDLE: Duration = Duration::from_secs(60);
const MAX_AGE: Duration = Duration::from_secs(600);

async fn next(stream: &mut Stream) -> Option<Event> {
    timeout(Duration::from_secs(3600), poll_fn(|cx| stream.poll_event(cx))).await.expect("no event")
}

fn kind(event: &Event) -> Option<FaultKind> {
    if let Event::Failed(fault) = event { Some(fault.kind) } else { None }
}

/// Lets every task run until all of them wait.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// The other end of a link, word by word.
struct Vendor {
    link: Arc<Link>,
    say: Option<mpsc::Sender<Incoming>>,
    sent: Arc<tokio::sync::Mutex<mpsc::Receiver<String>>>,
    ended: Option<oneshot::Receiver<Retired>>,
    drain: Drain,
}

impl Vendor {
    fn shared() -> Self {
        Self::new(Sharing::Contexts { per_link: 4 }, 16, usize::MAX)
    }

    fn exclusive() -> Self {
        Self::new(Sharing::Lease, 16, usize::MAX)
    }

    /// `unread` frames may be on their way to the vendor.
    fn new(sharing: Sharing, unread: usize, text_buffer: usize) -> Self {
        let (say, incoming) = mpsc::channel(8);
        let (outgoing, sent) = mpsc::channel(unread);
        let settings = LinkSettings {
            capabilities: Capabilities { sharing, words: false, idle: IDLE, cancel_grace: GRACE },
            idle: IDLE,
            max_age: MAX_AGE,
            stream_buffer: BUFFER,
            text_buffer,
        };
        let pipe = Pipe { incoming, outgoing: PollSender::new(outgoing) };
        let (link, driver) = Link::new(Box::new(pipe), Box::new(Words), &settings);
        let (tell, ended) = oneshot::channel();
        let drain = Drain::new();
        let begun = drain.clone();
        drain.spawn(async move {
            let _ = tell.send(driver.run(begun).await);
        });
        let sent = Arc::new(tokio::sync::Mutex::new(sent));
        Self { link, say: Some(say), sent, ended: Some(ended), drain }
    }

    fn open(&self) -> (Stream, Held) {
        let spec = SynthesisSpec {
            voice: "v".into(),
            model: None,
            language: None,
            format: AudioFormat::default(),
            words: false,
            options: serde_json::Map::new(),
        };
        let held = Held::default();
        (self.link.open(Box::new(spec), Box::new(Hold(held.clone()))), held)
    }

    async fn say(&self, words: &str) {
        self.say.as_ref().unwrap().send(Incoming::Text(words.into())).await.unwrap();
    }

    fn try_say(&self, words: &str) -> bool {
        self.say.as_ref().unwrap().try_send(Incoming::Text(words.into())).is_ok()
    }

    async fn pong(&self) {
        self.say.as_ref().unwrap().send(Incoming::Alive).await.unwrap();
    }

    /// Answers every ping from now on.
    fn keep_alive(&self) {
        let (sent, say) = (Arc::clone(&self.sent), self.say.clone().unwrap());
        self.drain.spawn(async move {
            while sent.lock().await.recv().await.is_some() {
                let _ = say.send(Incoming::Alive).await;
            }
        });
    }

    fn hang_up(&mut self) {
        self.say = None;
    }

    async fn sent(&self, count: usize) -> Vec<String> {
        let mut sent = self.sent.lock().await;
        let mut frames = Vec::new();
        while frames.len() < count {
            let frame = timeout(Duration::from_secs(3600), sent.recv()).await.expect("nothing sent");
            frames.push(frame.expect("the link has ended"));
        }
        frames
    }

    async fn nothing_sent(&self) {
        settle().await;
        assert_eq!(self.sent.lock().await.try_recv().ok(), None);
    }

    async fn ended(&mut self) -> Retired {
        let ended = self.ended.take().unwrap();
        timeout(Duration::from_secs(3600), ended).await.expect("the link goes on").unwrap()
    }
}

/// Whether a stream is over upstream.
#[derive(Clone, Default)]
struct Held(Arc<AtomicBool>);

impl Held {
    fn is_free(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

struct Hold(Held);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}

/// A transport in memory.
struct Pipe {
    incoming: mpsc::Receiver<Incoming>,
    outgoing: PollSender<String>,
}

fn cut<T>(_: T) -> UpstreamFault {
    UpstreamFault::new(FaultKind::Reset, "the pipe is gone")
}

impl Frames for Pipe {
    type Item = Result<Incoming, UpstreamFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.incoming.poll_recv(cx).map(|incoming| incoming.map(Ok))
    }
}

impl Sink<Frame> for Pipe {
    type Error = UpstreamFault;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamFault>> {
        self.outgoing.poll_reserve(cx).map_err(cut)
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Frame) -> Result<(), UpstreamFault> {
        let Frame::Text(text) = frame else { panic!("binary") };
        self.outgoing.send_item(text).map_err(cut)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), UpstreamFault>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), UpstreamFault>> {
        Poll::Ready(Ok(()))
    }
}

impl Wire for Pipe {
    fn start_ping(mut self: Pin<&mut Self>) -> Result<bool, UpstreamFault> {
        self.outgoing.send_item("ping".into()).map(|()| true).map_err(cut)
    }
}

/// A wire anyone can read: `<context> <command>` and `<context> <event>`.
struct Words;

impl ProviderCodec for Words {
    fn encode(&mut self, context: ContextId, command: &Command, out: &mut Vec<Frame>) {
        let words = match command {
            Command::Start(_) => return,
            Command::Text(text) => format!("{} text {text}", context.0),
            Command::Flush => format!("{} flush", context.0),
            Command::End => format!("{} end", context.0),
            Command::Cancel => format!("{} cancel", context.0),
        };
        out.push(Frame::Text(words));
    }

    fn decode(
        &mut self,
        frame: FrameRef<'_>,
        out: &mut Vec<(ContextId, Event)>,
    ) -> Result<(), UpstreamFault> {
        let FrameRef::Text(text) = frame else { panic!("binary") };
        let words: Vec<_> = text.split(' ').collect();
        let (context, event) = match words[..] {
            [context, "audio", n] => (context, Event::Audio(Bytes::from(vec![0; n.parse().unwrap()]))),
            [context, "flushed"] => (context, Event::Flushed),
            [context, "done"] => (context, Event::Done),
            ["throttled"] => return Err(UpstreamFault::new(FaultKind::Throttled, "")),
            _ => return Err(UpstreamFault::new(FaultKind::BadFrame, "")),
        };
        out.push((ContextId(context.parse().unwrap()), event));
        Ok(())
    }
}
