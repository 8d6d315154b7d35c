//! The accept loop of both listeners. Our own, because a listener on the open internet needs a limit on
//! everything: how long a request head may take (all of it, however it drips), its size, its fields,
//! the connections at once. It must know nothing of what is served.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, StatusCode, header};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::drain::Drain;
use crate::metrics::{self, Listener};

/// Bytes of a request head, its first line included.
const HEAD_BYTES: usize = 16 * 1024;
/// Fields of a request head.
const HEAD_FIELDS: usize = 64;
/// Unsent bytes the kernel may hold for a client: what waits there cannot be taken back by a cancel.
const UNSENT_BYTES: u32 = 16 * 1024;
/// A peer that acknowledges nothing for this long is gone. Above every write deadline of ours.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// A silent connection is probed after the first, then at the second of these.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(10));
/// Pauses after a failed accept.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What a listener allows.
#[derive(Debug, Clone)]
pub struct AcceptSettings {
    /// Which listener, for the metrics.
    pub listener: Listener,
    /// How long a whole request head may take; also how long a kept-alive connection may be idle.
    pub head_timeout: Duration,
    /// HTTP connections at once (upgraded ones no longer count); more wait in the kernel's backlog.
    pub connections: usize,
}

/// Serves `app` until it is dropped. When the drain begins, idle connections are closed and the others
/// after their answer; new ones are still answered (by `app`, which knows that it drains), once each.
/// Run it with [`Drain::spawn_until_cut`].
pub async fn serve(listener: TcpListener, app: Router, settings: AcceptSettings, drain: Drain) {
    let room = Arc::new(Semaphore::new(settings.connections));
    let mut failures = 0;
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                metrics::accept_failed(settings.listener);
                tracing::warn!(%error, listener = ?settings.listener, "a connection was not accepted");
                tokio::time::sleep(after_error(&error, &mut failures)).await;
                continue;
            }
        };
        failures = 0;
        if let Err(error) = tune(&socket) {
            tracing::debug!(%error, "a socket option was refused"); // the peer has gone already
        }
        let (app, head_timeout, own, open) = (
            app.clone(),
            settings.head_timeout,
            drain.clone(),
            metrics::connection_opened(settings.listener),
        );
        let connection = async move {
            converse(socket, peer, app, head_timeout, &own).await;
            drop((permit, open));
        };
        // Whoever comes after the drain began is told so, and must not hold it up.
        if drain.has_begun() {
            drain.spawn_until_cut(connection);
        } else {
            drain.spawn(connection);
        }
    }
}

/// How long to wait after a failed accept. One connection's bad luck costs nothing; an exhausted system
/// (descriptors, memory) is given time, more with each failure in a row. No error ends the loop.
fn after_error(error: &io::Error, failures: &mut u32) -> Duration {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        return Duration::ZERO;
    }
    let pause = BACK_OFF.0.saturating_mul(1 << (*failures).min(7));
    *failures = failures.saturating_add(1);
    pause.min(BACK_OFF.1)
}

/// Sets the options of a client's socket. The relay's own writes are whole frames, so no delay; little
/// may wait in the kernel; dead peers are noticed.
fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE.0).with_interval(KEEPALIVE.1))?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    }
    Ok(())
}

/// One connection from its first byte to its end, or to its upgrade.
async fn converse<S>(socket: S, peer: SocketAddr, app: Router, head_timeout: Duration, drain: &Drain)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answered = Arc::new(AtomicBool::new(false));
    let (own, seen) = (drain.clone(), answered.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = app.clone().oneshot(request);
        let (drain, answered) = (own.clone(), seen.clone());
        async move {
            let mut response = answer.await?;
            answered.store(true, Ordering::Relaxed);
            if drain.has_begun() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut draining = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = drain.begun(), if !draining => {
                draining = true;
                // Before its first request a connection would be closed without an answer.
                if answered.load(Ordering::Relaxed) {
                    connection.as_mut().graceful_shutdown();
                }
            }
            () = drain.cut_off() => return,
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection ended badly");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::{Instant, sleep};

    use super::*;

    const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

    fn connect(drain: &Drain) -> DuplexStream {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let app = Router::new()
            .route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }));
        let own = drain.clone();
        drain.spawn(async move {
            converse(server, SocketAddr::from(([192, 0, 2, 7], 7)), app, HEAD_TIMEOUT, &own).await;
        });
        client
    }

    async fn answer(client: &mut DuplexStream) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_is_cut_off_at_the_deadline_of_the_whole_head() {
        let mut client = connect(&Drain::new());
        let began = Instant::now();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nx: ").await.unwrap();
        while client.write_all(b"y").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
        assert!(began.elapsed() <= HEAD_TIMEOUT + Duration::from_secs(1), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_closed_at_the_same_deadline() {
        let mut client = connect(&Drain::new());
        let began = Instant::now();
        assert_eq!(answer(&mut client).await, "");
        assert_eq!(began.elapsed(), HEAD_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_kept_alive_connection_is_closed() {
        let mut client = connect(&Drain::new());
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let began = Instant::now();
        assert!(answer(&mut client).await.ends_with("192.0.2.7:7"));
        assert_eq!(began.elapsed(), HEAD_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_above_its_size_is_refused() {
        let mut client = connect(&Drain::new());
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "y".repeat(HEAD_BYTES));
        client.write_all(head.as_bytes()).await.unwrap();
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 431 "));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_with_too_many_fields_is_refused() {
        let mut client = connect(&Drain::new());
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(HEAD_FIELDS));
        client.write_all(head.as_bytes()).await.unwrap();
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 431 "));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_closes_idle_connections_at_once() {
        let drain = Drain::new();
        let mut client = connect(&drain);
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        client.read_exact(&mut first).await.unwrap();
        let began = Instant::now();
        drain.begin();
        answer(&mut client).await;
        assert!(drain.wait(HEAD_TIMEOUT).await);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_is_answered_once_while_draining() {
        let drain = Drain::new();
        drain.begin();
        let mut client = connect(&drain);
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let text = answer(&mut client).await;
        assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("connection: close"), "{text}");
    }

    #[test]
    fn exhausted_descriptors_are_waited_for_longer_each_time_and_never_end_the_loop() {
        const EMFILE: i32 = 24;
        let mut failures = 0;
        let pauses: Vec<_> =
            (0..10).map(|_| after_error(&io::Error::from_raw_os_error(EMFILE), &mut failures)).collect();
        assert_eq!(pauses[0], BACK_OFF.0);
        assert!(pauses.is_sorted());
        assert_eq!(pauses[9], BACK_OFF.1);
    }

    #[test]
    fn a_connection_that_was_reset_before_its_accept_costs_no_pause() {
        let mut failures = 0;
        assert_eq!(after_error(&io::ErrorKind::ConnectionAborted.into(), &mut failures), Duration::ZERO);
        assert_eq!(failures, 0);
    }

    #[tokio::test]
    async fn a_listener_answers_over_a_real_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let drain = Drain::new();
        let settings =
            AcceptSettings { listener: Listener::Public, head_timeout: HEAD_TIMEOUT, connections: 1 };
        let app = Router::new().route("/", get(|| async { "here" }));
        drain.spawn_until_cut(serve(listener, app, settings, drain.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert!(text.ends_with("here"), "{text}");
        drain.begin();
        assert!(drain.wait(HEAD_TIMEOUT).await);
        drain.cut();
    }
}
