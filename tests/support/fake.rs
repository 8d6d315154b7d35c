//! A Cartesia that speaks from the published facts and not from the relay's own codec, over real
//! WebSockets on a free port.
//!
//! ```ignore
//! let fake = FakeCartesia::start(Behaviour::default()).await;
//! // ... an upstream with `url: fake.url()` ...
//! assert_eq!(heard, watermark("the text", Behaviour::default().bytes_per_char));
//! fake.change(|behaviour| behaviour.silent = true);
//! assert_eq!(fake.stats().cancels, 0);
//! ```

#[path = "fake_context.rs"]
mod context;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use self::context::Context;
pub use super::fake_server::{Behaviour, FakeError, watermark};
use super::fake_server::{FOREVER, Fake, Refusal, Socket, Talk, World, asked, bearer, close, header, words};

/// A running fake; it ends when dropped.
pub struct FakeCartesia(Fake);

impl FakeCartesia {
    /// Starts one on a free port.
    pub async fn start(behaviour: Behaviour) -> Self {
        Self(Fake::start(judge, behaviour).await)
    }
}

impl Deref for FakeCartesia {
    type Target = Fake;

    fn deref(&self) -> &Fake {
        &self.0
    }
}

/// Frames on their way out of one socket; `None` cuts it.
type Out = mpsc::Sender<Option<String>>;

/// Lets in who has a key and asks for something that exists.
pub fn judge(behaviour: &Behaviour, request: &Request, _: &mut Response) -> Result<Talk, Refusal> {
    if request.uri().path() != "/tts/websocket" {
        return Err(404.into());
    }
    if header(request, "cartesia-version").or(asked(request, "cartesia_version")).is_none() {
        return Err(400.into());
    }
    let key = bearer(request).or(header(request, "x-api-key"));
    let key = key.or(asked(request, "api_key")).or(asked(request, "access_token"));
    if !behaviour.lets_in(key) {
        return Err(401.into());
    }
    Ok(Box::new(|world, socket| Box::pin(converse(world, socket))))
}

async fn converse(world: Arc<World>, mut socket: Socket) {
    let (out, mut outgoing) = mpsc::channel::<Option<String>>(64);
    let mut contexts: HashMap<String, mpsc::Sender<Value>> = HashMap::new();
    let mut served = false;
    loop {
        served |= !contexts.is_empty();
        contexts.retain(|_, inbox| !inbox.is_closed());
        let rests = served && contexts.is_empty();
        let idle = world.behaviour().idle.filter(|_| rests).unwrap_or(FOREVER);
        tokio::select! {
            biased;
            frame = outgoing.recv() => {
                let mut frame = frame.unwrap();
                // All that is ready, then one flush.
                loop {
                    let Some(text) = frame else {
                        let _ = socket.flush().await;
                        return;
                    };
                    if socket.feed(Message::text(text)).await.is_err() {
                        return;
                    }
                    match outgoing.try_recv() {
                        Ok(next) => frame = next,
                        Err(_) => break,
                    }
                }
                if socket.flush().await.is_err() {
                    return;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let request: Value = serde_json::from_str(&text).expect("a client sends JSON");
                    route(&world, &mut contexts, request, &out).await;
                    if world.behaviour().half_open {
                        return sleep(FOREVER).await;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return,
            },
            () = sleep(idle) => return close(socket, None).await,
        }
    }
}

async fn route(
    world: &Arc<World>,
    contexts: &mut HashMap<String, mpsc::Sender<Value>>,
    request: Value,
    out: &Out,
) {
    let name = request["context_id"].as_str().expect("every message names its context").to_owned();
    if !contexts.contains_key(&name) {
        if request["cancel"] == true {
            return;
        }
        let (inbox, requests) = mpsc::channel(1024);
        contexts.insert(name.clone(), inbox);
        let context = Context::new(world, name.clone(), &request, requests, out.clone());
        world.drain.spawn_until_cut(context.run());
    }
    let _ = contexts[&name].send(request).await;
}
