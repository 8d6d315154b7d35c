//! HTTP requests, one connection each, and raw bytes for what no library would send.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::within;

/// A request to be sent.
pub struct Ask {
    addr: String,
    request: hyper::http::request::Builder,
    body: Bytes,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An answer whose body is still coming. Dropping it drops the connection.
pub struct Coming {
    pub response: Response<Incoming>,
    connection: JoinHandle<()>,
}

impl Ask {
    pub fn new(addr: &str, method: &str, path: &str) -> Self {
        let request = Request::builder().method(method).uri(path).header("host", addr);
        Self { addr: addr.to_owned(), request, body: Bytes::new() }
    }

    pub fn bearer(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn json(self, body: Value) -> Self {
        self.body(body.to_string())
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it and waits for the head of the answer.
    #[allow(clippy::disallowed_methods)] // no relay owns this task; it ends with its connection
    pub async fn begin(self) -> Coming {
        let stream = TcpStream::connect(&self.addr).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(async move {
            let _ = connection.await; // how it ended shows at the answer
        });
        let request = self.request.body(Full::new(self.body)).unwrap();
        let response = within("an answer", sender.send_request(request)).await.unwrap();
        Coming { response, connection }
    }

    /// Sends it and waits for all of the answer.
    pub async fn send(self) -> Answer {
        let mut coming = self.begin().await;
        let body = within("a body", coming.response.body_mut().collect()).await.unwrap().to_bytes();
        let (status, headers) = (coming.response.status().as_u16(), coming.response.headers().clone());
        Answer { status, headers, body }
    }
}

impl Coming {
    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// The body was cut short.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        match within("a piece of the body", self.response.body_mut().frame()).await {
            Some(frame) => Ok(Some(frame?.into_data().unwrap_or_default())),
            None => Ok(None),
        }
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// An RFC 9457 answer of that status and code, with all that goes with it.
    pub fn is_problem(&self, status: u16, code: &str) -> Value {
        let problem = self.json();
        assert_eq!((self.status, problem["code"].as_str()), (status, Some(code)), "{problem}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {problem}");
        }
        assert!(problem["retryable"].is_boolean(), "{problem}");
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        assert_eq!(self.headers.contains_key("www-authenticate"), status == 401);
        assert_eq!(self.headers.contains_key("retry-after"), status == 429 || status == 503);
        problem
    }
}

/// Sends bytes as they are and reads all that comes back until the relay closes.
pub async fn raw(addr: &str, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    read_all(&mut socket).await
}

/// All that comes until the relay closes or resets.
pub async fn read_all(socket: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let _ = within("the relay closes", socket.read_to_end(&mut all)).await;
    String::from_utf8_lossy(&all).into_owned()
}
