//! What the fake vendors of one voice at a time have in common: a port, an upgrade that is judged, what
//! they do and what they have seen. How they speak is each one's own.

#![allow(dead_code)] // each test file uses its own part
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};
use voxrelay::drain::Drain;

use crate::fake::watermark;

/// Long enough for any test.
pub const FOREVER: Duration = Duration::from_secs(3600);

/// What the vendor does; may be changed while it runs.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// The key that is let in.
    pub key: &'static str,
    /// Answer upgrades with this status and body.
    pub refuse: Option<(u16, &'static str)>,
    /// Between chunks; zero sends them as fast as they are read.
    pub pace: Duration,
    /// Audio bytes of one chunk.
    pub chunk_bytes: usize,
    /// Audio bytes of one character.
    pub bytes_per_char: usize,
    /// Answer text that is due with this error of the vendor's own, and no audio.
    pub error: Option<&'static str>,
    /// Answer text that is due with this close.
    pub close: Option<(u16, &'static str)>,
    /// Cut the socket after so many chunks.
    pub die_after: Option<usize>,
    /// End without audio.
    pub mute: bool,
    /// Say nothing to any text.
    pub silent: bool,
    /// Frames that are no messages, before the first chunk.
    pub garbage: usize,
    /// Say the end of a run twice.
    pub done_twice: bool,
    /// Chunks that still come after a cancel, where the vendor knows such a thing.
    pub late_chunks: usize,
    /// Neither read nor write any more, as soon as something has come.
    pub half_open: bool,
    /// Close a socket that has served and then been without a request for this long.
    pub idle: Duration,
    /// Close after the end of every run.
    pub close_after_end: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            key: "secret",
            refuse: None,
            pace: Duration::ZERO,
            // Odd: samples are cut in two.
            chunk_bytes: 963,
            bytes_per_char: 64,
            error: None,
            close: None,
            die_after: None,
            mute: false,
            silent: false,
            garbage: 0,
            done_twice: false,
            late_chunks: 2,
            half_open: false,
            idle: FOREVER,
            close_after_end: false,
        }
    }
}

/// What the vendor has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Upgrades asked for.
    pub upgrades: usize,
    /// Sockets opened so far.
    pub sockets: usize,
    /// Sockets open now.
    pub live: usize,
    /// Runs begun: syntheses, contexts, whatever the vendor calls them.
    pub runs: usize,
    /// Cancels of any kind.
    pub cancels: usize,
    /// Characters received.
    pub characters: usize,
}

/// What both ends of a fake know.
pub struct World {
    behaviour: Mutex<Behaviour>,
    stats: Mutex<Stats>,
    drain: Drain,
}

impl World {
    pub fn behaviour(&self) -> Behaviour {
        self.behaviour.lock().unwrap().clone()
    }

    pub fn count(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut self.stats.lock().unwrap());
    }
}

/// What a client asked for with its upgrade.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub path: String,
    pub query: Vec<(String, String)>,
    pub model: Option<String>,
    key: Option<String>,
    subprotocols: Option<String>,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let header = |name: &str| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
        let query = request.uri().query().unwrap_or_default();
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Self {
            path: request.uri().path().to_owned(),
            query: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            model: header("model"),
            key: header("authorization"),
            subprotocols: header("sec-websocket-protocol"),
        }
    }

    fn offers(&self, subprotocol: &str) -> bool {
        self.subprotocols
            .iter()
            .flat_map(|offered| offered.split(','))
            .any(|offer| offer.trim() == subprotocol)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

pub type Socket = WebSocketStream<TcpStream>;
type Talk = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One kind of vendor.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Why an upgrade is refused, if it is: status and body.
    pub judge: fn(&Asked) -> Option<(u16, &'static str)>,
    /// What a wrong key is told, after the same fashion.
    pub wrong_key: (u16, &'static str),
    /// Chosen when it is offered.
    pub subprotocol: Option<&'static str>,
    pub talk: fn(Arc<World>, Asked, Socket) -> Talk,
}

/// A running fake; it ends when dropped.
pub struct Fake {
    address: SocketAddr,
    world: Arc<World>,
}

impl Fake {
    /// Starts one on a free port.
    pub async fn start(kind: Kind, behaviour: Behaviour) -> Self {
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
                accepting.drain.spawn_until_cut(async move { serve(kind, world, tcp).await });
            }
        });
        Self { address, world }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    pub fn stats(&self) -> Stats {
        *self.world.stats.lock().unwrap()
    }

    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.world.behaviour.lock().unwrap());
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.world.drain.cut();
    }
}

async fn serve(kind: Kind, world: Arc<World>, tcp: TcpStream) {
    tcp.set_nodelay(true).unwrap();
    world.count(|stats| stats.upgrades += 1);
    let behaviour = world.behaviour();
    let mut asked = Asked::default();
    #[allow(clippy::result_large_err)] // the library's own type
    let gate = |request: &Request, mut response: Response| {
        asked = Asked::of(request);
        let wanted = format!("Bearer {}", behaviour.key);
        let wrong_key = (asked.key.as_ref() != Some(&wanted)).then_some(kind.wrong_key);
        if let Some(chosen) = kind.subprotocol.filter(|name| asked.offers(name)) {
            response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(chosen));
        }
        match behaviour.refuse.or(wrong_key).or((kind.judge)(&asked)) {
            None => Ok(response),
            Some((status, body)) => {
                let mut refusal = ErrorResponse::new(Some(body.to_owned()));
                *refusal.status_mut() = status.try_into().unwrap();
                Err(refusal)
            }
        }
    };
    let Ok(socket) = accept_hdr_async(tcp, gate).await else { return };
    world.count(|stats| {
        stats.sockets += 1;
        stats.live += 1;
    });
    (kind.talk)(Arc::clone(&world), asked, socket).await;
    world.count(|stats| stats.live -= 1);
}

/// Closes in good order and waits for the answer.
pub async fn close(mut socket: Socket, frame: Option<(u16, &'static str)>) {
    let frame = frame.map(|(code, reason)| CloseFrame { code: code.into(), reason: reason.into() });
    let _ = socket.close(frame).await;
    let read = async { while let Some(Ok(_)) = futures_util::StreamExt::next(&mut socket).await {} };
    let _ = timeout(Duration::from_secs(1), read).await;
}

/// A peer that is gone without a word.
pub async fn vanish(socket: Socket) {
    sleep(FOREVER).await;
    drop(socket);
}

/// The audio of a text as chunks; `from` are the characters of its stream said before.
pub fn chunks(text: &str, from: usize, behaviour: &Behaviour) -> VecDeque<Vec<u8>> {
    if behaviour.mute {
        return VecDeque::new();
    }
    let whole: String = " ".repeat(from) + text;
    let audio = watermark(&whole, behaviour.bytes_per_char);
    audio[from * behaviour.bytes_per_char..].chunks(behaviour.chunk_bytes).map(<[u8]>::to_vec).collect()
}

/// The words of a text with their first and last place, in characters.
pub fn words(text: &str) -> Vec<(String, usize, usize)> {
    let mut words = Vec::new();
    let mut at = 0;
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim();
        if !word.is_empty() {
            words.push((word.to_owned(), at, at + word.chars().count()));
        }
        at += piece.chars().count();
    }
    words
}
