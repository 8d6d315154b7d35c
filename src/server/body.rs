//! A request's body, bounded in bytes and in time.

use axum::extract::Request;
use axum::http::header;
use hyper::body::Body as _;
use voxrelay_protocol::{Fault, FaultCode};

use crate::config::Limits;

/// A body may take this many times as long to arrive as a head.
const TIME: u32 = 2;

/// The body as text.
///
/// # Errors
/// `text_too_long` past `most` bytes, `idle_timeout` when it does not come in time, `invalid_request`
/// when it is packed or not UTF-8.
pub async fn read(request: Request, most: usize, limits: &Limits) -> Result<String, Fault> {
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return Err(Fault::invalid("content-encoding", "bodies are taken as they are only"));
    }
    let too_long = || Fault::new(FaultCode::TextTooLong, format!("the body is larger than {most} bytes"));
    let body = request.into_body();
    // What is announced too long need not come first.
    if body.size_hint().lower() > most as u64 {
        return Err(too_long());
    }
    let body = tokio::time::timeout(limits.head_timeout * TIME, axum::body::to_bytes(body, most))
        .await
        .map_err(|_| Fault::new(FaultCode::IdleTimeout, "the body did not arrive in time"))?
        .map_err(|_| too_long())?;
    String::from_utf8(body.into()).map_err(|_| Fault::invalid("body", "is not UTF-8"))
}
