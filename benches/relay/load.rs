//! The clients: sessions on one thread, each with stream after stream, in the relay's own protocol or
//! in the vendor's. Told by its parent when to speak, it tells when the time that counts begins and ends.

use std::cell::{Cell, RefCell};
use std::io::BufRead;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::Simd;
use base64::engine::general_purpose::PAD;
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use voxrelay_protocol::vendor::cartesia::messages::ServerMessage;

use crate::wire::{CHUNK_BYTES, STAMP_BYTES, Stamp, filling, now_ns, order};

/// Between two sessions' first streams.
const STAGGER: Duration = Duration::from_millis(2);
/// Between the last session's start and the time that counts.
const SETTLE: Duration = Duration::from_millis(500);
/// How long streams may take beyond their audio before they count as lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// Upgrades at once.
const OPENING: usize = 32;

/// What one client process is told, as a JSON argument.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// Whether the far end speaks the vendor's protocol, not the relay's.
    pub vendor: bool,
    /// Host and port.
    pub address: String,
    /// A key of the relay.
    pub key: String,
    /// Sessions, each with one stream at a time.
    pub sessions: u32,
    /// Chunks of each stream.
    pub chunks: u32,
    /// How long counts, in ms.
    pub counted_ms: u64,
}

/// What one client process has seen; delays in ns.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Chunks in the time that counts.
    pub chunks: u64,
    /// From a stream's text to its first audio, of every stream.
    pub first_p50: u64,
    pub first_p99: u64,
    /// From the fake's socket to the client, of the chunks that count.
    pub delay_p50: u64,
    pub delay_p99: u64,
    /// Streams that lost or changed a chunk or ended badly, at any time.
    pub broken: u64,
    /// What happened to the first of them.
    pub note: String,
}

type Socket = WebSocketStream<TcpStream>;

struct Clients {
    order: Order,
    counts: Cell<bool>,
    over: Cell<bool>,
    firsts: RefCell<Vec<u64>>,
    delays: RefCell<Vec<u64>>,
    broken: Cell<u64>,
    note: RefCell<String>,
    base64: Simd,
}

/// Says `open`, waits for a line, says `begin` and `end`, and then the outcome.
pub fn run(order: Order) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let clients = Clients {
        order,
        counts: Cell::new(false),
        over: Cell::new(false),
        firsts: RefCell::default(),
        delays: RefCell::default(),
        broken: Cell::new(0),
        note: RefCell::default(),
        base64: Simd::standard(PAD),
    };
    runtime.block_on(clients.live());
}

impl Clients {
    async fn live(self) {
        let sockets = futures_util::stream::iter(0..self.order.sessions).map(|_| self.open());
        let sockets: Vec<Socket> = sockets.buffer_unordered(OPENING).collect().await;
        println!("open");
        std::io::stdin().lock().read_line(&mut String::new()).expect("a line");
        let begin = Instant::now() + STAGGER * self.order.sessions + SETTLE;
        let end = begin + Duration::from_millis(self.order.counted_ms);
        let sessions: FuturesUnordered<_> =
            (0..).zip(sockets).map(|(number, socket)| self.session(number, socket, end)).collect();
        let counting = async {
            sleep_until(begin).await;
            println!("begin");
            self.counts.set(true);
            sleep_until(end).await;
            self.counts.set(false);
            println!("end");
            self.over.set(true);
        };
        tokio::join!(counting, sessions.for_each(async |()| {}));
        println!("{}", serde_json::to_string(&self.outcome()).expect("JSON"));
    }

    async fn open(&self) -> Socket {
        let Order { vendor, address, key, .. } = &self.order;
        let path = if *vendor { "/tts/websocket" } else { "/v1/stream" };
        let mut request = format!("ws://{address}{path}").into_client_request().expect("an address");
        request.headers_mut().insert("authorization", format!("Bearer {key}").parse().expect("a key"));
        let socket = TcpStream::connect(address).await.expect("a connection");
        socket.set_nodelay(true).expect("no delay");
        let settings = WebSocketConfig::default().read_buffer_size(4 * 1024);
        let upgraded = client_async_with_config(request, socket, Some(settings)).await;
        let (mut socket, _) = upgraded.expect("an upgrade");
        if !vendor {
            let ready = socket.next().await.expect("a frame").expect("a frame").into_text().expect("text");
            assert!(ready.contains(r#""type":"ready""#), "{ready}");
        }
        socket
    }

    async fn session(&self, number: u32, mut socket: Socket, end: Instant) {
        sleep(STAGGER * number).await;
        let audio = crate::wire::PERIOD * self.order.chunks;
        let mut stream = number;
        while !self.over.get() {
            let spoken = timeout_at(end + audio + PATIENCE, self.stream(&mut socket, stream)).await;
            if let Err(why) = spoken.unwrap_or(Err("it did not end".to_owned())) {
                self.broken.set(self.broken.get() + 1);
                let mut note = self.note.borrow_mut();
                if note.is_empty() {
                    *note = format!("stream {stream}: {why}");
                }
                return;
            }
            stream += self.order.sessions;
        }
        // The far end may have gone already; nothing depends on a goodbye.
        let _ = socket.close(None).await;
    }

    async fn stream(&self, socket: &mut Socket, stream: u32) -> Result<(), String> {
        let text = order(stream, self.order.chunks);
        let mut heard = Heard { stream, next: 0, filling: filling(stream), asked_ns: now_ns() };
        for message in self.requests(stream, &text) {
            socket.feed(Message::text(message)).await.map_err(|error| error.to_string())?;
        }
        socket.flush().await.map_err(|error| error.to_string())?;
        loop {
            let message = socket.next().await.ok_or("closed")?.map_err(|error| error.to_string())?;
            let at_ns = now_ns();
            match message {
                Message::Binary(audio) => self.audio(&mut heard, &audio, at_ns)?,
                Message::Text(text) => {
                    let message: ServerMessage<'_> =
                        serde_json::from_str(&text).map_err(|error| error.to_string())?;
                    match (&*message.kind, &message.data) {
                        ("chunk", Some(data)) => {
                            let audio = self.base64.decode(data.0.as_bytes());
                            self.audio(&mut heard, &audio.map_err(|error| error.to_string())?, at_ns)?;
                        }
                        ("done", _) if heard.next == self.order.chunks => return Ok(()),
                        ("done", _) => return Err(format!("{} chunks came", heard.next)),
                        ("error", _) => return Err(text.to_string()),
                        _ => {}
                    }
                }
                Message::Close(frame) => return Err(format!("closed: {frame:?}")),
                _ => {}
            }
        }
    }

    fn requests(&self, stream: u32, text: &str) -> Vec<String> {
        if !self.order.vendor {
            let text = format!(r#"{{"type":"text","text":"{text}"}}"#);
            return vec![r#"{"type":"start","voice":"bench"}"#.into(), text, r#"{"type":"end"}"#.into()];
        }
        let generation = |text: &str, more: bool| {
            format!(
                r#"{{"model_id":"sonic-3","transcript":"{text}","voice":{{"mode":"id","id":"bench"}},"output_format":{{"container":"raw","encoding":"pcm_s16le","sample_rate":24000}},"context_id":"bench-{stream}","continue":{more}}}"#
            )
        };
        vec![generation(text, true), generation("", false)]
    }

    /// One frame's chunks; a relay may send several as one, but never half a one here.
    fn audio(&self, heard: &mut Heard, audio: &[u8], at_ns: u64) -> Result<(), String> {
        for chunk in audio.chunks(CHUNK_BYTES) {
            let sent_ns = heard.check(chunk)?;
            if self.counts.get() {
                self.delays.borrow_mut().push(at_ns - sent_ns);
            }
            if heard.next == 0 {
                self.firsts.borrow_mut().push(at_ns - heard.asked_ns);
            }
            heard.next += 1;
        }
        Ok(())
    }

    fn outcome(self) -> Outcome {
        let (mut firsts, mut delays) = (self.firsts.into_inner(), self.delays.into_inner());
        Outcome {
            chunks: delays.len() as u64,
            first_p50: percentile(&mut firsts, 50),
            first_p99: percentile(&mut firsts, 99),
            delay_p50: percentile(&mut delays, 50),
            delay_p99: percentile(&mut delays, 99),
            broken: self.broken.get(),
            note: self.note.into_inner(),
        }
    }
}

/// What one stream has heard.
struct Heard {
    stream: u32,
    next: u32,
    filling: Vec<u8>,
    asked_ns: u64,
}

impl Heard {
    /// When the chunk was sent, if it is the next one, whole and untouched.
    fn check(&self, chunk: &[u8]) -> Result<u64, String> {
        let stamp = Stamp::read(chunk).ok_or("a chunk is torn")?;
        if (stamp.stream, stamp.number) != (self.stream, self.next) {
            return Err(format!("chunk {} of stream {} came", stamp.number, stamp.stream));
        }
        if chunk.get(STAMP_BYTES..) != Some(&self.filling[..]) {
            return Err("a chunk has changed".to_owned());
        }
        Ok(stamp.sent_ns)
    }
}

fn percentile(values: &mut [u64], percent: usize) -> u64 {
    if values.is_empty() {
        return 0;
    }
    let at = (values.len() * percent / 100).min(values.len() - 1);
    *values.select_nth_unstable(at).1
}
