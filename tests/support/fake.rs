//! A Cartesia that speaks from the published facts and not from the relay's own codec, over real
//! WebSockets on a free port. Its audio is a function of the text, so that every byte heard can be
//! told from every other.
//!
//! ```ignore
//! let fake = FakeCartesia::start(Behaviour::default()).await;
//! // ... an upstream with `url: fake.url()` ...
//! assert_eq!(heard, watermark("the text", Behaviour::default().bytes_per_char));
//! fake.change(|behaviour| behaviour.silent = true);
//! assert_eq!(fake.stats().cancels, 0);
//! ```

#![allow(dead_code)] // each test file uses its own part
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

#[path = "fake_context.rs"]
mod context;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};
use voxrelay::drain::Drain;

use self::context::Context;

/// What the vendor does; may be changed while it runs. New contexts and sockets go by it.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// From text that is due to its first chunk.
    pub first_audio: Duration,
    /// Between chunks; zero sends them all at once.
    pub pace: Duration,
    /// Audio bytes of one chunk; a multiple of the sample size.
    pub chunk_bytes: usize,
    /// Audio bytes of one character; a multiple of the sample size.
    pub bytes_per_char: usize,
    /// How long text may wait for more when the client does not say.
    pub buffer_delay: Duration,
    /// The key that is let in; any when absent.
    pub key: Option<String>,
    /// Answer upgrades with this status, and a `Retry-After` in seconds.
    pub refuse: Option<(u16, Option<u64>)>,
    /// Never answer an upgrade.
    pub freeze: bool,
    /// Run at most so many contexts, as the plan says.
    pub contexts_max: usize,
    /// Cut a socket after so many chunks of one context.
    pub die_after: Option<usize>,
    /// Say nothing to any text.
    pub silent: bool,
    /// Finish without audio.
    pub mute: bool,
    /// Frames that are no messages, before the first chunk.
    pub garbage: usize,
    /// Send chunks of a context that nobody opened, before each of the real ones.
    pub strangers: bool,
    /// Say `done` twice.
    pub done_twice: bool,
    /// Read nothing after the first message.
    pub never_read: bool,
    /// Answer text with this error.
    pub error: Option<FakeError>,
    /// Chunks that still come after a cancel.
    pub late_chunks: usize,
    /// Whether a cancelled context ends with a `done`.
    pub done_after_cancel: bool,
    /// Close a socket that has served and then been without traffic for this long.
    pub idle: Option<Duration>,
}

/// An error in band.
#[derive(Debug, Clone, Copy)]
pub struct FakeError {
    /// An HTTP status.
    pub status: u16,
    /// From 2026-03-01 on; `None` writes the older shape.
    pub code: Option<&'static str>,
    /// Whether it names its context.
    pub with_context: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            first_audio: Duration::ZERO,
            pace: Duration::ZERO,
            chunk_bytes: 960,
            bytes_per_char: 64,
            buffer_delay: Duration::from_secs(3),
            key: None,
            refuse: None,
            freeze: false,
            contexts_max: usize::MAX,
            die_after: None,
            silent: false,
            mute: false,
            garbage: 0,
            strangers: false,
            done_twice: false,
            never_read: false,
            error: None,
            late_chunks: 2,
            done_after_cancel: true,
            idle: None,
        }
    }
}

/// What the vendor has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FakeStats {
    /// Upgrades asked for, answered or not.
    pub upgrades: usize,
    /// Sockets opened so far.
    pub sockets: usize,
    /// Sockets open now.
    pub sockets_live: usize,
    /// Contexts opened so far.
    pub contexts: usize,
    /// Contexts running now.
    pub contexts_live: usize,
    /// The most that ran at once.
    pub contexts_most: usize,
    /// Cancels of running contexts.
    pub cancels: usize,
    /// Characters received.
    pub characters: usize,
}

/// The audio of a text: each byte depends on its character and on the place of it.
pub fn watermark(text: &str, bytes_per_char: usize) -> Vec<u8> {
    let mut audio = Vec::with_capacity(text.len() * bytes_per_char);
    for (place, letter) in text.chars().enumerate() {
        let seed = (letter as usize).wrapping_mul(31).wrapping_add(place.wrapping_mul(7));
        audio.extend((0..bytes_per_char).map(|k| (seed.wrapping_add(k * 13) & 0xff) as u8));
    }
    audio
}

struct World {
    behaviour: Mutex<Behaviour>,
    stats: Mutex<FakeStats>,
    drain: Drain,
}

impl World {
    fn behaviour(&self) -> Behaviour {
        self.behaviour.lock().unwrap().clone()
    }

    fn count(&self, change: impl FnOnce(&mut FakeStats)) {
        change(&mut self.stats.lock().unwrap());
    }
}

/// A running fake; it ends when dropped.
pub struct FakeCartesia {
    address: SocketAddr,
    world: Arc<World>,
}

impl FakeCartesia {
    /// Starts one on a free port.
    pub async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = Arc::new(World {
            behaviour: Mutex::new(behaviour),
            stats: Mutex::default(),
            drain: Drain::new(),
        });
        let accepting = Arc::clone(&world);
        world.drain.spawn_until_cut(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let world = Arc::clone(&accepting);
                accepting.drain.spawn_until_cut(async move { serve(world, tcp).await });
            }
        });
        Self { address, world }
    }

    /// The address an upstream is given.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// What it has seen so far.
    pub fn stats(&self) -> FakeStats {
        *self.world.stats.lock().unwrap()
    }

    /// Changes what it does from now on.
    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.world.behaviour.lock().unwrap());
    }
}

impl Drop for FakeCartesia {
    fn drop(&mut self) {
        self.world.drain.cut();
    }
}

type Socket = WebSocketStream<TcpStream>;
/// Frames on their way out of one socket; `None` cuts it.
type Out = mpsc::Sender<Option<String>>;

async fn serve(world: Arc<World>, tcp: TcpStream) {
    tcp.set_nodelay(true).unwrap();
    world.count(|stats| stats.upgrades += 1);
    let behaviour = world.behaviour();
    if behaviour.freeze {
        return sleep(Duration::from_secs(3600)).await;
    }
    if let Some((status, retry_after)) = behaviour.refuse {
        return refuse(tcp, status, retry_after).await;
    }
    #[allow(clippy::result_large_err)] // the library's own type
    let gate = |request: &Request, response: Response| judge(&behaviour, request).map_or(Ok(response), Err);
    let Ok(socket) = accept_hdr_async(tcp, gate).await else { return };
    world.count(|stats| {
        stats.sockets += 1;
        stats.sockets_live += 1;
    });
    converse(&world, socket).await;
    world.count(|stats| stats.sockets_live -= 1);
}

/// Answers an upgrade like a web server that knows nothing of WebSockets.
pub async fn refuse(mut tcp: TcpStream, status: u16, retry_after: Option<u64>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && tcp.read_buf(&mut head).await.unwrap_or(0) > 0 {}
    let retry_after = retry_after.map_or(String::new(), |seconds| format!("Retry-After: {seconds}\r\n"));
    let page = "<html>no</html>".repeat(1000);
    // What a vendor says of an address is data; what comes from anywhere else is a page.
    let kind = if matches!(status, 400 | 404 | 422) { "application/json" } else { "text/html" };
    let answer = format!(
        "HTTP/1.1 {status} Some Words\r\nContent-Type: {kind}\r\nLocation: /elsewhere\r\n{retry_after}\
         Content-Length: {}\r\n\r\n{page}",
        page.len()
    );
    let _ = tcp.write_all(answer.as_bytes()).await;
    let _ = tcp.shutdown().await;
}

/// Why an upgrade is refused, if it is.
fn judge(behaviour: &Behaviour, request: &Request) -> Option<ErrorResponse> {
    let refuse = |status: u16| {
        let mut response = ErrorResponse::new(None);
        *response.status_mut() = status.try_into().unwrap();
        Some(response)
    };
    if request.uri().path() != "/tts/websocket" {
        return refuse(404);
    }
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let query = request.uri().query().unwrap_or_default();
    let asked = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    if header("cartesia-version").or(asked("cartesia_version")).is_none() {
        return refuse(400);
    }
    let key = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let key = key.or(header("x-api-key")).or(asked("api_key")).or(asked("access_token"));
    match (&behaviour.key, key) {
        (None, Some(_)) => None,
        (Some(wanted), Some(key)) if wanted == key => None,
        _ => refuse(401),
    }
}

async fn converse(world: &Arc<World>, mut socket: Socket) {
    let (out, mut outgoing) = mpsc::channel::<Option<String>>(64);
    let mut contexts: HashMap<String, mpsc::Sender<Value>> = HashMap::new();
    let mut served = false;
    loop {
        served |= !contexts.is_empty();
        contexts.retain(|_, inbox| !inbox.is_closed());
        let rests = served && contexts.is_empty();
        let idle = world.behaviour().idle.filter(|_| rests).unwrap_or(Duration::from_secs(3600));
        tokio::select! {
            biased;
            frame = outgoing.recv() => {
                let mut frame = frame.unwrap();
                // All that is ready, then one flush.
                loop {
                    let Some(text) = frame else {
                        let _ = socket.flush().await;
                        return;
                    };
                    if socket.feed(Message::text(text)).await.is_err() {
                        return;
                    }
                    match outgoing.try_recv() {
                        Ok(next) => frame = next,
                        Err(_) => break,
                    }
                }
                if socket.flush().await.is_err() {
                    return;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let request: Value = serde_json::from_str(&text).expect("a client sends JSON");
                    route(world, &mut contexts, request, &out).await;
                    if world.behaviour().never_read {
                        return sleep(Duration::from_secs(3600)).await;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return,
            },
            () = sleep(idle) => {
                let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
                return;
            }
        }
    }
}

async fn route(
    world: &Arc<World>,
    contexts: &mut HashMap<String, mpsc::Sender<Value>>,
    request: Value,
    out: &Out,
) {
    let name = request["context_id"].as_str().expect("every message names its context").to_owned();
    if !contexts.contains_key(&name) {
        if request["cancel"] == true {
            return;
        }
        let (inbox, requests) = mpsc::channel(1024);
        contexts.insert(name.clone(), inbox);
        let context = Context::new(world, name.clone(), &request, requests, out.clone());
        world.drain.spawn_until_cut(context.run());
    }
    let _ = contexts[&name].send(request).await;
}
