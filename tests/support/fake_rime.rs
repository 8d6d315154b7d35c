//! A Rime that speaks from the published facts and not from the relay's own codec: `/ws3`, `/ws2`, `/ws`
//! and v1, which is `/ws` without a speaker in its address.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

#[path = "fake_rime_v1.rs"]
mod v1;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::support::fake_server::{
    Behaviour, FOREVER, Over, Refusal, Socket, Talk, World, asked, bearer, chunks, close, header, words,
};

/// The subprotocol of v1, chosen when it is offered.
const V1: &str = "rime.v1.json";

/// Lets in who has the key and asks for something that exists.
pub fn judge(behaviour: &Behaviour, request: &Request, response: &mut Response) -> Result<Talk, Refusal> {
    if !behaviour.lets_in(bearer(request)) {
        return Err(Refusal(401, "invalid api key"));
    }
    let offers = header(request, "sec-websocket-protocol").unwrap_or_default();
    if offers.split(',').any(|offer| offer.trim() == V1) {
        response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(V1));
    }
    match (request.uri().path(), asked(request, "speaker")) {
        ("/ws", _) if request.uri().query().is_none_or(str::is_empty) => {
            Ok(Box::new(|world, socket| Box::pin(v1::talk(world, socket))))
        }
        ("/ws" | "/ws2" | "/ws3", None | Some("")) => Err(Refusal(400, "speaker is required")),
        ("/ws" | "/ws2" | "/ws3", Some(_)) => {
            let address = Address::of(request);
            Ok(Box::new(|world, socket| Box::pin(Classic::new(world, address).talk(socket))))
        }
        _ => Err(Refusal(404, "not found")),
    }
}

/// What the address of an older socket fixes.
struct Address {
    is_json: bool,
    /// Says the end of a synthesis in a member of its own.
    is_ws2: bool,
    has_words: bool,
    bytes_per_second: f64,
}

impl Address {
    fn of(request: &Request) -> Self {
        let path = request.uri().path();
        let is_json = path != "/ws";
        assert!(!is_json || asked(request, "segment") == Some("never"), "only this mode is built here");
        let sample = match asked(request, "audioFormat") {
            Some("pcm") => 2.0,
            Some("mulaw") => 1.0,
            other => panic!("not built here: {other:?}"),
        };
        let rate: f64 = asked(request, "samplingRate").unwrap().parse().unwrap();
        let has_words = is_json && matches!(asked(request, "lang"), None | Some("en" | "eng" | "es" | "spa"));
        Self { is_json, is_ws2: path == "/ws2", has_words, bytes_per_second: sample * rate }
    }
}

/// One of the older sockets: one buffer, one synthesis at a time.
struct Classic {
    world: Arc<World>,
    address: Address,
    /// The current name; it sticks.
    name: Value,
    buffer: String,
    /// Flushed, not begun.
    queue: VecDeque<(Value, String)>,
    running: Option<Running>,
    /// Characters said so far under each name.
    said: HashMap<String, usize>,
    closing: bool,
    served: bool,
}

struct Running {
    name: Value,
    chunks: VecDeque<Vec<u8>>,
    sent: usize,
    due: Instant,
}

impl Classic {
    fn new(world: Arc<World>, address: Address) -> Self {
        Self {
            world,
            address,
            name: Value::Null,
            buffer: String::new(),
            queue: VecDeque::new(),
            running: None,
            said: HashMap::new(),
            closing: false,
            served: false,
        }
    }

    async fn talk(mut self, mut socket: Socket) {
        let over = loop {
            if let Err(over) = self.turn(&mut socket).await {
                break over;
            }
        };
        over.end(socket).await;
    }

    async fn turn(&mut self, socket: &mut Socket) -> Result<(), Over> {
        let behaviour = self.world.behaviour();
        if self.running.is_none() && !behaviour.silent {
            match self.queue.pop_front() {
                Some((name, text)) => self.begin(name, &text, &behaviour, socket).await?,
                None if self.closing => return Err(Over::Closed(Some((1000, "")))),
                None => {}
            }
        }
        let due = self.running.as_ref().map(|running| running.due);
        let idle = if self.served && due.is_none() { behaviour.idle.unwrap_or(FOREVER) } else { FOREVER };
        tokio::select! {
            biased;
            message = socket.next() => match message {
                Some(Ok(Message::Text(_))) if behaviour.half_open => Err(Over::HalfOpen),
                Some(Ok(Message::Text(text))) => self.hear(&text, socket).await,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                _ => Err(Over::Cut),
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.speak(&behaviour, socket).await,
            () = sleep(idle) => Err(Over::Closed(None)),
        }
    }

    async fn hear(&mut self, text: &str, socket: &mut Socket) -> Result<(), Over> {
        if !self.address.is_json {
            match text {
                "<FLUSH>" => self.flush(),
                "<CLEAR>" => self.clear(),
                "<EOS>" => self.eos(),
                text => self.text(text),
            }
            // Marks are boundaries here.
            if self.buffer.ends_with(['.', '?', '!']) {
                self.flush();
            }
            return Ok(());
        }
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        if let Some(name) = message["contextId"].as_str() {
            self.name = json!(name);
        }
        match (message["text"].as_str(), message["operation"].as_str()) {
            (Some(text), _) => self.text(text),
            (_, Some("flush")) => self.flush(),
            (_, Some("clear")) => self.clear(),
            (_, Some("eos")) => self.eos(),
            _ => self.tell(json!({"type": "error", "message": "payload must be an object"}), socket).await?,
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.world.count(|stats| stats.characters += text.chars().count());
        self.buffer.push_str(text);
    }

    /// With `segment=never` every flush is an utterance of its own, even of nothing.
    fn flush(&mut self) {
        let text = std::mem::take(&mut self.buffer);
        if self.address.is_json || !text.is_empty() {
            self.queue.push_back((self.name.clone(), text));
        }
    }

    /// What runs goes on: only what has not begun is dropped.
    fn clear(&mut self) {
        self.world.count(|stats| stats.cancels += 1);
        self.buffer.clear();
        self.queue.clear();
        let late = self.world.behaviour().late_chunks;
        if let Some(running) = &mut self.running {
            running.chunks.truncate(late);
        }
    }

    fn eos(&mut self) {
        if !self.buffer.is_empty() {
            self.flush();
        }
        self.closing = true;
    }

    async fn begin(
        &mut self,
        name: Value,
        text: &str,
        behaviour: &Behaviour,
        socket: &mut Socket,
    ) -> Result<(), Over> {
        self.served = true;
        self.world.count(|stats| stats.contexts += 1);
        if let Some(message) = behaviour.fault_words() {
            return self.tell(json!({"type": "error", "message": message}), socket).await;
        }
        if let Some(frame) = behaviour.fault_close() {
            return Err(Over::Closed(Some(frame)));
        }
        for _ in 0..behaviour.garbage {
            self.send(Message::text("{\"type\":"), socket).await?;
        }
        let said = self.said.entry(name.to_string()).or_default();
        let chunks = chunks_after(*said, text, behaviour);
        *said += text.chars().count();
        if self.address.has_words {
            self.words(&name, text, behaviour, socket).await?;
        }
        self.running = Some(Running { name, chunks, sent: 0, due: Instant::now() });
        Ok(())
    }

    async fn words(
        &mut self,
        name: &Value,
        text: &str,
        behaviour: &Behaviour,
        socket: &mut Socket,
    ) -> Result<(), Over> {
        let seconds =
            |place: usize| (place * behaviour.bytes_per_char) as f64 / self.address.bytes_per_second;
        let (mut texts, mut start, mut end) = (Vec::new(), Vec::new(), Vec::new());
        for (word, first, last) in words(text) {
            texts.push(word);
            start.push(seconds(first));
            end.push(seconds(last));
        }
        let times = json!({"words": texts, "start": start, "end": end});
        self.tell(json!({"type": "timestamps", "word_timestamps": times, "contextId": name}), socket).await
    }

    async fn speak(&mut self, behaviour: &Behaviour, socket: &mut Socket) -> Result<(), Over> {
        let Some(running) = &mut self.running else { return Ok(()) };
        if behaviour.die_after.is_some_and(|chunks| running.sent >= chunks) {
            return Err(Over::Cut);
        }
        let name = running.name.clone();
        if let Some(chunk) = running.chunks.pop_front() {
            running.sent += 1;
            running.due += behaviour.pace;
            if !self.address.is_json {
                return self.send(Message::binary(chunk), socket).await;
            }
            let data = BASE64_STANDARD.encode(chunk);
            return self.tell(json!({"type": "chunk", "data": data, "contextId": name}), socket).await;
        }
        self.running = None;
        if !self.address.is_json {
            return Ok(());
        }
        let mut done = json!({"type": "done", "contextId": name});
        if self.address.is_ws2 {
            done["done"] = json!(true);
        }
        for _ in 0..=usize::from(behaviour.done_twice) {
            self.tell(done.clone(), socket).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, message: Value, socket: &mut Socket) -> Result<(), Over> {
        self.send(Message::text(message.to_string()), socket).await
    }

    async fn send(&mut self, message: Message, socket: &mut Socket) -> Result<(), Over> {
        socket.send(message).await.map_err(|_| Over::Cut)
    }
}

/// The audio of a text as chunks, behind so many characters of its stream.
fn chunks_after(said: usize, text: &str, behaviour: &Behaviour) -> VecDeque<Vec<u8>> {
    chunks(&(" ".repeat(said) + text), said, behaviour).into()
}
