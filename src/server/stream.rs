//! `GET /v1/stream`: from the upgrade to the session's task.

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::Upgraded;
use tokio::time::Instant;
use voxrelay_protocol::request::Credential;
use voxrelay_protocol::vendor::native::dialect::Native;
use voxrelay_protocol::{Fault, FaultCode};

use super::problem::{Problem, RequestId};
use super::{Head, authenticate, gate, refuse, source};
use crate::app::App;
use crate::auth::TOKEN_PREFIX;
use crate::metrics::{self, AuthWay, UpgradeResult};
use crate::session::{Greeting, Shown, SocketClient, serve};

/// The native protocol's name among WebSocket sub-protocols.
const PROTOCOL: &str = "voxrelay.v1";

/// Answers an upgrade, and hands the socket to its session.
pub async fn upgrade(
    State(app): State<App>,
    connect: ConnectInfo<SocketAddr>,
    id: RequestId,
    request: Request,
) -> Response {
    let began = Instant::now();
    let answer = admit(app, source(&connect), id, request).await;
    let (result, response) = match answer {
        Ok(response) => (UpgradeResult::Ok, response),
        Err(response) => (UpgradeResult::Refused, response),
    };
    metrics::upgraded(result, began.elapsed());
    response
}

async fn admit(app: App, from: IpAddr, id: RequestId, mut request: Request) -> Result<Response, Response> {
    let accept = gate::accept(&request).map_err(|refused| not_an_upgrade(&refused, &id))?;
    if !gate::origin_is_allowed(request.headers(), &app.config.server.origins) {
        let fault = Fault::new(FaultCode::Forbidden, "pages from this origin may not connect");
        return Err(refuse(fault, &id));
    }
    let place = app.admit().map_err(|fault| refuse(fault, &id))?;
    let shown = shown(&app, request.headers(), request.uri(), from).await;
    let credential = shown.map_err(|fault| refuse(fault, &id))?;
    let chosen = gate::offers_protocol(request.headers(), PROTOCOL);
    let upgraded = hyper::upgrade::on(&mut request);
    let greeting = Greeting { request_id: id.as_str().to_owned(), source: from, credential, place };
    let tasks = app.drain.clone();
    tasks.spawn(async move {
        // A client that leaves before the answer has no session to speak of.
        if let Ok(upgraded) = upgraded.await {
            begin(upgraded, greeting, app).await;
        }
    });
    Ok(switching(&accept, chosen))
}

/// Who is calling, as far as the upgrade tells. The first that is there counts: the header, a token
/// among the sub-protocols, one in the query. A key is no token and is refused in both.
async fn shown(app: &App, headers: &HeaderMap, uri: &Uri, from: IpAddr) -> Result<Shown, Fault> {
    let token = |text: &str| text.starts_with(TOKEN_PREFIX).then(|| Credential::new(text));
    let in_head = headers.contains_key(header::AUTHORIZATION) || app.auth.open_caller().is_some();
    if !in_head && let Some(bearer) = gate::offered(headers, "bearer.") {
        let detail = "a key does not belong among the sub-protocols: get a single-use token for it";
        let refused = || Fault::new(FaultCode::InvalidCredentials, detail);
        return Ok(Shown::Token(token(&bearer).ok_or_else(refused)?, AuthWay::Subprotocol));
    }
    let pairs = uri.query().into_iter().flat_map(|query| query.split('&'));
    if !in_head && let Some(token) = pairs.filter_map(|pair| pair.strip_prefix("token=")).find_map(token) {
        return Ok(Shown::Token(token, AuthWay::QueryToken));
    }
    Ok(match authenticate(app, headers, uri, from).await? {
        Head::Caller(caller, took) => Shown::Caller(caller, took),
        Head::Nothing => Shown::Nothing,
    })
}

async fn begin(upgraded: Upgraded, greeting: Greeting, app: App) {
    let dialect = Box::new(Native::new(greeting.request_id.clone()));
    if let Some(client) = SocketClient::upgraded(upgraded, dialect, &app.config.limits).await {
        serve(client, greeting, app).await;
    }
}

fn switching(accept: &str, protocol: bool) -> Response {
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    *response.body_mut() = Body::empty();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    response
}

fn not_an_upgrade(refused: &gate::NotAnUpgrade, id: &RequestId) -> Response {
    metrics::session_refused(FaultCode::InvalidRequest);
    let fault = Fault::new(FaultCode::InvalidRequest, refused.detail);
    let mut response = Problem::new(fault, id).with_status(refused.status).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if refused.status == StatusCode::UPGRADE_REQUIRED {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close, Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(gate::VERSION));
    }
    response
}
