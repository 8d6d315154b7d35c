//! Ways of travelling to an upstream. A transport carries whole frames and knows no vendor; it is
//! dialled from a [`Dial`] and reports everything that goes wrong as an [`UpstreamFault`].

pub mod process;
pub mod websocket;

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use voxrelay_protocol::provider::Dial;
use voxrelay_protocol::{FaultKind, Frame, FrameRef, UpstreamFault};

use crate::metrics::UpstreamMetrics;

/// What arrived, still in the transport's own buffer.
#[derive(Debug, Clone)]
pub enum Incoming {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// A message of a transport that is not a WebSocket.
    Frame(Frame),
    /// A sign of life without content: ping or pong.
    Alive,
    /// The peer's close frame with its code and reason; the stream ends behind it.
    Closed(u16, Utf8Bytes),
}

impl Incoming {
    /// The message as a codec reads it; `None` for a sign of life and a close.
    #[must_use]
    pub fn frame(&self) -> Option<FrameRef<'_>> {
        match self {
            Self::Text(text) => Some(FrameRef::Text(text.as_str())),
            Self::Binary(bytes) => Some(FrameRef::Binary(bytes)),
            Self::Frame(frame) => Some(frame.as_ref()),
            Self::Alive | Self::Closed(..) => None,
        }
    }
}

/// A connection that carries frames both ways. One owner polls both halves, so neither a slow write
/// nor a quiet read can hold up the other. The stream ends when the peer has closed.
pub trait Wire:
    Stream<Item = Result<Incoming, UpstreamFault>> + Sink<Frame, Error = UpstreamFault> + Send + Unpin
{
    /// Queues a ping, to be flushed like a frame; false where the transport has no such thing and its
    /// death shows by itself. Only called after `poll_ready`.
    ///
    /// # Errors
    /// The connection is broken.
    fn start_ping(self: Pin<&mut Self>) -> Result<bool, UpstreamFault>;
}

/// A dialled connection.
pub type Transport = Box<dyn Wire>;

/// Connects, within `limit` altogether. How long each phase took is counted.
///
/// # Errors
/// Which step failed, as a kind of the closed list.
pub async fn dial(
    dial: &Dial,
    limit: Duration,
    metrics: &UpstreamMetrics,
) -> Result<Transport, UpstreamFault> {
    match dial {
        Dial::WebSocket { url, headers } => {
            let socket =
                websocket::dial_timed(url, headers, limit, &|phase, time| metrics.dial_phase(phase, time))
                    .await?;
            Ok(Box::new(socket))
        }
        Dial::VoiceWorker => {
            let started = tokio::time::timeout(limit, process::dial_worker()).await;
            let late = |_| UpstreamFault::new(FaultKind::ConnectTimeout, "the voice worker does not start");
            Ok(Box::new(started.map_err(late)??))
        }
    }
}
