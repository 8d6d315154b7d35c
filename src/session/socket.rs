//! A client on a WebSocket: its frames become requests, replies become its frames.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use voxrelay_protocol::dialect::ClientDialect;
use voxrelay_protocol::{Fault, FaultCode, Frame, FrameRef, Reply};

use super::client::{Client, Incoming, Lost};
use super::meter::Meter;
use crate::config::Limits;
use crate::outbox::{Metered, Outbox, ROOM};

/// What is read from a client at once, in bytes: requests are short, and the library clears all of it
/// each time it looks whether there is one.
const READ_BUFFER: usize = 1024;
/// How long a client may take to answer our close before it is reset.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes a second of the slowest audio that is played while it is read: G.711.
const SLOWEST_AUDIO: u64 = 8_000;
/// Bytes taken at once from a client that is not listened to any more.
const SCRAP: usize = 1024;

/// The settings of a client's WebSocket; the library's defaults cost 128 KiB a session.
#[must_use]
pub fn websocket_config(limits: &Limits) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(ROOM)
        // The outbox is the bound: it hands over no more than `ROOM` and one message at a time.
        .max_write_buffer_size(usize::MAX)
        .max_message_size(Some(limits.message_bytes))
        .max_frame_size(Some(limits.message_bytes))
}

/// A socket that can be cut without a goodbye.
pub trait Abort {
    /// Makes the next close a reset, so that a peer that never reads cannot hold the socket.
    fn reset_on_close(&self);
}

impl Abort for TcpStream {
    fn reset_on_close(&self) {
        // A socket that is already gone cannot be reset; there is nothing left to do about it.
        let _ = socket2::SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

impl Abort for tokio::io::DuplexStream {
    fn reset_on_close(&self) {}
}

/// One WebSocket client.
pub struct SocketClient<S> {
    socket: WebSocketStream<Metered<S>>,
    outbox: Outbox,
    dialect: Box<dyn ClientDialect>,
    frames: Vec<Frame>,
    messages: Meter,
    controls: Meter,
    resume_reading: Option<Pin<Box<Sleep>>>,
    ping: Duration,
    pong_timeout: Duration,
    heartbeat: Pin<Box<Sleep>>,
    pinged: bool,
    /// Longest text message that is looked into, in bytes.
    longest: usize,
    /// Bytes that had been written when the client last gave a sign of life.
    heard_at: u64,
    closed_by_peer: Option<u16>,
}

impl SocketClient<TcpStream> {
    /// Speaks `dialect` over a connection of our own listener that has been upgraded: the plain
    /// socket again, without the HTTP machinery around it. `None` for any other connection.
    pub async fn upgraded(
        upgraded: Upgraded,
        dialect: Box<dyn ClientDialect>,
        limits: &Limits,
    ) -> Option<Self> {
        let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
        let early = parts.read_buf.to_vec();
        let socket = Metered::new(parts.io.into_inner());
        let config = Some(websocket_config(limits));
        let socket = WebSocketStream::from_partially_read(socket, early, Role::Server, config).await;
        Some(Self::new(socket, dialect, limits))
    }
}

impl<S: AsyncRead + AsyncWrite + Abort + Unpin> SocketClient<S> {
    /// Speaks `dialect` over a socket whose upgrade is done.
    pub fn new(
        socket: WebSocketStream<Metered<S>>,
        dialect: Box<dyn ClientDialect>,
        limits: &Limits,
    ) -> Self {
        let now = Instant::now();
        Self {
            socket,
            outbox: Outbox::new(limits.write_timeout),
            dialect,
            frames: Vec::new(),
            messages: Meter::new(limits.messages_per_second, limits.messages_burst, now.into_std()),
            controls: Meter::new(limits.controls_per_second, limits.controls_burst, now.into_std()),
            resume_reading: None,
            ping: limits.ping,
            pong_timeout: limits.pong_timeout,
            heartbeat: Box::pin(tokio::time::sleep(limits.ping)),
            pinged: false,
            longest: limits.message_bytes,
            heard_at: 0,
            closed_by_peer: None,
        }
    }

    /// The dialect's name.
    pub fn dialect(&self) -> &'static str {
        self.dialect.name()
    }

    /// Looks into no text message longer than this, in bytes.
    pub fn look_into(&mut self, longest: usize) {
        self.longest = longest;
    }

    /// The code of the client's close frame, once it has sent one (1005 when it gave none).
    pub fn closed_by_peer(&self) -> Option<u16> {
        self.closed_by_peer
    }

    /// Says goodbye with a code and a short reason, waits a moment for the answer, and lets go. A client
    /// that has said goodbye first has had its answer.
    pub async fn close(mut self, code: u16, reason: &str) {
        if self.closed_by_peer.is_some() {
            return;
        }
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.to_owned().into() };
        self.outbox.push_control(Message::Close(Some(frame)));
        if !matches!(tokio::time::timeout(CLOSE_TIMEOUT, self.goodbye()).await, Ok(Ok(()))) {
            self.socket.get_ref().inner().reset_on_close();
        }
    }

    /// Writes what is queued, waits for the peer's own close, and ends the connection. What a broken
    /// peer still sends is read and thrown away: closing over it would reset the connection, and a
    /// reset may overtake our last words.
    async fn goodbye(&mut self) -> Result<(), Lost> {
        let mut agreed = self.closed_by_peer.is_some();
        std::future::poll_fn(|cx| {
            ready!(self.outbox.poll_flush(&mut self.socket, cx))?;
            while let Some(Ok(message)) = ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                agreed |= message.is_close();
            }
            Poll::Ready(Ok(()))
        })
        .await?;
        if agreed {
            return Ok(());
        }
        let socket = self.socket.get_mut();
        socket.shutdown().await.map_err(|_| Lost::Gone)?;
        let mut scrap = [0; SCRAP];
        while socket.read(&mut scrap).await.map_err(|_| Lost::Gone)? > 0 {}
        Ok(())
    }

    /// Gives up on a client that does not read, with a last word should it still do so: what it was
    /// sent so far is whole frames, then this fault, then the close.
    pub async fn give_up(mut self, fault: Fault, code: u16, reason: &str) {
        self.outbox.abandon();
        self.tell(&Reply::Error { stream: None, fault, ended: false });
        self.close(code, reason).await;
    }

    /// Cuts the connection.
    pub fn abort(self) {
        self.socket.get_ref().inner().reset_on_close();
    }

    fn on_message(&mut self, message: Message) -> Option<Incoming> {
        let now = Instant::now();
        self.heartbeat.as_mut().reset(now + self.ping);
        self.pinged = false;
        self.heard_at = self.socket.get_ref().written();
        match message {
            Message::Text(text) if text.len() > self.longest => {
                Some(Incoming::Violation(Fault::invalid("message", "is too big"), 1009))
            }
            Message::Text(text) => {
                self.meter(now);
                Some(Incoming::Request(self.dialect.decode(FrameRef::Text(text.as_str()))))
            }
            Message::Binary(bytes) if self.dialect.takes_binary() => {
                self.meter(now);
                Some(Incoming::Request(self.dialect.decode(FrameRef::Binary(&bytes))))
            }
            Message::Binary(_) => {
                Some(Incoming::Violation(Fault::invalid("message", "must be a text frame"), 1003))
            }
            Message::Ping(_) | Message::Pong(_) => self.controls.take(now.into_std()).is_err().then(|| {
                let fault = Fault::new(FaultCode::RateLimited, "too many control frames");
                Incoming::Violation(fault, 1008)
            }),
            Message::Close(frame) => {
                self.closed_by_peer = Some(frame.map_or(1005, |frame| frame.code.into()));
                // Reading on sends the answer and ends with the connection.
                None
            }
            Message::Frame(_) => None,
        }
    }

    /// Who sends too fast is read later.
    fn meter(&mut self, now: Instant) {
        if let Err(wait) = self.messages.take(now.into_std()) {
            self.resume_reading = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }

    /// A quiet client is asked whether it is there; one that does not say is gone. While something
    /// waits to be written, the write deadline judges it.
    fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        while self.heartbeat.as_mut().poll(cx).is_ready() {
            if self.pinged {
                return Poll::Ready(Incoming::Gone);
            }
            if !self.outbox.is_empty() {
                self.heartbeat.as_mut().reset(Instant::now() + self.ping);
                continue;
            }
            self.pinged = true;
            let until = Instant::now() + self.patience();
            self.heartbeat.as_mut().reset(until);
            self.outbox.push_control(Message::Ping(bytes::Bytes::new()));
        }
        Poll::Pending
    }

    /// How long the answer to a ping may take: a client that plays what it reads comes to the ping only
    /// after all the audio before it, of which the kernels hold megabytes.
    fn patience(&self) -> Duration {
        let unheard = self.socket.get_ref().written() - self.heard_at;
        self.pong_timeout + Duration::from_millis(unheard * 1000 / SLOWEST_AUDIO)
    }
}

impl<S: AsyncRead + AsyncWrite + Abort + Unpin> Client for SocketClient<S> {
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        loop {
            if let Some(wait) = &mut self.resume_reading {
                if wait.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.resume_reading = None;
            }
            let message = match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Pending => return self.poll_heartbeat(cx),
                Poll::Ready(None) => return Poll::Ready(Incoming::Gone),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(violation(&error)),
                Poll::Ready(Some(Ok(message))) => message,
            };
            if let Some(incoming) = self.on_message(message) {
                return Poll::Ready(incoming);
            }
        }
    }

    fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

    fn tell(&mut self, reply: &Reply) {
        self.dialect.encode(reply, &mut self.frames);
        for frame in self.frames.drain(..) {
            self.outbox.push(frame);
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        self.outbox.poll_flush(&mut self.socket, cx)
    }
}

/// What a broken WebSocket means for the session (RFC 6455 section 7.4.1 for the codes).
fn violation(error: &Error) -> Incoming {
    let (detail, code) = match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => ("message: is too big", 1009),
        Error::Utf8(_) => ("message: is not UTF-8", 1007),
        Error::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => return Incoming::Gone,
        Error::Protocol(_) => ("message: breaks the WebSocket protocol", 1002),
        _ => return Incoming::Gone,
    };
    Incoming::Violation(Fault::new(FaultCode::InvalidRequest, detail), code)
}
