//! The rules of a pool, on a paused clock; here the vendor in memory.

mod health;
mod rules;

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::{Sink, Stream as Frames};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use voxrelay_protocol::provider::{Account, Capabilities, Provider, ProviderCodec};
use voxrelay_protocol::{AudioFormat, Command, ContextId, Event, Fault, FaultCode, Frame, FrameRef};

use super::*;
use crate::config::{PoolSettings, Watchdogs};
use crate::transport::{Incoming, Wire};

const SOON: Duration = Duration::from_secs(60);

async fn end(lease: &mut Lease) -> Result<usize, FaultKind> {
    let mut heard = 0;
    loop {
        match poll_fn(|cx| lease.poll_event(cx)).await.unwrap() {
            Event::Done => return Ok(heard),
            Event::Failed(fault) => return Err(fault.kind),
            event => heard += event.audio_len(),
        }
    }
}

#[derive(Clone)]
struct World {
    vendor: Arc<Vendor>,
    pools: Pools,
    upstream: Arc<Upstream>,
    drain: Drain,
}

impl World {
    fn new(change: impl FnOnce(&mut Upstream)) -> Self {
        let mut upstream = Upstream {
            name: "memory".into(),
            provider: &Memory { per_link: 1 },
            account: Account::default(),
            streams: 50,
            pool: PoolSettings {
                warm: 0,
                max_links: 20,
                idle: Duration::from_secs(60),
                max_age: Duration::from_secs(600),
                dials_per_second: 50.0,
            },
            watchdogs: Watchdogs::default(),
        };
        change(&mut upstream);
        let upstream = Arc::new(upstream);
        let limits = Limits { queue_streams: 4, ..Limits::default() };
        let (vendor, drain) = (Arc::new(Vendor::default()), Drain::new());
        let (dialled, tasks) = (Arc::clone(&vendor), drain.clone());
        let dialer: Dialer = Arc::new(move |_, _, _| Box::pin(Arc::clone(&dialled).dial(tasks.clone())));
        let pools = Pools::with_dialer(&[Arc::clone(&upstream)], &drain, &limits, &dialer);
        Self { vendor, pools, upstream, drain }
    }

    /// A vendor whose links carry so many streams.
    fn shared(per_link: usize) -> Self {
        Self::new(|upstream| upstream.provider = Box::leak(Box::new(Memory { per_link })))
    }

    async fn checkout(&self, voice: &str, deadline: Duration) -> Result<Lease, CheckoutError> {
        self.checkout_as("key", voice, deadline).await
    }

    async fn checkout_as(&self, key: &str, voice: &str, deadline: Duration) -> Result<Lease, CheckoutError> {
        let spec = SynthesisSpec {
            voice: voice.into(),
            model: None,
            language: None,
            format: AudioFormat::default(),
            words: false,
            options: Map::new(),
        };
        self.pools.checkout(&self.upstream, &Asker::new(&key.into()), spec, deadline).await
    }

    async fn lease(&self, voice: &str) -> Lease {
        self.checkout(voice, SOON).await.unwrap()
    }

    fn counts(&self) -> PoolCounts {
        self.pools.counts(&self.upstream)
    }
}

/// A vendor of exclusive links that answers text with as many bytes, and `hang` with nothing.
#[derive(Default)]
struct Vendor {
    dials: AtomicUsize,
    deaths: AtomicUsize,
    delay: Mutex<Duration>,
    fault: Mutex<Option<FaultKind>>,
    hang_up: Notify,
}

impl Vendor {
    fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }

    fn set_delay(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    fn fail(&self, fault: Option<FaultKind>) {
        *self.fault.lock().unwrap() = fault;
    }

    /// The next so many texts kill their links.
    fn die_on_text(&self, times: usize) {
        self.deaths.store(times, Ordering::SeqCst);
    }

    /// Closes every link there is.
    fn hang_up(&self) {
        self.hang_up.notify_waiters();
    }

    async fn dial(self: Arc<Self>, tasks: Drain) -> Result<Transport, UpstreamFault> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        let (delay, fault) = (*self.delay.lock().unwrap(), *self.fault.lock().unwrap());
        sleep(delay).await;
        if let Some(kind) = fault {
            return Err(UpstreamFault::new(kind, ""));
        }
        let (out, requests) = mpsc::channel(64);
        let (answers, incoming) = mpsc::channel(64);
        tasks.spawn(async move {
            let vendor = Arc::clone(&self);
            tokio::select! {
                () = vendor.hang_up.notified() => {}
                () = self.answer(requests, answers) => {}
            }
        });
        Ok(Box::new(Pipe { incoming, out }))
    }

    async fn answer(self: Arc<Self>, mut requests: mpsc::Receiver<String>, answers: mpsc::Sender<Incoming>) {
        while let Some(request) = requests.recv().await {
            if request.ends_with(" text hang") {
                while requests.recv().await.is_some() {}
                return;
            }
            let dies = |left: usize| left.checked_sub(1);
            if self.deaths.fetch_update(Ordering::SeqCst, Ordering::SeqCst, dies).is_ok() {
                return;
            }
            let _ = answers.send(Incoming::Text(request.into())).await;
        }
    }
}

struct Pipe {
    incoming: mpsc::Receiver<Incoming>,
    out: mpsc::Sender<String>,
}

impl Frames for Pipe {
    type Item = Result<Incoming, UpstreamFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.incoming.poll_recv(cx).map(|incoming| incoming.map(Ok))
    }
}

impl Sink<Frame> for Pipe {
    type Error = UpstreamFault;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), UpstreamFault>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, frame: Frame) -> Result<(), UpstreamFault> {
        let Frame::Text(text) = frame else { panic!("binary") };
        self.out.try_send(text).map_err(|_| UpstreamFault::new(FaultKind::Reset, ""))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), UpstreamFault>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), UpstreamFault>> {
        Poll::Ready(Ok(()))
    }
}

impl Wire for Pipe {
    fn start_ping(self: Pin<&mut Self>) -> Result<bool, UpstreamFault> {
        Ok(false)
    }
}

/// A vendor without contexts; its voice is fixed when it is dialled.
struct Memory {
    per_link: usize,
}

impl Provider for Memory {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn default_url(&self) -> &'static str {
        ""
    }

    fn capabilities(&self, _: &Account) -> Capabilities {
        let (idle, cancel_grace) = (SOON, Duration::from_secs(1));
        let sharing = match self.per_link {
            1 => Sharing::Lease,
            per_link => Sharing::Contexts { per_link },
        };
        Capabilities { sharing, words: false, idle, cancel_grace }
    }

    fn format(&self, wanted: &AudioFormat) -> AudioFormat {
        *wanted
    }

    fn validate(&self, _: &str, _: &Map<String, Value>) -> Result<(), Fault> {
        Ok(())
    }

    fn dial(&self, _: &Account, spec: &SynthesisSpec) -> Dial {
        Dial::WebSocket { url: spec.voice.clone(), headers: Vec::new() }
    }

    fn codec(&self, _: &Account, _: u64) -> Box<dyn ProviderCodec> {
        Box::new(MemoryCodec)
    }
}

/// Every message begins with its context.
struct MemoryCodec;

impl ProviderCodec for MemoryCodec {
    fn encode(&mut self, ContextId(context): ContextId, command: &Command, out: &mut Vec<Frame>) {
        out.push(Frame::Text(match command {
            Command::Text(text) => format!("{context} text {text}"),
            Command::End | Command::Cancel => format!("{context} end"),
            Command::Start(_) | Command::Flush => return,
        }));
    }

    fn decode(
        &mut self,
        frame: FrameRef<'_>,
        out: &mut Vec<(ContextId, Event)>,
    ) -> Result<(), UpstreamFault> {
        let FrameRef::Text(text) = frame else { panic!("binary") };
        let (context, text) = text.split_once(' ').unwrap();
        let event = match text.strip_prefix("text ") {
            Some(text) => Event::Audio(text.to_owned().into()),
            None => Event::Done,
        };
        out.push((ContextId(context.parse().unwrap()), event));
        Ok(())
    }
}
