//! A WebSocket client of bytes, written from RFC 6455 and sharing no code with the relay, that can say
//! what no library would.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::within;

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
/// The bit of a message's last frame.
pub const FIN: u8 = 0x80;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masked frame; `first` is its whole first byte.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, 0x80, payload.len());
    bytes.extend(KEY);
    bytes.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// The same without a mask.
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, 0, payload.len());
    bytes.extend(payload);
    bytes
}

/// A close frame with a code and a reason.
pub fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// A frame's first bytes up to its length, in as few bytes as the length takes (section 5.2).
fn header(first: u8, mask: u8, length: usize) -> Vec<u8> {
    match length {
        0..=125 => vec![first, mask | length as u8],
        126..=0xffff => [&[first, mask | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, mask | 127][..], &(length as u64).to_be_bytes()].concat(),
    }
}

/// What the other end did.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A whole message or control frame: its opcode and payload.
    Frame(u8, Vec<u8>),
    /// The end of the connection, with no error.
    End,
    /// A reset.
    Reset,
}

/// A connection after its upgrade.
pub struct Raw {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Raw {
    /// Connects and upgrades, with `more` header lines.
    pub async fn open(address: SocketAddr, path: &str, more: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut raw = Self { socket, buffer: Vec::new() };
        let end = loop {
            let end = raw.buffer.windows(4).position(|four| four == b"\r\n\r\n");
            match end {
                Some(end) => break end + 4,
                None => assert_eq!(raw.fill().await, None, "{}", String::from_utf8_lossy(&raw.buffer)),
            }
        };
        let head = String::from_utf8(raw.buffer.drain(..end).collect()).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let accept = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        assert!(head.to_ascii_lowercase().contains(&accept.to_ascii_lowercase()), "{head}");
        raw
    }

    /// Sends bytes as they are. That the other end has hung up is told by what is heard, not here.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = within("bytes sent", self.socket.write_all(bytes)).await;
    }

    /// The next thing the other end does; fails on a frame that a server must not send.
    pub async fn hear(&mut self) -> Heard {
        loop {
            if let Some((first, payload)) = self.take() {
                assert_eq!(first & 0xf0, FIN, "reserved bits or a fragment: {first:#x}");
                return Heard::Frame(first & 0x0f, payload);
            }
            if let Some(end) = self.fill().await {
                assert!(self.buffer.is_empty(), "the connection ended within a frame");
                return end;
            }
        }
    }

    /// Reads more; what ended the connection, when it is over.
    async fn fill(&mut self) -> Option<Heard> {
        match within("bytes or the end", self.socket.read_buf(&mut self.buffer)).await {
            Ok(0) => Some(Heard::End),
            Ok(_) => None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(Heard::Reset),
            Err(error) => panic!("{error}"),
        }
    }

    fn take(&mut self) -> Option<(u8, Vec<u8>)> {
        let (&[first, second], rest) = self.buffer.split_first_chunk::<2>()?;
        assert_eq!(second & 0x80, 0, "a masked frame from a server");
        let (length, skip) = match second {
            126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
            127 => (usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).unwrap(), 10),
            short => (usize::from(short), 2),
        };
        let payload = self.buffer.get(skip..skip + length)?.to_vec();
        self.buffer.drain(..skip + length);
        Some((first, payload))
    }
}
