//! Errors over HTTP: RFC 9457 bodies, and the fields that go with their status.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use voxrelay_protocol::vendor::native::messages;
use voxrelay_protocol::{Fault, FaultCode};

/// Names one request in answers and logs.
#[derive(Debug, Clone)]
pub struct RequestId(String);

impl RequestId {
    /// A new one; they sort by time.
    pub fn fresh() -> Self {
        Self(format!("req_{}", uuid::Uuid::now_v7().simple()))
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(Self::fresh))
    }
}

/// A fault as an HTTP answer.
pub struct Problem {
    fault: Fault,
    request_id: String,
    status: Option<StatusCode>,
}

impl Problem {
    /// The fault's own status.
    pub fn new(fault: Fault, id: &RequestId) -> Self {
        Self { fault, request_id: id.as_str().to_owned(), status: None }
    }

    /// Another status than the fault's own.
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut problem = messages::Problem::of(&self.fault, &self.request_id);
        let own = StatusCode::from_u16(self.fault.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let status = self.status.unwrap_or(own);
        problem.status = status.as_u16();
        let mut response = (status, problem.http_body()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"voxrelay\""));
        }
        let may_wait = status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE;
        if may_wait {
            let seconds = self.fault.retry_after_ms.unwrap_or(1000).div_ceil(1000).max(1);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.fault.code == FaultCode::Draining {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
