//! The public listener: what is where, and who may come in.

mod body;
mod gate;
mod info;
mod problem;
mod speech;
mod stream;
mod tokens;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::time::Instant;
use voxrelay_protocol::request::Credential;
use voxrelay_protocol::{Fault, FaultCode};

use crate::app::App;
use crate::auth::Caller;
use problem::{Problem, RequestId};

/// Everything the public listener answers.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/v1/stream", get(stream::upgrade))
        .route("/v1/speech", post(speech::speech))
        .route("/v1/me", get(info::me))
        .route("/v1/voices", get(info::voices))
        .route("/v1/tokens", post(tokens::issue))
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(|id: RequestId| async move {
            let fault = Fault::new(FaultCode::InvalidRequest, "there is nothing at this path");
            Problem::new(fault, &id).with_status(StatusCode::NOT_FOUND)
        })
        .method_not_allowed_fallback(|id: RequestId| async move {
            let fault = Fault::new(FaultCode::InvalidRequest, "this path does not take this method");
            Problem::new(fault, &id).with_status(StatusCode::METHOD_NOT_ALLOWED)
        })
        .layer(middleware::from_fn(identify))
        .with_state(app)
}

/// Gives every request an id, and every answer the same.
async fn identify(mut request: Request, next: Next) -> Response {
    let id = RequestId::fresh();
    let value = HeaderValue::from_str(id.as_str()).ok();
    request.extensions_mut().insert(id);
    let mut response = next.run(request).await;
    if let Some(value) = value {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

/// Who is calling, as far as the request's head tells, and how long it took to find out.
enum Head {
    Caller(Arc<Caller>, Duration),
    /// No credential at all: a WebSocket may still send its key in the first frame.
    Nothing,
}

/// Checks the credential in a request's head.
async fn authenticate(app: &App, headers: &HeaderMap, uri: &Uri, source: IpAddr) -> Result<Head, Fault> {
    if let Some(caller) = app.auth.open_caller() {
        return Ok(Head::Caller(caller, Duration::ZERO));
    }
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .and_then(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()));
        let began = Instant::now();
        // What is no Bearer credential is checked like one: it fails as any bad key does.
        let caller = app.check(Some(&Credential::new(token.unwrap_or("?"))), source).await?;
        return Ok(Head::Caller(caller, began.elapsed()));
    }
    if uri.query().is_some_and(carries_key) {
        let detail =
            "a key in a URL ends up in logs: send it as Authorization: Bearer, or in the first frame";
        return Err(Fault::new(FaultCode::InvalidCredentials, detail));
    }
    Ok(Head::Nothing)
}

/// The same for requests that cannot bring a key later.
async fn require(app: &App, headers: &HeaderMap, uri: &Uri, source: IpAddr) -> Result<Arc<Caller>, Fault> {
    match authenticate(app, headers, uri, source).await? {
        Head::Caller(caller, _) => Ok(caller),
        Head::Nothing => app.check(None, source).await,
    }
}

/// The caller of a request that must have one.
struct Known(Arc<Caller>);

impl FromRequestParts<App> for Known {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let Ok(id) = RequestId::from_request_parts(parts, app).await;
        let connect = ConnectInfo::<SocketAddr>::from_request_parts(parts, app).await;
        let connect = connect.map_err(IntoResponse::into_response)?;
        let caller = require(app, &parts.headers, &parts.uri, source(&connect)).await;
        caller.map(Self).map_err(|fault| refuse(fault, &id))
    }
}

fn carries_key(query: &str) -> bool {
    query.split('&').any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        value.starts_with("sk-") || matches!(name, "token" | "key" | "api_key" | "access_token")
    })
}

/// Where a request comes from, for the throttle of failed keys.
fn source(connect: &ConnectInfo<SocketAddr>) -> IpAddr {
    connect.0.ip().to_canonical()
}

fn refuse(fault: Fault, id: &RequestId) -> Response {
    crate::metrics::session_refused(fault.code);
    Problem::new(fault, id).into_response()
}
