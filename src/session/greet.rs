//! A WebSocket session from its upgrade to its last frame.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use voxrelay_protocol::reply::{Limits, Ready};
use voxrelay_protocol::request::Credential;
use voxrelay_protocol::{Fault, FaultCode, Reply, Request};

use super::client::{Client, Incoming};
use super::socket::{Abort, SocketClient};
use super::{Ended, converse};
use crate::app::{App, Place};
use crate::auth::Caller;
use crate::metrics;

/// Longest first frame of a client that has not shown its key, in bytes.
const FIRST_FRAME: usize = 4 * 1024;

/// What the upgrade already knows of the client.
pub struct Greeting {
    /// The upgrade's request id.
    pub request_id: String,
    /// Where the client is.
    pub source: IpAddr,
    /// What the upgrade said about who is calling.
    pub credential: Shown,
    /// The session's place among all.
    pub place: Place,
}

/// What a client has shown with its upgrade.
pub enum Shown {
    /// A good key; how long its check took.
    Caller(Arc<Caller>, Duration),
    /// A single-use token, judged after the upgrade: a browser cannot read the answer to a refused one.
    Token(Credential, metrics::AuthWay),
    /// Nothing yet: the first frame must say it.
    Nothing,
}

/// One client's life: greet, converse, close. Counted from begin to end on every path.
pub async fn serve<S>(mut client: SocketClient<S>, greeting: Greeting, app: App)
where
    S: AsyncRead + AsyncWrite + Abort + Unpin,
{
    let began = Instant::now();
    let dialect = metrics::Dialect::named(client.dialect());
    let ended = match greet(&mut client, &greeting, &app).await {
        Ok((caller, auth, way)) => {
            let _open = metrics::session_opened(dialect, way);
            metrics::first_audio_part(metrics::Part::Auth, auth);
            client.tell(&Reply::Ready(Box::new(ready(&greeting, &caller, &app))));
            converse(&mut client, &caller, &app, dialect, auth).await
        }
        Err(NotGreeted::Refused(fault, code)) => {
            metrics::session_refused(fault.code);
            client.tell(&Reply::Error { stream: None, fault: fault.clone(), ended: false });
            Ended::Close(code, fault.code.as_str())
        }
        Err(NotGreeted::Gone) => Ended::Gone,
    };
    let (code, by) = closing(ended, &client);
    match ended {
        Ended::Close(code, reason) => {
            client.close(code, &format!("{reason} {}", greeting.request_id)).await;
        }
        Ended::Gone if by == metrics::ClosedBy::Client => client.close(1000, "").await,
        Ended::Gone => client.abort(),
        Ended::Stalled => {
            let fault = Fault::new(FaultCode::SlowConsumer, "the client does not read what it is sent");
            let reason = format!("{} {}", fault.code.as_str(), greeting.request_id);
            client.give_up(fault, 1008, &reason).await;
        }
    }
    metrics::session_closed(code, by, began.elapsed());
    tracing::debug!(request_id = %greeting.request_id, ?ended, "session over");
}

fn closing<S: AsyncRead + AsyncWrite + Abort + Unpin>(
    ended: Ended,
    client: &SocketClient<S>,
) -> (metrics::CloseCode, metrics::ClosedBy) {
    match (ended, client.closed_by_peer()) {
        (Ended::Close(code, _), _) => (metrics::CloseCode::of(code), metrics::ClosedBy::Relay),
        (Ended::Stalled, _) => (metrics::CloseCode::Policy, metrics::ClosedBy::Relay),
        (Ended::Gone, Some(code)) => (metrics::CloseCode::of(code), metrics::ClosedBy::Client),
        (Ended::Gone, None) => (metrics::CloseCode::None, metrics::ClosedBy::Network),
    }
}

enum NotGreeted {
    Refused(Fault, u16),
    Gone,
}

/// Who is calling: known from the upgrade, or from the first frame within its time.
async fn greet<S>(
    client: &mut SocketClient<S>,
    greeting: &Greeting,
    app: &App,
) -> Result<(Arc<Caller>, Duration, metrics::AuthWay), NotGreeted>
where
    S: AsyncRead + AsyncWrite + Abort + Unpin,
{
    let (token, way) = match &greeting.credential {
        Shown::Caller(caller, took) => {
            let way = if caller.key.is_none() { metrics::AuthWay::Open } else { metrics::AuthWay::Header };
            return Ok((caller.clone(), *took, way));
        }
        Shown::Token(token, way) => (token.clone(), *way),
        Shown::Nothing => (first_frame(client, greeting, app).await?, metrics::AuthWay::FirstFrame),
    };
    let began = Instant::now();
    match app.check(Some(&token), greeting.source).await {
        Ok(caller) => Ok((caller, began.elapsed(), way)),
        Err(fault) => {
            let code = match fault.code {
                FaultCode::Forbidden => 3003,
                FaultCode::RateLimited => 1008,
                FaultCode::Overloaded => 1013,
                _ => 3000,
            };
            Err(NotGreeted::Refused(fault, code))
        }
    }
}

/// The credential in the first frame. Later frames stay in the socket until the key is known.
async fn first_frame<S>(
    client: &mut SocketClient<S>,
    greeting: &Greeting,
    app: &App,
) -> Result<Credential, NotGreeted>
where
    S: AsyncRead + AsyncWrite + Abort + Unpin,
{
    let _stranger = app.admit_stranger(greeting.source).map_err(|fault| NotGreeted::Refused(fault, 1013))?;
    let limit = app.config.auth.first_frame_timeout;
    client.look_into(FIRST_FRAME);
    let first = std::future::poll_fn(|cx| {
        if matches!(client.poll_flush(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(Incoming::Gone);
        }
        client.poll_incoming(cx)
    });
    let first = tokio::select! {
        first = tokio::time::timeout(limit, first) => first,
        () = app.drain.begun() => {
            let fault = Fault::new(FaultCode::Draining, "the relay is going away").retry_after(1000);
            return Err(NotGreeted::Refused(fault, 1001));
        }
    };
    client.look_into(app.config.limits.message_bytes);
    match first {
        Err(_) => {
            let fault = Fault::new(FaultCode::AuthTimeout, "the first frame did not come in time");
            Err(NotGreeted::Refused(fault, 3008))
        }
        Ok(Incoming::Request(Ok(Request::Auth(token)))) => Ok(token),
        Ok(Incoming::Request(_)) => {
            let fault =
                Fault::new(FaultCode::MissingCredentials, "the first frame must be auth with a token");
            Err(NotGreeted::Refused(fault, 3000))
        }
        Ok(Incoming::Violation(fault, code)) => Err(NotGreeted::Refused(fault, code)),
        Ok(Incoming::Gone) => Err(NotGreeted::Gone),
    }
}

fn ready(greeting: &Greeting, caller: &Caller, app: &App) -> Ready {
    let limits = &app.config.limits;
    Ready {
        session: format!("ses_{}", uuid::Uuid::now_v7().simple()),
        request_id: greeting.request_id.clone(),
        key: caller.key.as_deref().map(str::to_owned),
        org: caller.org.to_string(),
        limits: Limits {
            streams: caller.key_streams.min(caller.org_streams),
            session_streams: limits.session_streams as u64,
            characters_per_stream: limits.characters_per_stream,
        },
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
