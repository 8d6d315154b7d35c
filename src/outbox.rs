//! The bounded way to one client's WebSocket: what is queued, what has been handed to the socket,
//! and whether the client still takes any of it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Sink;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};
use voxrelay_protocol::Frame;

use crate::metrics;

/// Audio is taken from the streams only while less than this many bytes wait here, so that all
/// chunks that are ready go out in one write and a cancel has little to wait for.
pub const ROOM: usize = 32 * 1024;
/// Replies to a client that sends and does not read may pile up this far, in bytes, and one more: a long
/// reply alone says nothing about its reader.
const LIMIT: usize = 256 * 1024;

/// Why nothing can be sent any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The connection is gone.
    Gone,
    /// The client has taken no byte for the write deadline, or lets replies pile up.
    Stalled,
}

/// What waits for one client. Full: streams are not asked for audio (the stream's own buffer, then
/// its link, must hold it); metric `backpressure_seconds_total{point="client_socket"}`.
#[derive(Debug)]
pub struct Outbox {
    queue: VecDeque<Message>,
    queued: usize,
    fed: usize,
    overrun: bool,
    written: u64,
    write_timeout: Duration,
    stuck: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Outbox {
    /// An empty outbox; a client that takes no byte for `write_timeout` is lost.
    #[must_use]
    pub fn new(write_timeout: Duration) -> Self {
        Self {
            queue: VecDeque::new(),
            queued: 0,
            fed: 0,
            overrun: false,
            written: 0,
            write_timeout,
            stuck: None,
        }
    }

    /// Whether more audio may be added.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.queued + self.fed < ROOM
    }

    /// Whether nothing waits, here or in the socket.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.fed == 0
    }

    /// Adds a frame behind all others.
    pub fn push(&mut self, frame: Frame) {
        self.overrun |= self.queued > LIMIT;
        self.queued += frame.len();
        self.queue.push_back(match frame {
            Frame::Text(text) => Message::Text(text.into()),
            Frame::Binary(bytes) => Message::Binary(bytes),
        });
    }

    /// Adds a control frame behind all others.
    pub fn push_control(&mut self, message: Message) {
        self.queue.push_back(message);
    }

    /// Throws away what has not been handed to the socket, and starts to wait anew: only a last word
    /// is still to be said.
    pub fn abandon(&mut self) {
        self.queue.clear();
        self.queued = 0;
        self.overrun = false;
        self.unstick();
    }

    /// Writes all that can be written, in as few system calls as it takes; ready when nothing
    /// waits any more.
    ///
    /// # Errors
    /// The client is gone or does not read.
    pub fn poll_flush<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut WebSocketStream<Metered<S>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Lost>> {
        if self.overrun {
            return Poll::Ready(Err(Lost::Stalled));
        }
        loop {
            while self.fed < ROOM && !self.queue.is_empty() {
                match Pin::new(&mut *socket).poll_ready(cx) {
                    Poll::Ready(Ok(())) => self.feed(socket)?,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Lost::Gone)),
                    Poll::Pending => return self.poll_stuck(socket, cx),
                }
            }
            match Pin::new(&mut *socket).poll_flush(cx) {
                Poll::Ready(Ok(())) if self.queue.is_empty() => {
                    self.fed = 0;
                    self.unstick();
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(())) => self.fed = 0,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Lost::Gone)),
                Poll::Pending => return self.poll_stuck(socket, cx),
            }
        }
    }

    fn feed<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut WebSocketStream<Metered<S>>,
    ) -> Result<(), Lost> {
        let Some(message) = self.queue.pop_front() else { return Ok(()) };
        let length = match &message {
            Message::Text(_) | Message::Binary(_) => message.len(),
            _ => 0,
        };
        self.queued -= length;
        self.fed += message.len().max(1);
        match Pin::new(socket).start_send(message) {
            Ok(()) => Ok(()),
            Err(tungstenite::Error::WriteBufferFull(_)) => Err(Lost::Stalled),
            Err(_) => Err(Lost::Gone),
        }
    }

    /// The socket takes no more now. Progress is judged by bytes that left, not by messages: a slow
    /// reader of a long message is not stuck.
    fn poll_stuck<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &WebSocketStream<Metered<S>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Lost>> {
        let written = socket.get_ref().written;
        let deadline = Instant::now() + self.write_timeout;
        let moved = written != self.written;
        self.written = written;
        let (_, timer) =
            self.stuck.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep_until(deadline))));
        if moved {
            timer.as_mut().reset(deadline);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(Lost::Stalled))
    }

    fn unstick(&mut self) {
        if let Some((since, _)) = self.stuck.take() {
            metrics::backpressure(metrics::Point::ClientSocket, since.elapsed());
        }
    }
}

/// A socket that counts the bytes it has taken.
#[derive(Debug)]
pub struct Metered<S> {
    inner: S,
    written: u64,
}

impl<S> Metered<S> {
    /// Counts from 0.
    pub fn new(inner: S) -> Self {
        Self { inner, written: 0 }
    }

    /// Bytes taken so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The socket itself.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let taken = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.written += taken as u64;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
