//! The operator's listener: metrics and health, told apart from what clients may see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::drain::Drain;
use crate::metrics;

/// Scrapes at once; each holds a copy of the whole exposition.
const SCRAPES: usize = 2;

/// Whether new sessions are welcome, and if not, why. Clones share it.
#[derive(Debug, Clone)]
pub struct Readiness {
    drain: Drain,
    store_down: Arc<AtomicBool>,
}

impl Readiness {
    /// Ready from now on; call it when the listeners are bound and the store is open.
    #[must_use]
    pub fn new(drain: Drain) -> Self {
        let readiness = Self { drain, store_down: Arc::default() };
        readiness.expose();
        readiness
    }

    /// The key store answers or does not.
    pub fn store(&self, answers: bool) {
        self.store_down.store(!answers, Ordering::Relaxed);
        self.expose();
    }

    /// Why new sessions are not welcome; empty when they are.
    #[must_use]
    pub fn reasons(&self) -> Vec<&'static str> {
        let store = self.store_down.load(Ordering::Relaxed).then_some("store_down");
        self.drain.has_begun().then_some("draining").into_iter().chain(store).collect()
    }

    fn expose(&self) {
        metrics::ready(self.reasons().is_empty());
        metrics::draining(self.drain.has_begun());
    }
}

#[derive(Clone)]
struct Operator {
    readiness: Readiness,
    scrapes: Arc<Semaphore>,
}

/// What the operator's listener serves.
pub fn router(readiness: Readiness) -> Router {
    let operator = Operator { readiness, scrapes: Arc::new(Semaphore::new(SCRAPES)) };
    Router::new()
        .route("/metrics", get(scrape))
        .route("/livez", get(|| async { "live\n" }))
        .route("/readyz", get(ready))
        .fallback(|| async {
            problem(StatusCode::NOT_FOUND, "Not found", "This listener has /metrics, /livez and /readyz.")
        })
        .method_not_allowed_fallback(|| async {
            problem(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", "Only GET is served here.")
        })
        .with_state(operator)
}

async fn scrape(State(operator): State<Operator>) -> Response {
    let Ok(_turn) = operator.scrapes.try_acquire() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "Busy", "Other scrapes are still being answered.");
    };
    operator.readiness.expose();
    match tokio::task::spawn_blocking(metrics::render).await {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(_) => {
            problem(StatusCode::INTERNAL_SERVER_ERROR, "Internal error", "The metrics could not be rendered.")
        }
    }
}

async fn ready(State(operator): State<Operator>) -> Response {
    let reasons = operator.readiness.reasons();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": reasons.is_empty(), "reasons": reasons }))).into_response()
}

fn problem(status: StatusCode, title: &str, detail: &str) -> Response {
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn get(readiness: &Readiness, path: &str) -> (StatusCode, String, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(readiness.clone()).oneshot(request).await.unwrap();
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_scrape_is_text_of_the_exposition_format() {
        metrics::install(["local"]);
        let (status, kind, text) = get(&Readiness::new(Drain::new()), "/metrics").await;
        assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8"));
        assert!(text.contains("voxrelay_build_info{"));
    }

    #[tokio::test]
    async fn readiness_says_every_reason() {
        let drain = Drain::new();
        let readiness = Readiness::new(drain.clone());
        assert_eq!(get(&readiness, "/readyz").await.0, StatusCode::OK);
        readiness.store(false);
        drain.begin();
        let (status, _, body) = get(&readiness, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, r#"{"ready":false,"reasons":["draining","store_down"]}"#);
        assert_eq!(get(&readiness, "/livez").await.0, StatusCode::OK, "a draining relay is alive");
    }

    #[tokio::test]
    async fn another_path_is_a_problem() {
        let (status, kind, body) = get(&Readiness::new(Drain::new()), "/v1/stream").await;
        assert_eq!((status, kind.as_str()), (StatusCode::NOT_FOUND, "application/problem+json"));
        assert!(body.contains("\"status\":404"));
    }
}
