//! The rules of a link, on a paused clock over pipes in memory; here the pipes and the vendor at their
//! other end.

mod alive;
mod ends;
mod streams;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream as Frames};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::PollSender;
use voxrelay_protocol::provider::{Capabilities, ProviderCodec, Sharing};
use voxrelay_protocol::{
    AudioFormat, Command, ContextId, Event, FaultKind, Frame, FrameRef, SynthesisSpec, UpstreamFault,
};

use super::{Link, LinkSettings, Meter, RetireReason, Stream};
use crate::drain::Drain;
use crate::metrics::UpstreamMetrics;
use crate::transport::{Incoming, Wire};

const GRACE: Duration = Duration::from_secs(1);
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
    say: Mutex<Option<mpsc::Sender<Incoming>>>,
    sent: Arc<tokio::sync::Mutex<mpsc::Receiver<String>>>,
    ended: Mutex<Option<oneshot::Receiver<RetireReason>>>,
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
        Self::with(sharing, unread, text_buffer, Box::new(Words::default()))
    }

    fn with(sharing: Sharing, unread: usize, text_buffer: usize, codec: Box<dyn ProviderCodec>) -> Self {
        let (say, incoming) = mpsc::channel(8);
        let (outgoing, sent) = mpsc::channel(unread);
        let settings = LinkSettings {
            capabilities: Capabilities { sharing, words: false, idle: IDLE, cancel_grace: GRACE },
            idle: IDLE,
            max_age: MAX_AGE,
            stream_buffer: BUFFER,
            text_buffer,
        };
        let meter = Meter::dialing(&UpstreamMetrics::of("other"));
        let pipe = Pipe { incoming, outgoing: PollSender::new(outgoing) };
        let (link, driver) = Link::new(Box::new(pipe), codec, &settings, meter);
        let (tell, ended) = oneshot::channel();
        let drain = Drain::new();
        let begun = drain.clone();
        drain.spawn(async move {
            let _ = tell.send(driver.run(begun).await);
        });
        let sent = Arc::new(tokio::sync::Mutex::new(sent));
        Self { link, say: Mutex::new(Some(say)), sent, ended: Mutex::new(Some(ended)), drain }
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
        self.voice().send(Incoming::Text(words.into())).await.unwrap();
    }

    fn try_say(&self, words: &str) -> bool {
        self.voice().try_send(Incoming::Text(words.into())).is_ok()
    }

    async fn close(&self, code: u16, reason: &str) {
        self.voice().send(Incoming::Closed(code, reason.into())).await.unwrap();
    }

    async fn pong(&self) {
        self.voice().send(Incoming::Alive).await.unwrap();
    }

    /// Answers every ping from now on.
    fn keep_alive(&self) {
        let (sent, say) = (Arc::clone(&self.sent), self.voice());
        self.drain.spawn(async move {
            while sent.lock().await.recv().await.is_some() {
                let _ = say.send(Incoming::Alive).await;
            }
        });
    }

    fn voice(&self) -> mpsc::Sender<Incoming> {
        self.say.lock().unwrap().clone().unwrap()
    }

    fn hang_up(&self) {
        *self.say.lock().unwrap() = None;
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

    async fn ended(&self) -> RetireReason {
        let ended = self.ended.lock().unwrap().take().unwrap();
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

/// A wire anyone can read: `<context> <command>` and `<context> <event>`. Text that begins with `late`
/// is kept until `go` comes; a close whose reason is a context is the end of it.
#[derive(Default)]
struct Words {
    kept: Vec<(ContextId, Frame)>,
    may_go: bool,
    over: Option<ContextId>,
}

impl ProviderCodec for Words {
    fn encode(&mut self, context: ContextId, command: &Command, out: &mut Vec<Frame>) {
        let words = match command {
            Command::Start(_) => return,
            Command::Text(text) => format!("{} text {text}", context.0),
            Command::Flush => format!("{} flush", context.0),
            Command::End => format!("{} end", context.0),
            Command::Cancel => format!("{} cancel", context.0),
        };
        match command {
            Command::Text(text) if text.starts_with("late") => self.kept.push((context, Frame::Text(words))),
            Command::Cancel => {
                self.kept.retain(|(kept, _)| *kept != context);
                out.push(Frame::Text(words));
            }
            _ => out.push(Frame::Text(words)),
        }
    }

    fn settle(&mut self, frames: &mut Vec<(ContextId, Frame)>, events: &mut Vec<(ContextId, Event)>) {
        events.extend(self.over.take().map(|context| (context, Event::Done)));
        if self.may_go {
            frames.append(&mut self.kept);
        }
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
            ["go"] => {
                self.may_go = true;
                return Ok(());
            }
            ["throttled"] => return Err(UpstreamFault::new(FaultKind::Throttled, "")),
            _ => return Err(UpstreamFault::new(FaultKind::BadFrame, "")),
        };
        out.push((ContextId(context.parse().unwrap()), event));
        Ok(())
    }

    fn closed(&mut self, _: u16, reason: &str) -> Option<UpstreamFault> {
        self.over = reason.parse().ok().map(ContextId);
        (reason == "throttled").then(|| UpstreamFault::new(FaultKind::Throttled, ""))
    }
}
