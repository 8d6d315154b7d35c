//! `POST /v1/tokens`: a single-use, short-lived token for whoever must not hold a key.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::time::Instant;
use voxrelay_protocol::Fault;
use voxrelay_protocol::vendor::native::fields::Fields;

use super::problem::RequestId;
use super::{Known, body, refuse};
use crate::app::App;
use crate::auth::{Caller, LONGEST_TOKEN};

/// Bytes of the request's body.
const BODY: usize = 16 * 1024;

/// Issues a token for the caller's key.
pub async fn issue(
    State(app): State<App>,
    Known(caller): Known,
    id: RequestId,
    request: Request,
) -> Response {
    match make(&app, &caller, request).await {
        Ok(response) => response,
        Err(fault) => refuse(fault, &id),
    }
}

async fn make(app: &App, caller: &Arc<Caller>, request: Request) -> Result<Response, Fault> {
    let asked = body::read(request, BODY, &app.config.limits).await?;
    let (life, voices) = asked_for(if asked.trim().is_empty() { "{}" } else { &asked })?;
    let token = app.tokens.issue(caller, life, voices, Instant::now())?;
    let expires_at = humantime::format_rfc3339_seconds(SystemTime::now() + life).to_string();
    let mut response = Json(json!({ "token": token, "expires_at": expires_at })).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn asked_for(body: &str) -> Result<(Duration, Option<Vec<String>>), Fault> {
    let mut fields = Fields::parse(body)?;
    let life = Duration::from_secs(fields.whole("expires_in")?.unwrap_or(LONGEST_TOKEN.as_secs()));
    if life.is_zero() || life > LONGEST_TOKEN {
        return Err(Fault::invalid("expires_in", "must be 1 to 60 seconds"));
    }
    if fields.whole("uses")?.is_some_and(|uses| uses != 1) {
        return Err(Fault::invalid("uses", "must be 1: a token is good once"));
    }
    Ok((life, fields.strings("voices")?))
}
