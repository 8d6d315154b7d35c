//! A WebSocket to a vendor: TCP, TLS, upgrade, all within one time limit, every failure sorted.
//!
//! Buffers are set on purpose: the library's defaults cost 128 KiB a connection each way, and the
//! read buffer is zeroed before every read.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use tokio_tungstenite::tungstenite::http::uri::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::either::Either;
use voxrelay_protocol::request::Credential;
use voxrelay_protocol::{FaultKind, Frame, UpstreamFault};

use super::{Incoming, Wire};
use crate::metrics::DialPhase;

/// Largest frame or message taken from a vendor, in bytes.
pub const MESSAGE_MAX: usize = 1024 * 1024;
const READ_BUFFER: usize = 4 * 1024;
const WRITE_BUFFER: usize = 4 * 1024;
/// What may wait in the library's write buffer before a write fails, in bytes.
const WRITE_BUFFER_MAX: usize = WRITE_BUFFER + MESSAGE_MAX;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// How long an address may stay silent while there is another to try.
const ADDRESS_PATIENCE: Duration = Duration::from_millis(500);
/// A vendor's `Retry-After` is believed up to this, in seconds.
const RETRY_AFTER_MAX: u64 = 60;

/// Told of each phase of a dial.
type Took<'a> = &'a (dyn Fn(DialPhase, Duration) + Sync);
type Socket = Either<TcpStream, TlsStream<TcpStream>>;

/// The settings of a WebSocket to a vendor.
#[must_use]
pub fn settings() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER_MAX)
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX))
}

/// Connects to a `ws://` or `wss://` address. Redirects are never followed, certificates always
/// verified, and of a refusal no more is read than came with its head (at most 4 KiB).
///
/// # Errors
/// `dns`, `refused`, `reset`, `connect_timeout`, `tls`, `auth`, `payment`, `throttled`, `http_5xx`,
/// `handshake`.
pub async fn dial(
    url: &str,
    headers: &[(&'static str, Credential)],
    limit: Duration,
) -> Result<WebSocket<Socket>, UpstreamFault> {
    dial_timed(url, headers, limit, &|_, _| {}).await
}

/// [`dial`], which also tells how long each phase took that came to its end.
///
/// # Errors
/// Those of [`dial`].
pub async fn dial_timed(
    url: &str,
    headers: &[(&'static str, Credential)],
    limit: Duration,
    took: Took<'_>,
) -> Result<WebSocket<Socket>, UpstreamFault> {
    let connect = async {
        let request = request(url, headers)?;
        let socket = connect(request.uri(), took).await?;
        let asked = Instant::now();
        let upgraded = client_async_with_config(request, socket, Some(settings())).await;
        took(DialPhase::Upgrade, asked.elapsed());
        upgraded.map(|(socket, _)| WebSocket(socket)).map_err(handshake_fault)
    };
    tokio::time::timeout(limit, connect)
        .await
        .unwrap_or_else(|_| Err(fault(FaultKind::ConnectTimeout, "no connection in time")))
}

fn request(url: &str, headers: &[(&'static str, Credential)]) -> Result<Request, UpstreamFault> {
    let unusable = |_| fault(FaultKind::Handshake, "the address cannot be dialled");
    let mut request = url.into_client_request().map_err(unusable)?;
    for (name, value) in headers {
        let mut value = HeaderValue::from_str(value.expose())
            .map_err(|_| fault(FaultKind::Auth, "the provider key cannot be sent in a header"))?;
        value.set_sensitive(true);
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    Ok(request)
}

async fn connect(uri: &Uri, took: Took<'_>) -> Result<Socket, UpstreamFault> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let secure = uri.scheme_str() == Some("wss");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let asked = Instant::now();
    let addresses = lookup_host((host, port)).await;
    took(DialPhase::Dns, asked.elapsed());
    let addresses = addresses.map_err(|_| fault(FaultKind::Dns, "the name has no address"))?;
    let asked = Instant::now();
    let tcp = first_of(addresses).await?;
    took(DialPhase::Tcp, asked.elapsed());
    tcp.set_nodelay(true).map_err(|error| io_fault(&error, FaultKind::Reset))?;
    if !secure {
        return Ok(Either::Left(tcp));
    }
    let asked = Instant::now();
    let socket = encrypt(host, tcp).await?;
    took(DialPhase::Tls, asked.elapsed());
    Ok(socket)
}

/// The first address that answers. A silent one must not use up the time of those behind it.
async fn first_of(addresses: impl Iterator<Item = SocketAddr>) -> Result<TcpStream, UpstreamFault> {
    let mut last = fault(FaultKind::Dns, "the name has no address");
    let mut addresses = addresses.take(ADDRESSES_MAX).peekable();
    while let Some(address) = addresses.next() {
        let patience = if addresses.peek().is_some() { ADDRESS_PATIENCE } else { Duration::MAX };
        last = match tokio::time::timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => io_fault(&error, FaultKind::Refused),
            Err(_) => fault(FaultKind::ConnectTimeout, "the address does not answer"),
        };
    }
    Err(last)
}

async fn encrypt(host: &str, tcp: TcpStream) -> Result<Socket, UpstreamFault> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| fault(FaultKind::Tls, "the name cannot be verified"))?;
    let config = tls_config()?;
    let tls = TlsConnector::from(config).connect(name, tcp).await;
    tls.map(Either::Right).map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::UnexpectedEof => {
            io_fault(&error, FaultKind::Reset)
        }
        _ => fault(FaultKind::Tls, "the TLS handshake failed"),
    })
}

/// Compiled-in roots, and the system's own beside them for private authorities.
fn tls_config() -> Result<Arc<ClientConfig>, UpstreamFault> {
    static CONFIG: OnceLock<Option<Arc<ClientConfig>>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        versions.ok().map(|config| Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
    });
    config.clone().ok_or_else(|| fault(FaultKind::Tls, "no TLS version can be spoken"))
}

fn fault(kind: FaultKind, note: &'static str) -> UpstreamFault {
    UpstreamFault::new(kind, note)
}

fn io_fault(error: &std::io::Error, otherwise: FaultKind) -> UpstreamFault {
    use std::io::ErrorKind as Io;
    let kind = match error.kind() {
        Io::ConnectionRefused => FaultKind::Refused,
        Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe | Io::UnexpectedEof => FaultKind::Reset,
        Io::TimedOut => FaultKind::ConnectTimeout,
        _ => otherwise,
    };
    UpstreamFault::new(kind, error.kind().to_string())
}

fn handshake_fault(error: Error) -> UpstreamFault {
    match error {
        Error::Http(response) => status_fault(&response),
        Error::Io(error) => io_fault(&error, FaultKind::Reset),
        // The peer hung up before its answer was whole.
        Error::Protocol(problem) if problem == HANGUP => fault(FaultKind::Reset, "closed during the upgrade"),
        _ => fault(FaultKind::Handshake, "not a WebSocket answer"),
    }
}

const HANGUP: tokio_tungstenite::tungstenite::error::ProtocolError =
    tokio_tungstenite::tungstenite::error::ProtocolError::HandshakeIncomplete;

fn status_fault(response: &Response) -> UpstreamFault {
    let status = response.status().as_u16();
    let kind = match status {
        401 | 403 => FaultKind::Auth,
        402 => FaultKind::Payment,
        429 => FaultKind::Throttled,
        500..=599 => FaultKind::Http5xx,
        // Where voice and options are in the address, these are about them; a page is from somewhere else.
        400 | 404 | 422 if !is_page(response) => FaultKind::Rejected,
        _ => FaultKind::Handshake,
    };
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut fault = UpstreamFault::new(kind, format!("the upgrade was answered with status {status}"));
    fault.retry_after_ms = seconds.map(|seconds: u64| seconds.min(RETRY_AFTER_MAX) * 1000);
    fault
}

fn is_page(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/html"))
}

/// A WebSocket as a [`Wire`].
pub struct WebSocket<S>(WebSocketStream<S>);

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Stream for WebSocket<S> {
    type Item = Result<Incoming, UpstreamFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let incoming = match ready!(self.0.poll_next_unpin(cx)) {
            Some(Ok(Message::Text(text))) => Incoming::Text(text),
            Some(Ok(Message::Binary(bytes))) => Incoming::Binary(bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Incoming::Alive,
            Some(Ok(Message::Close(Some(frame)))) => Incoming::Closed(frame.code.into(), frame.reason),
            Some(Ok(Message::Close(None))) => {
                Incoming::Closed(CloseCode::Status.into(), Utf8Bytes::default())
            }
            None => return Poll::Ready(None),
            Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(running_fault(&error)))),
        };
        Poll::Ready(Some(Ok(incoming)))
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Sink<Frame> for WebSocket<S> {
    type Error = UpstreamFault;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamFault>> {
        self.0.poll_ready_unpin(cx).map_err(|error| running_fault(&error))
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Frame) -> Result<(), UpstreamFault> {
        let message = match frame {
            Frame::Text(text) => Message::Text(text.into()),
            Frame::Binary(bytes) => Message::Binary(bytes),
        };
        self.0.start_send_unpin(message).map_err(|error| running_fault(&error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamFault>> {
        self.0.poll_flush_unpin(cx).map_err(|error| running_fault(&error))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamFault>> {
        self.0.poll_close_unpin(cx).map_err(|error| running_fault(&error))
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Wire for WebSocket<S> {
    fn start_ping(mut self: Pin<&mut Self>) -> Result<bool, UpstreamFault> {
        let ping = Message::Ping(Bytes::new());
        self.0.start_send_unpin(ping).map(|()| true).map_err(|error| running_fault(&error))
    }
}

fn running_fault(error: &Error) -> UpstreamFault {
    match error {
        Error::Io(error) => io_fault(error, FaultKind::Reset),
        Error::Capacity(_) => fault(FaultKind::Oversize, "a frame over the limit"),
        Error::WriteBufferFull(_) => fault(FaultKind::WriteStall, "the vendor does not read"),
        // Without a close frame: the connection was cut.
        Error::Protocol(problem) if *problem == CUT => {
            fault(FaultKind::Reset, "closed without a close frame")
        }
        Error::Protocol(_) | Error::Utf8(_) => fault(FaultKind::BadFrame, "broken WebSocket framing"),
        _ => fault(FaultKind::Reset, "the connection is gone"),
    }
}

const CUT: tokio_tungstenite::tungstenite::error::ProtocolError =
    tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<&str>) -> UpstreamFault {
        let mut response = Response::new(None);
        *response.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::from_u16(status).unwrap();
        if let Some(value) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        }
        status_fault(&response)
    }

    #[test]
    fn every_status_has_its_kind() {
        for (status, kind) in [
            (200, FaultKind::Handshake),
            (301, FaultKind::Handshake),
            (400, FaultKind::Rejected),
            (401, FaultKind::Auth),
            (402, FaultKind::Payment),
            (403, FaultKind::Auth),
            (404, FaultKind::Rejected),
            (429, FaultKind::Throttled),
            (500, FaultKind::Http5xx),
            (503, FaultKind::Http5xx),
        ] {
            assert_eq!(answer(status, None).kind, kind, "{status}");
        }
    }

    #[test]
    fn retry_after_is_honoured_and_capped() {
        assert_eq!(answer(429, Some("2")).retry_after_ms, Some(2_000));
        assert_eq!(answer(503, Some("86400")).retry_after_ms, Some(60_000));
        assert_eq!(answer(429, Some("soon")).retry_after_ms, None);
        assert_eq!(answer(429, None).retry_after_ms, None);
    }

    #[test]
    fn a_key_that_cannot_be_a_header_is_an_account_fault_and_never_printed() {
        let headers = [("authorization", Credential::new("Bearer a\nb"))];
        assert_eq!(request("ws://localhost/", &headers).unwrap_err().kind, FaultKind::Auth);
        let request = request("ws://localhost/", &[("x-api-key", Credential::new("canary"))]).unwrap();
        assert!(!format!("{request:?}").contains("canary"));
    }
}
