//! An ElevenLabs that speaks from the published facts and not from the relay's own codec: both sockets,
//! five contexts on the one, one stream on the other.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::support::fake_lines::{Lines, Out, Voice, talk};
use crate::support::fake_server::{Behaviour, FakeFault, Refusal, Talk, World, asked, chunks, header};

/// Contexts of one socket.
const CONTEXTS_MAX: usize = 5;

/// Lets in who has a key and asks for something that exists.
pub fn judge(behaviour: &Behaviour, request: &Request, _: &mut Response) -> Result<Talk, Refusal> {
    let key = header(request, "xi-api-key").or(asked(request, "authorization"));
    if !behaviour.lets_in(key) {
        return Err(401.into());
    }
    let path: Vec<_> = request.uri().path().trim_start_matches('/').split('/').collect();
    let ["v1", "text-to-speech", _, api @ ("multi-stream-input" | "stream-input")] = path[..] else {
        return Err(404.into());
    };
    let format = asked(request, "output_format").unwrap_or_default();
    let (sample, rate) = match format.split_once('_') {
        Some(("pcm", rate)) => (2.0, rate),
        Some(("ulaw" | "alaw", rate)) => (1.0, rate),
        _ => return Err(400.into()),
    };
    let bytes_per_ms = sample * rate.parse::<f64>().map_err(|_| 400)? / 1000.0;
    Ok(talk(ElevenLabs { multi: api == "multi-stream-input", bytes_per_ms, contexts: BTreeMap::new() }))
}

struct ElevenLabs {
    multi: bool,
    bytes_per_ms: f64,
    contexts: BTreeMap<String, Context>,
}

#[derive(Default)]
struct Context {
    text: String,
    spoken: usize,
    /// Buffered text that makes the vendor begin by itself, in characters.
    threshold: usize,
    settings: Option<Value>,
    flushed_last: bool,
    closed: bool,
}

impl Voice for ElevenLabs {
    fn greet(&mut self, _: &mut Lines) {}

    fn hear(&mut self, world: &World, message: &Value, lines: &mut Lines) {
        if message["close_socket"] == true {
            return lines.push("~", Out::Close(1000, ""));
        }
        let id = message.get("context_id").or(message.get("contextId"));
        let name = id.map_or("", |name| name.as_str().expect("a name is a string")).to_owned();
        let text = message["text"].as_str().unwrap_or_default();
        if self.multi && name.is_empty() && text.is_empty() {
            // A sign of life of the socket.
            return;
        }
        self.contexts.retain(|name, context| {
            !context.closed || lines.0.get(name).is_some_and(|line| !line.queue.is_empty())
        });
        let known = self.contexts.get(&name).is_some_and(|context| !context.closed);
        if !known {
            if message["close_context"] == true {
                return;
            }
            if !self.open(world, &name, message, lines) {
                return;
            }
        } else if let Some(settings) = message.get("voice_settings").filter(|settings| !settings.is_null())
            && self.contexts[&name].settings.as_ref() != Some(settings)
        {
            return lines.push("~", Out::Close(1008, "voice settings after the first message"));
        }
        if world.behaviour().silent {
            return;
        }
        self.take(world, &name, message, text, known, lines);
    }

    fn timed_out(&self) -> (Option<Value>, u16, &'static str) {
        let message = json!({"message": "some words", "error": "input_timeout_exceeded", "code": 1008});
        (Some(message), 1008, "some words")
    }
}

impl ElevenLabs {
    fn open(&mut self, world: &World, name: &str, first: &Value, lines: &mut Lines) -> bool {
        if self.contexts.len() >= CONTEXTS_MAX {
            let error = json!({"message": "some words", "error": "max_active_conversations", "code": 1008});
            lines.note("~", &error);
            lines.push("~", Out::Close(1008, "some words"));
            return false;
        }
        world.opened();
        let threshold = first["generation_config"]["chunk_length_schedule"][0].as_u64().unwrap_or(120);
        let settings = first.get("voice_settings").filter(|settings| !settings.is_null()).cloned();
        let context = Context { threshold: threshold as usize, settings, ..Context::default() };
        self.contexts.insert(name.to_owned(), context);
        true
    }

    fn take(
        &mut self,
        world: &World,
        name: &str,
        message: &Value,
        text: &str,
        known: bool,
        lines: &mut Lines,
    ) {
        let context = self.contexts.get_mut(name).unwrap();
        let (flush, close) = (message["flush"] == true, message["close_context"] == true);
        // One space opens, and is a sign of life afterwards; on the one socket empty text is the end.
        let end = !self.multi && known && text.is_empty() && message.get("text").is_some();
        if text != " " && !text.is_empty() {
            world.count(|stats| stats.characters += text.chars().count());
            context.text.push_str(text);
            if let Some(FakeFault { message, with_context, close }) = world.behaviour().fault {
                if let Some(mut message) = message {
                    if with_context {
                        message["contextId"] = json!(name);
                        context.closed = true;
                        lines.push(name, Out::Last(Message::text(message.to_string())));
                    } else {
                        lines.note("~", &message);
                    }
                }
                if let Some((code, reason)) = close {
                    lines.push("~", Out::Close(code, reason));
                }
                return;
            }
        }
        if flush || end || context.text.chars().count() - context.spoken >= context.threshold {
            self.speak(world, name, lines);
        }
        let context = self.contexts.get_mut(name).unwrap();
        if flush && self.multi && text.is_empty() {
            lines.note(name, &json!({"type": "flush_done", "contextId": name, "context_id": name}));
        }
        if close || end {
            context.closed = true;
            let cancelled = close && !context.flushed_last;
            if cancelled {
                world.count(|stats| stats.cancels += 1);
                lines.cut(name, world.behaviour().late_chunks);
            }
            self.finish(world, name, cancelled, lines);
        } else {
            context.flushed_last = flush && text.is_empty();
        }
    }

    fn speak(&mut self, world: &World, name: &str, lines: &mut Lines) {
        let behaviour = world.behaviour();
        let context = self.contexts.get_mut(name).unwrap();
        for _ in 0..behaviour.garbage {
            lines.push(name, Out::Note(Message::text("{\"audio\":")));
        }
        let letters: Vec<char> = context.text.chars().skip(context.spoken).collect();
        let mut letters = letters.chunks((behaviour.chunk_bytes / behaviour.bytes_per_char).max(1));
        for audio in chunks(&context.text, context.spoken, &behaviour) {
            let letters = letters.next().unwrap_or_default();
            if behaviour.strangers && self.multi {
                let stranger =
                    json!({"audio": BASE64_STANDARD.encode([0xee; 64]), "contextId": "somebody-elses"});
                lines.note(name, &stranger);
            }
            let each = behaviour.bytes_per_char as f64 / self.bytes_per_ms;
            let starts: Vec<_> = (0..letters.len()).map(|place| place as f64 * each).collect();
            let alignment = json!({"chars": letters, "charStartTimesMs": starts,
                "charDurationsMs": vec![each; letters.len()]});
            let mut message = json!({"audio": BASE64_STANDARD.encode(audio), "isFinal": null, "alignment": alignment, "normalizedAlignment": null});
            if self.multi {
                message["contextId"] = json!(name);
                message["context_id"] = json!(name);
            }
            lines.push(name, Out::Audio(Message::text(message.to_string())));
        }
        context.spoken = context.text.chars().count();
    }

    fn finish(&mut self, world: &World, name: &str, cancelled: bool, lines: &mut Lines) {
        let behaviour = world.behaviour();
        let mut last = json!({"audio": null, "isFinal": true});
        if self.multi {
            last["contextId"] = json!(name);
        }
        if cancelled && !behaviour.cancel_answered {
            return world.count(|stats| stats.contexts_live -= 1);
        }
        let last = Message::text(last.to_string());
        lines.push(name, Out::Last(last.clone()));
        if behaviour.done_twice {
            lines.push(name, Out::Note(last));
        }
        if !self.multi {
            lines.push(name, Out::Close(1000, ""));
        }
    }
}
