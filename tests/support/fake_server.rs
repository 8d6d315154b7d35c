//! What the fakes of vendors have in common, over real WebSockets on a free port: upgrades, pace, cuts,
//! idle limits, counting. A vendor is a [`Talk`]: it hears messages and lays frames onto lines, one line
//! per context; the frames leave each line in order and at the pace of the fake.

#![allow(dead_code)] // each test file uses its own part
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};
use voxrelay::drain::Drain;

use crate::fake::{FakeStats, refuse, watermark};

const FOREVER: Duration = Duration::from_secs(3600);

/// What the vendor does; may be changed while it runs.
#[derive(Debug, Clone)]
pub struct Knobs {
    /// Between chunks; zero sends them all at once.
    pub pace: Duration,
    /// Audio bytes of one chunk.
    pub chunk_bytes: usize,
    /// Audio bytes of one character; a multiple of the sample size.
    pub bytes_per_char: usize,
    /// The key that is let in; any when absent.
    pub key: Option<String>,
    /// Answer upgrades with this status, and a `Retry-After` in seconds.
    pub refuse: Option<(u16, Option<u64>)>,
    /// Cut a socket after so many chunks.
    pub die_after: Option<usize>,
    /// Answer nothing.
    pub silent: bool,
    /// Finish without audio.
    pub mute: bool,
    /// Frames that are no messages, before audio.
    pub garbage: usize,
    /// Send what belongs to nobody: audio of unknown contexts, or audio before any text.
    pub strangers: bool,
    /// Say the end of a context twice.
    pub done_twice: bool,
    /// Neither read nor write once a first message has come, and keep the socket open.
    pub half_open: bool,
    /// Answer text with this.
    pub fault: Option<FakeFault>,
    /// Chunks that still come after a cancel of what had not been generated.
    pub late_chunks: usize,
    /// Whether a cancel is answered.
    pub cancel_answered: bool,
    /// Close a socket that has served and then been without traffic for this long.
    pub idle: Option<Duration>,
    /// Refuse to flush, with a warning.
    pub flush_limit: bool,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            pace: Duration::ZERO,
            chunk_bytes: 960,
            bytes_per_char: 64,
            key: None,
            refuse: None,
            die_after: None,
            silent: false,
            mute: false,
            garbage: 0,
            strangers: false,
            done_twice: false,
            half_open: false,
            fault: None,
            late_chunks: 2,
            cancel_answered: true,
            idle: None,
            flush_limit: false,
        }
    }
}

/// An error: a message, a close, or both.
#[derive(Debug, Clone, Default)]
pub struct FakeFault {
    pub message: Option<Value>,
    /// Whether the message names its context, where there are contexts.
    pub with_context: bool,
    pub close: Option<(u16, &'static str)>,
}

/// A frame to come.
pub enum Out {
    /// Paced audio.
    Audio(Message),
    /// Anything else.
    Note(Message),
    /// The last word of a context.
    Last(Message),
    /// A close frame.
    Close(u16, &'static str),
}

/// The frames of one context.
pub struct Line {
    pub queue: VecDeque<Out>,
    due: Instant,
}

/// The lines of one socket.
#[derive(Default)]
pub struct Lines(pub BTreeMap<String, Line>);

impl Lines {
    pub fn push(&mut self, name: &str, out: Out) {
        let line = self
            .0
            .entry(name.to_owned())
            .or_insert_with(|| Line { queue: VecDeque::new(), due: Instant::now() });
        if line.queue.is_empty() {
            line.due = Instant::now();
        }
        line.queue.push_back(out);
    }

    pub fn note(&mut self, name: &str, message: &Value) {
        self.push(name, Out::Note(Message::text(message.to_string())));
    }

    /// Drops all but so many chunks of audio, and every note.
    pub fn cut(&mut self, name: &str, chunks: usize) {
        if let Some(line) = self.0.get_mut(name) {
            line.queue.retain(|out| matches!(out, Out::Audio(_)));
            line.queue.truncate(chunks);
        }
    }

    fn next(&self) -> Option<(String, Instant)> {
        let waiting = self.0.iter().filter(|(_, line)| !line.queue.is_empty());
        waiting.min_by_key(|(_, line)| line.due).map(|(name, line)| (name.clone(), line.due))
    }
}

/// What is vendor about a fake, for one socket.
pub trait Talk: Send {
    /// What is said before anything is heard.
    fn greet(&mut self, lines: &mut Lines);

    /// One message from the client.
    fn hear(&mut self, world: &World, message: &Value, lines: &mut Lines);

    /// What is said when the socket slept too long, before it is closed.
    fn timed_out(&self) -> (Option<Value>, u16, &'static str);
}

/// Opens a conversation for an upgrade, or refuses it with a status.
pub type Judge = fn(&Knobs, &Request) -> Result<Box<dyn Talk>, u16>;

pub struct World {
    knobs: Mutex<Knobs>,
    stats: Mutex<FakeStats>,
    pub messages: Mutex<Vec<Value>>,
    pub upgrades: Mutex<Vec<String>>,
    drain: Drain,
}

impl World {
    pub fn knobs(&self) -> Knobs {
        self.knobs.lock().unwrap().clone()
    }

    pub fn count(&self, change: impl FnOnce(&mut FakeStats)) {
        change(&mut self.stats.lock().unwrap());
    }

    pub fn opened(&self) {
        self.count(|stats| {
            stats.contexts += 1;
            stats.contexts_live += 1;
            stats.contexts_most = stats.contexts_most.max(stats.contexts_live);
        });
    }
}

/// A running fake; it ends when dropped.
pub struct Fake {
    address: SocketAddr,
    world: Arc<World>,
}

impl Fake {
    /// Starts one on a free port.
    pub async fn start(judge: Judge, knobs: Knobs) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = Arc::new(World {
            knobs: Mutex::new(knobs),
            stats: Mutex::default(),
            messages: Mutex::default(),
            upgrades: Mutex::default(),
            drain: Drain::new(),
        });
        let accepting = Arc::clone(&world);
        world.drain.spawn_until_cut(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let world = Arc::clone(&accepting);
                accepting.drain.spawn_until_cut(async move { serve(&world, tcp, judge).await });
            }
        });
        Self { address, world }
    }

    /// The address an upstream is given.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub fn stats(&self) -> FakeStats {
        *self.world.stats.lock().unwrap()
    }

    /// Every message so far, in the order of arrival.
    pub fn messages(&self) -> Vec<Value> {
        self.world.messages.lock().unwrap().clone()
    }

    /// Path and query of every upgrade so far.
    pub fn upgrades(&self) -> Vec<String> {
        self.world.upgrades.lock().unwrap().clone()
    }

    pub fn change(&self, change: impl FnOnce(&mut Knobs)) {
        change(&mut self.world.knobs.lock().unwrap());
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.world.drain.cut();
    }
}

/// One parameter of a query, as it was written.
pub fn asked(request: &Request, name: &str) -> Option<String> {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

/// The audio of what has not been spoken yet, in chunks, each with its characters.
pub fn chunks(text: &str, spoken: usize, knobs: &Knobs) -> Vec<(Vec<u8>, Vec<char>)> {
    if knobs.mute {
        return Vec::new();
    }
    let audio = &watermark(text, knobs.bytes_per_char)[spoken * knobs.bytes_per_char..];
    let letters: Vec<char> = text.chars().skip(spoken).collect();
    let per_chunk = (knobs.chunk_bytes / knobs.bytes_per_char).max(1);
    let mut letters = letters.chunks(per_chunk).map(<[char]>::to_vec);
    audio
        .chunks(knobs.chunk_bytes)
        .map(|chunk| (chunk.to_vec(), letters.next().unwrap_or_default()))
        .collect()
}

type Socket = WebSocketStream<TcpStream>;

async fn serve(world: &Arc<World>, tcp: TcpStream, judge: Judge) {
    tcp.set_nodelay(true).unwrap();
    world.count(|stats| stats.upgrades += 1);
    let knobs = world.knobs();
    if let Some((status, retry_after)) = knobs.refuse {
        return refuse(tcp, status, retry_after).await;
    }
    let mut talk = None;
    #[allow(clippy::result_large_err)] // the library's own type
    let gate = |request: &Request, response: Response| match judge(&knobs, request) {
        Ok(opened) => {
            world.upgrades.lock().unwrap().push(request.uri().to_string());
            talk = Some(opened);
            Ok(response)
        }
        Err(status) => {
            let mut response = ErrorResponse::new(None);
            *response.status_mut() = status.try_into().unwrap();
            Err(response)
        }
    };
    let Ok(socket) = accept_hdr_async(tcp, gate).await else { return };
    world.count(|stats| {
        stats.sockets += 1;
        stats.sockets_live += 1;
    });
    converse(world, socket, talk.unwrap()).await;
    world.count(|stats| stats.sockets_live -= 1);
}

async fn converse(world: &World, mut socket: Socket, mut talk: Box<dyn Talk>) {
    let mut lines = Lines::default();
    let (mut chunks, mut served, mut heard) = (0, false, Instant::now());
    talk.greet(&mut lines);
    loop {
        let knobs = world.knobs();
        let next = lines.next();
        let due = next.as_ref().map_or_else(|| Instant::now() + FOREVER, |(_, due)| *due);
        let idle = knobs.idle.filter(|_| served && next.is_none()).unwrap_or(FOREVER);
        tokio::select! {
            biased;
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    heard = Instant::now();
                    let message: Value = serde_json::from_str(&text).expect("a client sends JSON");
                    world.messages.lock().unwrap().push(message.clone());
                    if knobs.half_open {
                        return sleep(FOREVER).await;
                    }
                    talk.hear(world, &message, &mut lines);
                    served = true;
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return,
            },
            () = sleep_until(due) => {
                let Some(line) = next.and_then(|(name, _)| lines.0.get_mut(&name)) else { continue };
                let Some(out) = line.queue.pop_front() else { continue };
                let (message, audio) = match out {
                    Out::Audio(message) => (message, true),
                    Out::Note(message) => (message, false),
                    Out::Last(message) => {
                        // Before it is written: who has read it may open the next one.
                        world.count(|stats| stats.contexts_live -= 1);
                        (message, false)
                    }
                    Out::Close(code, reason) => return close(&mut socket, code, reason).await,
                };
                if audio {
                    if knobs.die_after.is_some_and(|most| chunks >= most) {
                        let _ = socket.flush().await;
                        return;
                    }
                    chunks += 1;
                    line.due += knobs.pace;
                }
                heard = Instant::now();
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            () = sleep_until(heard + idle) => {
                let (message, code, reason) = talk.timed_out();
                if let Some(message) = message {
                    let _ = socket.send(Message::text(message.to_string())).await;
                }
                return close(&mut socket, code, reason).await;
            }
        }
    }
}

async fn close(socket: &mut Socket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code: code.into(), reason: reason.into() };
    let _ = socket.send(Message::Close(Some(frame))).await;
    let _ = timeout(Duration::from_secs(1), async { while let Some(Ok(_)) = socket.next().await {} }).await;
}
