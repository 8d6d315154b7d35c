//! A client on a real socket that says what it has seen when a story goes wrong.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{Answer, within};

/// Frames that are told when a story goes wrong.
const REMEMBERED: usize = 12;

/// One thing a client saw.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// A message.
    Json(Value),
    /// A binary frame.
    Audio(Bytes),
    /// A close frame: code and reason.
    Close(u16, String),
    /// The end of the connection without one.
    Gone,
}

/// One turn as a client saw it, from `started` to `done`.
#[derive(Debug, Default)]
pub struct Turn {
    pub started: Value,
    /// Binary frames, as they came.
    pub frames: Vec<Bytes>,
    /// Every other message between the two.
    pub messages: Vec<Value>,
    pub done: Value,
}

impl Turn {
    /// All audio of `raw` frames.
    pub fn audio(&self) -> Vec<u8> {
        self.frames.concat()
    }

    /// The messages of one type.
    pub fn of(&self, kind: &str) -> Vec<&Value> {
        self.messages.iter().filter(|message| message["type"] == kind).collect()
    }
}

/// A client of the native protocol.
pub struct TestClient {
    pub socket: WebSocketStream<TcpStream>,
    /// The sub-protocol the relay chose.
    pub protocol: Option<String>,
    /// The upgrade's request id.
    pub request_id: String,
    last: VecDeque<String>,
}

impl TestClient {
    /// Connects to `/v1/stream`.
    ///
    /// # Errors
    /// The answer, when it is no upgrade.
    pub async fn open(addr: &str, headers: &[(&str, &str)]) -> Result<Self, Answer> {
        Self::over(TcpStream::connect(addr).await.unwrap(), "/v1/stream", headers).await
    }

    /// A client whose kernel holds about so many bytes, for stories of clients that do not read.
    pub async fn open_narrow(addr: &str, key: &str, bytes: u32) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(bytes).unwrap();
        let stream = socket.connect(addr.parse().unwrap()).await.unwrap();
        let bearer = format!("Bearer {key}");
        let mut client = Self::over(stream, "/v1/stream", &[("authorization", &bearer)]).await.unwrap();
        client.until("ready").await;
        client
    }

    /// The upgrade on a connection of one's own.
    ///
    /// # Errors
    /// The answer, when it is no upgrade.
    pub async fn over(stream: TcpStream, path: &str, headers: &[(&str, &str)]) -> Result<Self, Answer> {
        stream.set_nodelay(true).unwrap();
        let addr = stream.peer_addr().unwrap();
        let mut request = format!("ws://{addr}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
        }
        // Small: a client that is not asked must not have read.
        let config = WebSocketConfig::default().read_buffer_size(4096);
        match within("the upgrade", client_async_with_config(request, stream, Some(config))).await {
            Ok((socket, response)) => {
                let header = |name| response.headers().get(name)?.to_str().ok().map(str::to_owned);
                Ok(Self {
                    socket,
                    protocol: header("sec-websocket-protocol"),
                    request_id: header("x-request-id").expect("every answer has an id"),
                    last: VecDeque::new(),
                })
            }
            Err(Error::Http(response)) => {
                let (parts, body) = response.into_parts();
                Err(Answer {
                    status: parts.status.as_u16(),
                    headers: parts.headers,
                    body: body.unwrap_or_default().into(),
                })
            }
            Err(other) => panic!("the upgrade: {other}"),
        }
    }

    /// Sends one message.
    pub async fn send(&mut self, message: Value) {
        self.send_raw(Message::text(message.to_string())).await;
    }

    /// Sends any frame. That the connection is closing shows when it is read.
    pub async fn send_raw(&mut self, message: Message) {
        let _ = within("a frame sent", self.socket.send(message)).await;
    }

    /// Sends the messages of a whole turn: `start` with these members, the text, `end`.
    pub async fn speak(&mut self, mut start: Value, text: &str) {
        start["type"] = "start".into();
        start["voice"] = start.get("voice").cloned().unwrap_or("default".into());
        let stream = start.get("stream").cloned().unwrap_or("default".into());
        self.send(start).await;
        self.send(json!({ "type": "text", "stream": stream, "text": text })).await;
        self.send(json!({ "type": "end", "stream": stream })).await;
    }

    /// The next thing that happens, pings apart.
    pub async fn next(&mut self) -> Seen {
        loop {
            let seen = match tokio::time::timeout(super::PATIENCE, self.socket.next()).await {
                Err(_) => panic!("nothing came; the last frames were {}", self.told()),
                Ok(Some(Ok(Message::Text(text)))) => {
                    Seen::Json(serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}")))
                }
                Ok(Some(Ok(Message::Binary(audio)))) => Seen::Audio(audio),
                Ok(Some(Ok(Message::Close(Some(frame))))) => {
                    Seen::Close(frame.code.into(), frame.reason.as_str().to_owned())
                }
                Ok(Some(Ok(Message::Close(None)))) => Seen::Close(1005, String::new()),
                Ok(Some(Ok(_))) => continue,
                Ok(None | Some(Err(_))) => Seen::Gone,
            };
            self.remember(&seen);
            return seen;
        }
    }

    /// The next message of that type; audio and other messages on the way are passed over, but no
    /// error and no close.
    pub async fn until(&mut self, kind: &str) -> Value {
        loop {
            match self.next().await {
                Seen::Json(message) if message["type"] == kind => return message,
                Seen::Json(message) if message["type"] != "error" => {}
                Seen::Audio(_) => {}
                _ => panic!("waiting for {kind}; the last frames were {}", self.told()),
            }
        }
    }

    /// The next `error`, of that code.
    pub async fn refused(&mut self, code: &str) -> Value {
        let error = self.until("error").await;
        assert_eq!(error["code"], code, "{error}");
        error
    }

    /// The next binary frame.
    pub async fn audio(&mut self) -> Bytes {
        loop {
            match self.next().await {
                Seen::Audio(audio) => return audio,
                Seen::Json(message) if message["type"] != "error" => {}
                _ => panic!("waiting for audio; the last frames were {}", self.told()),
            }
        }
    }

    /// Everything up to the next `done`.
    pub async fn turn(&mut self) -> Turn {
        let mut turn = Turn::default();
        loop {
            match self.next().await {
                Seen::Audio(audio) => turn.frames.push(audio),
                Seen::Json(message) => match message["type"].as_str().unwrap() {
                    "started" => turn.started = message,
                    "done" => {
                        turn.done = message;
                        return turn;
                    }
                    "error" => panic!("in a turn: {message}"),
                    _ => turn.messages.push(message),
                },
                _ => panic!("in a turn; the last frames were {}", self.told()),
            }
        }
    }

    /// A whole turn in raw frames, checked as far as every turn can be.
    pub async fn says(&mut self, text: &str) -> Turn {
        self.speak(json!({}), text).await;
        let turn = self.turn().await;
        assert_eq!(turn.done["bytes"], turn.audio().len(), "{}", turn.done);
        assert!(turn.audio().len() > 10_000, "there is speech: {}", turn.done);
        turn
    }

    /// Reads to the end: the errors that were told, then code and reason of the close.
    pub async fn ending(&mut self) -> (Vec<Value>, u16, String) {
        let mut errors = Vec::new();
        loop {
            match self.next().await {
                Seen::Json(message) if message["type"] == "error" => errors.push(message),
                Seen::Json(_) | Seen::Audio(_) => {}
                Seen::Close(code, reason) => {
                    self.gone().await;
                    return (errors, code, reason);
                }
                Seen::Gone => panic!("no close frame; the last frames were {}", self.told()),
            }
        }
    }

    /// The session ends with one error of that code, told before the close.
    pub async fn is_closed(&mut self, close: u16, code: &str) -> Value {
        let (mut errors, told, reason) = self.ending().await;
        assert_eq!((told, errors.len()), (close, 1), "{reason} {errors:?}");
        let error = errors.remove(0);
        assert_eq!(error["code"], code, "{error}");
        assert_eq!(reason, format!("{code} {}", self.request_id));
        error
    }

    /// Reads until nothing can come any more.
    pub async fn gone(&mut self) {
        while self.next().await != Seen::Gone {}
    }

    fn remember(&mut self, seen: &Seen) {
        if self.last.len() == REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back(match seen {
            Seen::Audio(audio) => format!("audio({})", audio.len()),
            Seen::Json(message) => message.to_string().chars().take(300).collect(),
            other => format!("{other:?}"),
        });
    }

    fn told(&self) -> String {
        self.last.iter().map(|line| format!("\n  {line}")).collect()
    }
}
