//! A Deepgram that speaks from the published facts and not from the relay's own codec: Aura on
//! `v1/speak`, Flux on `v2/speak`.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::support::fake_lines::{Lines, Out, Voice, talk};
use crate::support::fake_server::{Behaviour, FakeFault, Refusal, Talk, World, asked, chunks, header};

/// Buffered text that makes the vendor begin by itself, in characters (its own logic is not published).
const THRESHOLD: usize = 200;
const LINE: &str = "";

/// Lets in who has a key and asks for something that exists.
pub fn judge(behaviour: &Behaviour, request: &Request, _: &mut Response) -> Result<Talk, Refusal> {
    let authorization = header(request, "authorization");
    let (scheme, key) = authorization.and_then(|value| value.split_once(' ')).ok_or(401)?;
    let known = ["token", "bearer"].contains(&scheme.to_ascii_lowercase().as_str());
    if !known || !behaviour.lets_in(Some(key)) {
        return Err(401.into());
    }
    let flux = match request.uri().path() {
        "/v1/speak" => false,
        "/v2/speak" => true,
        _ => return Err(404.into()),
    };
    let model = asked(request, "model").unwrap_or_default();
    let rates: &[_] = match asked(request, "encoding").unwrap_or("linear16") {
        "linear16" => &["8000", "16000", "24000", "32000", "48000"],
        "mulaw" | "alaw" => &["8000", "16000"],
        _ => return Err(400.into()),
    };
    let rate = asked(request, "sample_rate").unwrap_or("24000");
    if !rates.contains(&rate) || flux && !model.starts_with("flux-") {
        return Err(400.into());
    }
    Ok(talk(Deepgram { flux, ..Deepgram::default() }))
}

#[derive(Default)]
struct Deepgram {
    flux: bool,
    text: String,
    spoken: usize,
    sequence: u64,
    running: bool,
}

impl Voice for Deepgram {
    fn greet(&mut self, lines: &mut Lines) {
        let hello = if self.flux {
            json!({"type": "Connected", "request_id": "r", "model_name": "m", "model_version": "v", "model_uuids": ["u"]})
        } else {
            json!({"type": "Metadata", "request_id": "r", "model_name": "m", "model_version": "v", "model_uuid": "u"})
        };
        lines.note(LINE, &hello);
    }

    fn hear(&mut self, world: &World, message: &Value, lines: &mut Lines) {
        let behaviour = world.behaviour();
        if behaviour.silent {
            return;
        }
        match message["type"].as_str() {
            Some("Speak") => self.take(world, message["text"].as_str().expect("text to speak"), lines),
            Some("Flush") if behaviour.flush_limit => {
                let warning =
                    json!({"type": "Warning", "description": "Flush limit reached", "code": "SOME"});
                lines.note(LINE, &warning);
            }
            Some("Flush") => self.flush(world, lines),
            Some("Clear") if !self.flux => self.clear(world, lines),
            Some("Interrupt") if self.flux => {
                lines.cut(LINE, behaviour.late_chunks);
                lines.note(LINE, &json!({"type": "SpeechInterrupted", "audio_played_ms": 0, "metadata": {}}));
            }
            Some("Close") => {
                if self.flux {
                    lines.note(LINE, &json!({"type": "SessionMetadata"}));
                }
                lines.push(LINE, Out::Close(1000, ""));
            }
            _ => lines.push(LINE, Out::Close(1008, "DATA-0000")),
        }
    }

    fn timed_out(&self) -> (Option<Value>, u16, &'static str) {
        (None, 1011, "NET-0000")
    }
}

impl Deepgram {
    fn take(&mut self, world: &World, text: &str, lines: &mut Lines) {
        if !std::mem::replace(&mut self.running, true) {
            self.text.clear();
            self.spoken = 0;
            world.opened();
        }
        if text.chars().count() > 2000 {
            return lines.push(LINE, Out::Close(1009, "BIG-0001"));
        }
        world.count(|stats| stats.characters += text.chars().count());
        self.text.push_str(text);
        if let Some(FakeFault { message, close, .. }) = world.behaviour().fault {
            message.iter().for_each(|message| lines.note(LINE, message));
            return close.into_iter().for_each(|(code, reason)| lines.push(LINE, Out::Close(code, reason)));
        }
        if self.text.chars().count() - self.spoken >= THRESHOLD {
            self.speak(world, lines);
        }
    }

    fn speak(&mut self, world: &World, lines: &mut Lines) {
        let behaviour = world.behaviour();
        for _ in 0..behaviour.garbage {
            lines.push(LINE, Out::Note(Message::text("{\"type\":")));
        }
        for audio in chunks(&self.text, self.spoken, &behaviour) {
            lines.push(LINE, Out::Audio(Message::binary(audio)));
        }
        self.spoken = self.text.chars().count();
    }

    /// The watermark begins anew behind every flush: which of them ends a stream cannot be told here.
    fn flush(&mut self, world: &World, lines: &mut Lines) {
        let unspoken = self.text.chars().count() > self.spoken;
        let sequence = self.sequence;
        self.sequence += 1;
        if self.flux && !self.running {
            return lines
                .note(LINE, &json!({"type": "Warning", "code": "NO_ACTIVE_SPEECH", "description": "w"}));
        }
        let id = format!("dg_sp_{sequence:012x}");
        if self.flux {
            lines.note(LINE, &json!({"type": "Flushed", "speech_id": id}));
        }
        if unspoken {
            self.speak(world, lines);
        }
        let mark = if self.flux {
            json!({"type": "SpeechMetadata", "speech_id": id, "audio_duration_ms": 1, "input_character_count": 1,
                "billable_character_count": 1, "controls_applied": {}})
        } else {
            json!({"type": "Flushed", "sequence_id": sequence})
        };
        let mark = Message::text(mark.to_string());
        let last =
            if std::mem::take(&mut self.running) { Out::Last(mark.clone()) } else { Out::Note(mark.clone()) };
        lines.push(LINE, last);
        if world.behaviour().done_twice {
            lines.push(LINE, Out::Note(mark));
        }
        if world.behaviour().strangers {
            lines.push(LINE, Out::Audio(Message::binary(vec![0xee; 64])));
        }
    }

    fn clear(&mut self, world: &World, lines: &mut Lines) {
        let behaviour = world.behaviour();
        world.count(|stats| stats.cancels += 1);
        let ended =
            lines.0.get(LINE).is_some_and(|line| line.queue.iter().any(|out| matches!(out, Out::Last(_))));
        lines.cut(LINE, behaviour.late_chunks);
        self.spoken = self.text.chars().count();
        let mark = Message::text(json!({"type": "Cleared", "sequence_id": self.sequence}).to_string());
        self.sequence += 1;
        let counted = std::mem::take(&mut self.running) || ended;
        if !behaviour.cancel_answered {
            return world.count(|stats| stats.contexts_live -= usize::from(counted));
        }
        lines.push(LINE, if counted { Out::Last(mark) } else { Out::Note(mark) });
    }
}
