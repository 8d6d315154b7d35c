//! A request's body, bounded in bytes and in time.

use std::time::Duration;

use axum::extract::Request;
use voxrelay_protocol::{Fault, FaultCode};

/// How long a body may take to arrive.
const TIME: Duration = Duration::from_secs(10);

/// The body as text.
///
/// # Errors
/// `text_too_long` past `limit` bytes, `invalid_request` when it is not UTF-8 or does not come in time.
pub async fn read(request: Request, limit: usize) -> Result<String, Fault> {
    let body = tokio::time::timeout(TIME, axum::body::to_bytes(request.into_body(), limit)).await;
    let body = body
        .map_err(|_| Fault::invalid("body", "did not arrive in time"))?
        .map_err(|_| Fault::new(FaultCode::TextTooLong, format!("the body is larger than {limit} bytes")))?;
    String::from_utf8(body.into()).map_err(|_| Fault::invalid("body", "is not UTF-8"))
}
