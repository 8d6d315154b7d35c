//! What every fake vendor stands on: a free port, real WebSockets, upgrades that are judged, what it
//! has seen, and audio that is a function of the text, so that every byte heard can be told from every
//! other. How it speaks over a socket is each vendor's own.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};
use voxrelay::drain::Drain;

pub use super::fake_behaviour::{Behaviour, FakeError, FakeFault};

/// Long enough for any test.
pub const FOREVER: Duration = Duration::from_secs(3600);

/// What the vendor has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FakeStats {
    /// Upgrades asked for, answered or not.
    pub upgrades: usize,
    /// Sockets opened so far.
    pub sockets: usize,
    /// Sockets open now.
    pub sockets_live: usize,
    /// Contexts opened so far: syntheses, runs, whatever the vendor calls them.
    pub contexts: usize,
    /// Contexts running now, where the vendor keeps them apart.
    pub contexts_live: usize,
    /// The most that ran at once.
    pub contexts_most: usize,
    /// Cancels of running contexts.
    pub cancels: usize,
    /// Characters received.
    pub characters: usize,
}

/// What both ends of a fake know.
pub struct World {
    behaviour: Mutex<Behaviour>,
    stats: Mutex<FakeStats>,
    messages: Mutex<Vec<Value>>,
    upgrades: Mutex<Vec<String>>,
    pub drain: Drain,
}

impl World {
    pub fn behaviour(&self) -> Behaviour {
        self.behaviour.lock().unwrap().clone()
    }

    pub fn stats(&self) -> FakeStats {
        *self.stats.lock().unwrap()
    }

    pub fn count(&self, change: impl FnOnce(&mut FakeStats)) {
        change(&mut self.stats.lock().unwrap());
    }

    /// Keeps a message that has come.
    pub fn heard(&self, message: Value) {
        self.messages.lock().unwrap().push(message);
    }

    /// Counts a context that runs from now on.
    pub fn opened(&self) {
        self.count(|stats| {
            stats.contexts += 1;
            stats.contexts_live += 1;
            stats.contexts_most = stats.contexts_most.max(stats.contexts_live);
        });
    }
}

pub type Socket = WebSocketStream<TcpStream>;
/// What happens on one socket, from its upgrade to its end.
pub type Talk = Box<dyn FnOnce(Arc<World>, Socket) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;
/// What is vendor about a fake: it opens a conversation for an upgrade, or refuses it.
pub type Judge = fn(&Behaviour, &Request, &mut Response) -> Result<Talk, Refusal>;

/// Why an upgrade is refused: status and body.
pub struct Refusal(pub u16, pub &'static str);

impl From<u16> for Refusal {
    fn from(status: u16) -> Self {
        Self(status, "")
    }
}

impl From<Refusal> for ErrorResponse {
    fn from(Refusal(status, body): Refusal) -> Self {
        let mut response = Self::new(Some(body.to_owned()).filter(|body| !body.is_empty()));
        *response.status_mut() = status.try_into().unwrap();
        response
    }
}

/// A running fake; it ends when dropped.
pub struct Fake {
    address: SocketAddr,
    world: Arc<World>,
}

impl Fake {
    /// Starts one on a free port.
    pub async fn start(judge: Judge, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = Arc::new(World {
            behaviour: Mutex::new(behaviour),
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

    /// What it has seen so far.
    pub fn stats(&self) -> FakeStats {
        self.world.stats()
    }

    /// Every message so far, in the order of arrival, where the vendor keeps them.
    pub fn messages(&self) -> Vec<Value> {
        self.world.messages.lock().unwrap().clone()
    }

    /// Path and query of every upgrade so far.
    pub fn upgrades(&self) -> Vec<String> {
        self.world.upgrades.lock().unwrap().clone()
    }

    /// Changes what it does from now on.
    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.world.behaviour.lock().unwrap());
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.world.drain.cut();
    }
}

async fn serve(world: &Arc<World>, tcp: TcpStream, judge: Judge) {
    tcp.set_nodelay(true).unwrap();
    world.count(|stats| stats.upgrades += 1);
    let behaviour = world.behaviour();
    if behaviour.freeze {
        return sleep(FOREVER).await;
    }
    if let Some((status, retry_after)) = behaviour.refuse {
        return refuse(tcp, status, retry_after).await;
    }
    let mut talk = None;
    #[allow(clippy::result_large_err)] // the library's own type
    let gate = |request: &Request, mut response: Response| {
        if let Some((status, body)) = behaviour.refuse_saying {
            return Err(Refusal(status, body).into());
        }
        talk = Some(judge(&behaviour, request, &mut response)?);
        world.upgrades.lock().unwrap().push(request.uri().to_string());
        Ok(response)
    };
    let Ok(socket) = accept_hdr_async(tcp, gate).await else { return };
    world.count(|stats| {
        stats.sockets += 1;
        stats.sockets_live += 1;
    });
    talk.unwrap()(Arc::clone(world), socket).await;
    world.count(|stats| stats.sockets_live -= 1);
}

/// Answers an upgrade like a web server that knows nothing of WebSockets.
async fn refuse(mut tcp: TcpStream, status: u16, retry_after: Option<u64>) {
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

/// Closes in good order and waits for the answer.
pub async fn close(mut socket: Socket, frame: Option<(u16, &'static str)>) {
    let frame = frame.map(|(code, reason)| CloseFrame { code: code.into(), reason: reason.into() });
    let _ = socket.close(frame).await;
    let _ = timeout(Duration::from_secs(1), async { while let Some(Ok(_)) = socket.next().await {} }).await;
}

/// Why one socket goes no further.
pub enum Over {
    /// Closed like this, or without a code.
    Closed(Option<(u16, &'static str)>),
    /// Without a word.
    Cut,
    /// Open, and nobody there.
    HalfOpen,
}

impl Over {
    pub async fn end(self, socket: Socket) {
        match self {
            Self::Closed(frame) => close(socket, frame).await,
            Self::Cut => drop(socket),
            Self::HalfOpen => sleep(FOREVER).await,
        }
    }
}

/// A header of an upgrade.
pub fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

/// The key of an upgrade, where it is a bearer's.
pub fn bearer(request: &Request) -> Option<&str> {
    header(request, "authorization")?.strip_prefix("Bearer ")
}

/// One parameter of a query, as it was written.
pub fn asked<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
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

/// The audio of what has not been spoken yet of a text, in chunks.
pub fn chunks(text: &str, spoken: usize, behaviour: &Behaviour) -> Vec<Vec<u8>> {
    if behaviour.mute {
        return Vec::new();
    }
    let audio = &watermark(text, behaviour.bytes_per_char)[spoken * behaviour.bytes_per_char..];
    audio.chunks(behaviour.chunk_bytes).map(<[u8]>::to_vec).collect()
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
