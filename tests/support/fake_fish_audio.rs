//! A Fish Audio that speaks from the published facts and not from the relay's own codec: the live socket
//! with and without word times.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use serde_bytes::ByteBuf;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::support::fake_server::{
    Behaviour, FOREVER, Over, Refusal, Socket, Talk, World, bearer, chunks, words,
};

/// Lets in who has the key and asks for something that exists.
pub fn judge(behaviour: &Behaviour, request: &Request, _: &mut Response) -> Result<Talk, Refusal> {
    if !behaviour.lets_in(bearer(request)) {
        return Err(Refusal(401, "{\"message\":\"Invalid Token\",\"status\":401}"));
    }
    let timed = match request.uri().path() {
        "/v1/tts/live" => false,
        "/v1/tts/live/with-timestamp" => true,
        _ => return Err(Refusal(404, "{\"message\":\"Not Found\",\"status\":404}")),
    };
    Ok(Box::new(move |world, socket| {
        let conversation = Conversation { world, timed, run: None, served: false, sent: 0 };
        Box::pin(conversation.talk(socket))
    }))
}

/// Text that is spoken without a flush, in characters; the vendor's `chunk_length` is this at least.
const CHUNK: usize = 100;

struct Conversation {
    world: Arc<World>,
    /// Whether words have times.
    timed: bool,
    run: Option<Run>,
    served: bool,
    sent: usize,
}

/// From `start` to `finish`.
struct Run {
    bytes_per_second: f64,
    text: String,
    /// Characters on their way.
    spoken: usize,
    out: VecDeque<Audio>,
    seq: u64,
    stopped: bool,
    due: Instant,
}

#[derive(Serialize)]
struct Audio {
    event: &'static str,
    audio: ByteBuf,
    time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alignment: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_audio_offset_sec: Option<f64>,
}

impl Conversation {
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
        let due = self.run.as_ref().filter(|run| !behaviour.silent && run.is_due()).map(|run| run.due);
        let idle =
            if self.served && self.run.is_none() { behaviour.idle.unwrap_or(FOREVER) } else { FOREVER };
        tokio::select! {
            biased;
            message = socket.next() => match message {
                Some(Ok(Message::Binary(_))) if behaviour.half_open => Err(Over::HalfOpen),
                Some(Ok(Message::Binary(bytes))) => {
                    let message: Value = rmp_serde::from_slice(&bytes).expect("a client sends MessagePack");
                    self.hear(&message, &behaviour, socket).await
                }
                // Text is ignored.
                Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_))) => Ok(()),
                _ => Err(Over::Cut),
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.speak(&behaviour, socket).await,
            () = sleep(idle) => Err(Over::Closed(None)),
        }
    }

    async fn hear(
        &mut self,
        message: &Value,
        behaviour: &Behaviour,
        socket: &mut Socket,
    ) -> Result<(), Over> {
        match message["event"].as_str().expect("an event") {
            "start" => return self.start(&message["request"], behaviour, socket).await,
            "text" => {
                let text = message["text"].as_str().expect("text");
                self.world.count(|stats| stats.characters += text.chars().count());
                let run = self.run.as_mut().expect("text belongs to a run");
                run.text.push_str(text);
                if run.text.chars().count() - run.spoken < CHUNK {
                    return Ok(());
                }
            }
            "flush" => {}
            "stop" => self.run.as_mut().expect("a run to stop").stopped = true,
            _ => return Ok(()),
        }
        if let Some(run) = &mut self.run {
            run.say(behaviour, self.timed);
        }
        Ok(())
    }

    async fn start(
        &mut self,
        request: &Value,
        behaviour: &Behaviour,
        socket: &mut Socket,
    ) -> Result<(), Over> {
        assert!(self.run.is_none(), "one run at a time");
        assert!(request["text"].is_string(), "a required member");
        self.served = true;
        self.world.count(|stats| stats.contexts += 1);
        match behaviour.fault_words() {
            // Not of the vendor's words: how a run goes wrong that was accepted.
            Some("finish") | None => {}
            Some(error) => {
                let mut refusal = json!({"event": "error", "error": error});
                if error.starts_with("Concurrency") {
                    refusal["max_concurrency"] = json!(8);
                }
                send(&refusal, socket).await?;
                return Err(Over::Closed(None));
            }
        }
        if let Some(frame) = behaviour.fault_close() {
            return Err(Over::Closed(Some(frame)));
        }
        for _ in 0..behaviour.garbage {
            socket.send(Message::binary(vec![0x81])).await.map_err(|_| Over::Cut)?;
        }
        send(&json!({"event": "log", "message": "debug"}), socket).await?;
        self.run = Some(Run {
            bytes_per_second: 2.0 * request["sample_rate"].as_f64().unwrap_or(44_100.0),
            text: String::new(),
            spoken: 0,
            out: VecDeque::new(),
            seq: 0,
            stopped: false,
            due: Instant::now(),
        });
        Ok(())
    }

    async fn speak(&mut self, behaviour: &Behaviour, socket: &mut Socket) -> Result<(), Over> {
        let Some(run) = &mut self.run else { return Ok(()) };
        if behaviour.die_after.is_some_and(|chunks| self.sent >= chunks) {
            return Err(Over::Cut);
        }
        let failed = behaviour.fault_words() == Some("finish");
        if let Some(audio) = run.out.pop_front().filter(|_| !failed) {
            self.sent += 1;
            run.due += behaviour.pace;
            return send(&audio, socket).await;
        }
        self.run = None;
        let reason = if failed { "error" } else { "stop" };
        for _ in 0..=usize::from(behaviour.done_twice) {
            send(&json!({"event": "finish", "reason": reason, "time": 1.5}), socket).await?;
        }
        if behaviour.close_after_end { Err(Over::Closed(None)) } else { Ok(()) }
    }
}

impl Run {
    fn is_due(&self) -> bool {
        !self.out.is_empty() || self.stopped
    }

    /// Puts what has not been spoken on its way, as one chunk of many frames.
    fn say(&mut self, behaviour: &Behaviour, timed: bool) {
        let rest: String = self.text.chars().skip(self.spoken).collect();
        if rest.is_empty() {
            return;
        }
        let seconds = |place: usize| (place * behaviour.bytes_per_char) as f64 / self.bytes_per_second;
        let segments: Vec<_> = words(&rest)
            .into_iter()
            .map(|(word, first, last)| {
                let bare = word.trim_end_matches(['.', ',', '!', '?']);
                json!({"text": bare, "start": seconds(first), "end": seconds(last)})
            })
            .collect();
        let length = seconds(rest.chars().count());
        let alignment = |known: usize| json!({"segments": segments[..known.min(segments.len())], "audio_duration": length});
        // First a part of the words, at the end all of them, without audio.
        let mut snapshots = VecDeque::from([Some(alignment(1))]);
        let (offset, seq) = (seconds(self.spoken), self.seq);
        let frame = |audio: Vec<u8>, alignment: Option<Value>| Audio {
            event: "audio",
            audio: ByteBuf::from(audio),
            time: 1.5,
            content: timed.then(|| rest.clone()),
            alignment: alignment.filter(|_| timed),
            chunk_seq: timed.then_some(seq),
            chunk_audio_offset_sec: timed.then_some(offset),
        };
        for chunk in chunks(&self.text, self.spoken, behaviour) {
            self.out.push_back(frame(chunk, snapshots.pop_front().flatten()));
        }
        if timed {
            self.out.push_back(frame(Vec::new(), Some(alignment(usize::MAX))));
        }
        self.seq += 1;
        self.spoken += rest.chars().count();
    }
}

async fn send(message: &impl Serialize, socket: &mut Socket) -> Result<(), Over> {
    let bytes = rmp_serde::to_vec_named(message).unwrap();
    socket.send(Message::binary(bytes)).await.map_err(|_| Over::Cut)
}
