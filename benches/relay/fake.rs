//! The upstream: Cartesia's wire, many contexts on a socket, every stream's chunks on an absolute
//! clock of 20 ms. Plain threads and a frame made once per stream keep its own cost and jitter low.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tokio_tungstenite::tungstenite::{Message, accept};

use crate::wire::{PERIOD, STAMP_BYTES, Stamp, filling, now_ns, parse_order};

const STACK_BYTES: usize = 128 * 1024;
/// A relay that stops reading may hold up the clock of all streams for so long.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
const PERIOD_NS: u64 = PERIOD.as_nanos() as u64;

/// Prints the address and serves until killed.
pub fn run() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    let (begin, begun) = channel();
    std::thread::spawn(move || pace(&begun));
    for socket in listener.incoming().flatten() {
        let begin = begin.clone();
        let reader = std::thread::Builder::new().stack_size(STACK_BYTES);
        reader.spawn(move || read(socket, &begin)).expect("a thread");
    }
}

/// Starts a stream for every text that orders one; everything else is for the real vendor.
fn read(socket: TcpStream, begin: &Sender<Box<Speech>>) {
    socket.set_nodelay(true).expect("no delay");
    socket.set_write_timeout(Some(WRITE_TIMEOUT)).expect("a time-out");
    let writer = Arc::new(socket.try_clone().expect("a handle"));
    let Ok(mut socket) = accept(socket) else { return };
    while let Ok(message) = socket.read() {
        let Message::Text(text) = message else { continue };
        let request: Value = serde_json::from_str(&text).expect("JSON");
        let (Some(text), Some(context)) = (request["transcript"].as_str(), request["context_id"].as_str())
        else {
            continue;
        };
        if let Some((stream, chunks)) = parse_order(text) {
            let speech = Speech::new(Arc::clone(&writer), context, stream, chunks);
            begin.send(Box::new(speech)).expect("the clock runs");
        }
    }
}

fn pace(begun: &Receiver<Box<Speech>>) {
    let mut speeches: BinaryHeap<Box<Speech>> = BinaryHeap::new();
    loop {
        let next = speeches.peek().map_or(u64::MAX, |speech| speech.due_ns);
        match begun.recv_timeout(Duration::from_nanos(next.saturating_sub(now_ns()))) {
            Ok(speech) => speeches.push(speech),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Some(mut speech) = speeches.peek_mut() {
            if speech.due_ns > now_ns() {
                break;
            }
            if !speech.speak() {
                PeekMut::pop(speech);
            }
        }
    }
}

/// One stream.
struct Speech {
    due_ns: u64,
    /// Added after the first chunk, so that streams which began together do not stay together.
    phase_ns: u64,
    socket: Arc<TcpStream>,
    frame: Vec<u8>,
    /// Where in the frame the base64 of the stamp is.
    stamp_at: usize,
    context: String,
    stream: u32,
    number: u32,
    chunks: u32,
}

impl Speech {
    fn new(socket: Arc<TcpStream>, context: &str, stream: u32, chunks: u32) -> Self {
        let stamp = "A".repeat(STAMP_BYTES / 3 * 4);
        let filling = BASE64_STANDARD.encode(filling(stream));
        let head = r#"{"type":"chunk","data":""#;
        let tail = r#"","done":false,"status_code":206,"step_time":12.5,"context_id":"#;
        let frame = text_frame(&format!(r#"{head}{stamp}{filling}{tail}"{context}"}}"#));
        let stamp_at = frame.windows(head.len()).position(|at| at == head.as_bytes()).expect("a head");
        Self {
            due_ns: now_ns(),
            phase_ns: (u64::from(stream.wrapping_mul(2_654_435_761)) * PERIOD_NS) >> 32,
            socket,
            frame,
            stamp_at: stamp_at + head.len(),
            context: context.to_owned(),
            stream,
            number: 0,
            chunks,
        }
    }

    /// Sends the next chunk, stamped at the last moment; false when that was the last, or nobody reads.
    fn speak(&mut self) -> bool {
        let stamp = Stamp { sent_ns: now_ns(), stream: self.stream, number: self.number };
        let room = &mut self.frame[self.stamp_at..self.stamp_at + STAMP_BYTES / 3 * 4];
        BASE64_STANDARD.encode_slice(stamp.bytes(), room).expect("the stamp fits");
        if (&*self.socket).write_all(&self.frame).is_err() {
            return false;
        }
        self.due_ns += PERIOD_NS + std::mem::take(&mut self.phase_ns);
        self.number += 1;
        if self.number < self.chunks {
            return true;
        }
        let context = &self.context;
        let done = format!(r#"{{"type":"done","done":true,"status_code":206,"context_id":"{context}"}}"#);
        // Whoever has gone does not miss it.
        let _ = (&*self.socket).write_all(&text_frame(&done));
        false
    }
}

/// A WebSocket text frame of less than 64 KiB, as a server sends it.
fn text_frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short text");
    let mut frame = vec![0x81];
    match u8::try_from(length) {
        Ok(length @ ..126) => frame.push(length),
        _ => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(text.as_bytes());
    frame
}

impl Ord for Speech {
    fn cmp(&self, other: &Self) -> Ordering {
        other.due_ns.cmp(&self.due_ns) // the earliest is the greatest
    }
}

impl PartialOrd for Speech {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Speech {
    fn eq(&self, other: &Self) -> bool {
        self.due_ns == other.due_ns
    }
}

impl Eq for Speech {}
