//! An echo on the relay's own acceptor, socket settings and socket code: only the dialect is a test's.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use voxrelay::accept::{self, AcceptSettings};
use voxrelay::config::{Config, Limits};
use voxrelay::drain::Drain;
use voxrelay::metrics::Listener;
use voxrelay::session::SocketClient;
use voxrelay::session::client::{Client, Incoming};
use voxrelay_protocol::dialect::ClientDialect;
use voxrelay_protocol::{Fault, Frame, FrameRef, Reply, Request as Ask, StreamName};

/// Listens until the runtime ends.
pub async fn listen(limits: Limits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = AcceptSettings {
        listener: Listener::Public,
        head_timeout: limits.head_timeout,
        connections: limits.sessions,
    };
    let drain = Drain::new();
    let app = Router::new().fallback(get(upgrade)).with_state((limits, drain.clone()));
    drain.clone().spawn_until_cut(accept::serve(listener, app, settings, drain));
    address
}

/// The relay's own limits, but for how much and how fast a client may send.
pub fn generous() -> Limits {
    let mut limits = Config::default().limits;
    limits.message_bytes = 32 * 1024 * 1024;
    (limits.messages_per_second, limits.messages_burst) = (u32::MAX, u32::MAX);
    (limits.controls_per_second, limits.controls_burst) = (u32::MAX, u32::MAX);
    limits
}

async fn upgrade(
    State((limits, drain)): State<(Limits, Drain)>,
    headers: HeaderMap,
    mut request: Request,
) -> Response {
    let accept = derive_accept_key(headers[header::SEC_WEBSOCKET_KEY].as_bytes());
    let upgraded = hyper::upgrade::on(&mut request);
    drain.spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let client = SocketClient::upgraded(upgraded, Box::new(Echo::default()), &limits).await;
        converse(client.unwrap()).await;
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .body(Body::empty())
        .unwrap()
}

/// What the relay's own loop does with a client, without streams: all that it says is taken first, then
/// all answers go out at once; a violation and a close end it as they end a session.
async fn converse(mut client: SocketClient<TcpStream>) {
    loop {
        let incoming = poll_fn(|cx| match client.poll_incoming(cx) {
            Poll::Ready(incoming) => Poll::Ready(incoming),
            Poll::Pending => match client.poll_flush(cx) {
                Poll::Ready(Err(_)) => Poll::Ready(Incoming::Gone),
                _ => Poll::Pending,
            },
        });
        match incoming.await {
            Incoming::Request(_) => client.tell(&Reply::Draining(0)),
            Incoming::Violation(fault, code) => return client.close(code, fault.code.as_str()).await,
            Incoming::Gone if client.closed_by_peer().is_some() => return client.close(1000, "").await,
            Incoming::Gone => return client.abort(),
        }
    }
}

/// Every message comes back with the next reply, whatever the reply is.
#[derive(Default)]
struct Echo(VecDeque<Frame>);

impl ClientDialect for Echo {
    fn name(&self) -> &'static str {
        "native"
    }

    fn takes_binary(&self) -> bool {
        true
    }

    fn decode(&mut self, frame: FrameRef<'_>) -> Result<Ask, Fault> {
        self.0.push_back(match frame {
            FrameRef::Text(text) => Frame::Text(text.to_owned()),
            FrameRef::Binary(bytes) => Frame::Binary(bytes.clone()),
        });
        Ok(Ask::End(StreamName::default_name()))
    }

    fn encode(&mut self, _: &Reply, out: &mut Vec<Frame>) {
        out.extend(self.0.pop_front());
    }
}
