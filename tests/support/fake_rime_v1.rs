//! The newer socket of the fake: many contexts, each with one end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message;

use super::{Behaviour, FOREVER, Socket, World, chunks, close, words};

struct Context {
    text: String,
    /// Characters already on their way.
    spoken: usize,
    chunks: VecDeque<Vec<u8>>,
    ended: bool,
    cancelled: bool,
    words: bool,
    bytes_per_second: f64,
}

pub async fn talk(world: Arc<World>, mut socket: Socket) {
    let ready = json!({"ready": {"protocol": 1, "languages": ["en"], "defaultLanguage": "en"}});
    let mut contexts: BTreeMap<String, Context> = BTreeMap::new();
    let mut out = VecDeque::from([ready]);
    let (mut sent, mut served, mut due) = (0, false, Instant::now());
    loop {
        for message in out.drain(..) {
            if socket.send(Message::text(message.to_string())).await.is_err() {
                return;
            }
        }
        let behaviour = world.behaviour();
        let is_due = contexts.values().any(Context::is_due);
        let idle = if served && contexts.is_empty() { behaviour.idle.unwrap_or(FOREVER) } else { FOREVER };
        tokio::select! {
            biased;
            message = socket.next() => match message {
                Some(Ok(Message::Text(_))) if behaviour.half_open => return sleep(FOREVER).await,
                Some(Ok(Message::Text(text))) => {
                    served = true;
                    hear(&world, &mut contexts, &serde_json::from_str(&text).unwrap(), &mut out);
                    if let Some(frame) = behaviour.fault_close() {
                        return close(socket, Some(frame)).await;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return,
            },
            () = sleep_until(due), if is_due => {
                if behaviour.die_after.is_some_and(|chunks| sent >= chunks) {
                    return;
                }
                sent += 1;
                due = Instant::now() + behaviour.pace;
                speak(&behaviour, &mut contexts, &mut out);
            }
            () = sleep(idle) => return close(socket, None).await,
        }
    }
}

fn hear(world: &World, contexts: &mut BTreeMap<String, Context>, message: &Value, out: &mut VecDeque<Value>) {
    let behaviour = world.behaviour();
    let name = message["contextId"].as_str().expect("every message names its context");
    assert!(name.len() <= 128);
    if let Some(kind) = behaviour.fault_words() {
        let error = json!({"kind": kind, "message": "some words", "requestId": "r"});
        if contexts.remove(name).is_some() || message.get("start").is_some() {
            out.push_back(json!({"contextId": name, "error": error}));
        }
        return;
    }
    if let Some(start) = message.get("start") {
        world.count(|stats| stats.contexts += 1);
        assert!(start["speaker"].is_string());
        let audio = &start["audioParameters"];
        let sample = if audio["audioFormat"] == "audio/pcm" { 2.0 } else { 1.0 };
        let context = Context {
            text: String::new(),
            spoken: 0,
            chunks: VecDeque::new(),
            ended: false,
            cancelled: false,
            words: start["timestamps"]["enable"] == true,
            bytes_per_second: sample * audio["samplingRate"].as_f64().unwrap(),
        };
        assert!(contexts.insert(name.to_owned(), context).is_none(), "started twice");
        out.push_back(json!({"contextId": name, "started": {"requestId": "r"}}));
        return;
    }
    let Some(context) = contexts.get_mut(name) else { return };
    if let Some(text) = message["text"].as_str() {
        world.count(|stats| stats.characters += text.chars().count());
        context.text.push_str(text);
    }
    context.ended |= message.get("end").is_some();
    if context.ended || context.text.ends_with(['.', '?', '!']) {
        context.say(&behaviour);
    }
    if message.get("cancel").is_some() {
        world.count(|stats| stats.cancels += 1);
        context.cancelled = true;
        context.chunks.truncate(behaviour.late_chunks);
    }
}

/// One chunk of every context that has any, and the ends of those that have none.
fn speak(behaviour: &Behaviour, contexts: &mut BTreeMap<String, Context>, out: &mut VecDeque<Value>) {
    for _ in 0..behaviour.garbage {
        out.push_back(json!(1));
    }
    for (name, context) in contexts.iter_mut().filter(|(_, context)| context.is_due()) {
        if let Some(chunk) = context.chunks.pop_front() {
            out.push_back(json!({"contextId": name, "audio": BASE64_STANDARD.encode(chunk)}));
        } else if context.cancelled {
            out.push_back(json!({"contextId": name, "cancelled": {}}));
        } else {
            for _ in 0..=usize::from(behaviour.done_twice) {
                out.push_back(json!({"contextId": name, "done": context.done(behaviour)}));
            }
        }
    }
    contexts.retain(|name, _| {
        let over = |message: &Value| message.get("done").or(message.get("cancelled")).is_some();
        !out.iter().any(|message| message["contextId"] == **name && over(message))
    });
}

impl Context {
    fn say(&mut self, behaviour: &Behaviour) {
        if !behaviour.silent {
            self.chunks.extend(chunks(&self.text, self.spoken, behaviour));
            self.spoken = self.text.chars().count();
        }
    }

    fn is_due(&self) -> bool {
        let all_said = self.spoken == self.text.chars().count();
        !self.chunks.is_empty() || self.cancelled || (self.ended && all_said)
    }

    fn done(&self, behaviour: &Behaviour) -> Value {
        if !self.words {
            return json!({});
        }
        let seconds =
            |place: usize| format!("{}s", (place * behaviour.bytes_per_char) as f64 / self.bytes_per_second);
        let spans: Vec<_> = words(&self.text)
            .into_iter()
            .map(|(word, first, last)| json!({"text": word, "start": seconds(first), "end": seconds(last)}))
            .collect();
        json!({"timestamps": {"status": {"code": 0}, "spans": spans}})
    }
}
