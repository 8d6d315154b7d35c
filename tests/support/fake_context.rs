//! One context of the fake: text in, chunks out, as the vendor's pages say.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::{Behaviour, FOREVER, FakeError, Out, World, watermark, words};

/// One context, from its first message to its end.
pub struct Context {
    world: Arc<World>,
    behaviour: Behaviour,
    name: String,
    requests: mpsc::Receiver<Value>,
    /// What came while something was being spoken.
    pending: VecDeque<Value>,
    out: Out,
    buffer_delay: Duration,
    bytes_per_second: f64,
    words: bool,
    text: String,
    /// Characters already spoken.
    spoken: usize,
    /// Audio not yet sent of what is being spoken.
    speaking: Vec<u8>,
    chunks: usize,
    flush_id: u64,
    counted: bool,
}

/// Why a context goes no further.
pub enum Over {
    Cancelled,
    Gone,
}

impl Context {
    pub fn new(
        world: &Arc<World>,
        name: String,
        first: &Value,
        requests: mpsc::Receiver<Value>,
        out: Out,
    ) -> Self {
        let behaviour = world.behaviour();
        let format = &first["output_format"];
        let sample = match format["encoding"].as_str() {
            Some("pcm_f32le") => 4.0,
            Some("pcm_s16le") => 2.0,
            Some("pcm_mulaw" | "pcm_alaw") => 1.0,
            other => panic!("no encoding of the vendor: {other:?}"),
        };
        assert_eq!(format["container"], "raw");
        world.opened();
        let delay = first["max_buffer_delay_ms"].as_u64().map(Duration::from_millis);
        Self {
            world: Arc::clone(world),
            buffer_delay: delay.unwrap_or(behaviour.buffer_delay),
            behaviour,
            name,
            requests,
            pending: VecDeque::new(),
            out,
            bytes_per_second: sample * format["sample_rate"].as_f64().unwrap(),
            words: first["add_timestamps"] == true,
            text: String::new(),
            spoken: 0,
            speaking: Vec::new(),
            chunks: 0,
            flush_id: 1,
            counted: true,
        }
    }

    pub async fn run(mut self) {
        if let Err(Over::Cancelled) = self.live().await {
            self.world.count(|stats| stats.cancels += 1);
            let _ = self.cancelled().await;
        }
        self.count_out();
    }

    async fn live(&mut self) -> Result<(), Over> {
        let mut due = None;
        loop {
            let Some(request) = self.next(due).await? else {
                due = None;
                self.speak().await?;
                continue;
            };
            let text = request["transcript"].as_str().expect("a request has a transcript");
            self.world.count(|stats| stats.characters += text.chars().count());
            self.text.push_str(text);
            self.refuse().await?;
            let (flush, last) = (request["flush"] == true, request["continue"] != true);
            if flush || last {
                due = None;
                self.speak().await?;
            } else if !text.is_empty() {
                due = due.or(Some(Instant::now() + self.buffer_delay));
            }
            if flush {
                let id = self.flush_id;
                self.flush_id += 1;
                self.tell("flush_done", json!({"flush_done": true, "flush_id": id})).await?;
            }
            if last {
                return self.done().await;
            }
        }
    }

    /// The next request; `None` when text has waited long enough.
    async fn next(&mut self, due: Option<Instant>) -> Result<Option<Value>, Over> {
        if let Some(request) = self.pending.pop_front() {
            return Ok(Some(request));
        }
        let due = due.unwrap_or_else(|| Instant::now() + FOREVER);
        match timeout_at(due, self.requests.recv()).await {
            Err(_) => Ok(None),
            Ok(None) => Err(Over::Gone),
            Ok(Some(request)) if request["cancel"] == true => Err(Over::Cancelled),
            Ok(Some(request)) => Ok(Some(request)),
        }
    }

    /// Lets time pass, with an ear for a cancel.
    async fn wait(&mut self, until: Instant) -> Result<(), Over> {
        loop {
            match timeout_at(until, self.requests.recv()).await {
                Err(_) => return Ok(()),
                Ok(None) => return Err(Over::Gone),
                Ok(Some(request)) if request["cancel"] == true => return Err(Over::Cancelled),
                Ok(Some(request)) => self.pending.push_back(request),
            }
        }
    }

    async fn refuse(&mut self) -> Result<(), Over> {
        let live = self.world.stats().contexts_live;
        let full = FakeError { status: 429, code: Some("concurrency_limited"), with_context: true };
        let error = if live > self.behaviour.contexts_max { Some(full) } else { self.behaviour.error };
        let Some(FakeError { status, code, with_context }) = error else { return Ok(()) };
        let mut message = match code {
            None => json!({"type": "error", "done": true, "status_code": status, "error": "some words"}),
            Some(code) => json!({"type": "error", "done": true, "status_code": status, "error_code": code,
                "title": "A title", "message": "some words", "request_id": "r"}),
        };
        if with_context {
            message["context_id"] = json!(self.name);
        }
        self.count_out();
        self.send(message).await?;
        Err(Over::Gone)
    }

    /// Speaks what has not been spoken.
    async fn speak(&mut self) -> Result<(), Over> {
        if self.behaviour.silent {
            self.wait(Instant::now() + FOREVER).await?;
        }
        let total = self.text.chars().count();
        if self.spoken == total || self.behaviour.mute {
            return Ok(());
        }
        self.wait(Instant::now() + self.behaviour.first_audio).await?;
        for _ in 0..self.behaviour.garbage {
            self.out.send(Some("{\"type\":".to_owned())).await.map_err(|_| Over::Gone)?;
        }
        if self.words {
            self.words().await?;
        }
        let audio = watermark(&self.text, self.behaviour.bytes_per_char);
        self.speaking = audio[self.spoken * self.behaviour.bytes_per_char..].to_vec();
        self.spoken = total;
        let mut due = Instant::now();
        while !self.speaking.is_empty() {
            self.chunk().await?;
            due += self.behaviour.pace;
            self.wait(due).await?;
        }
        Ok(())
    }

    async fn chunk(&mut self) -> Result<(), Over> {
        if self.behaviour.die_after.is_some_and(|chunks| self.chunks >= chunks) {
            let _ = self.out.send(None).await;
            return Err(Over::Gone);
        }
        let rest = self.speaking.split_off(self.behaviour.chunk_bytes.min(self.speaking.len()));
        let audio = BASE64_STANDARD.encode(std::mem::replace(&mut self.speaking, rest));
        if self.behaviour.strangers {
            let stranger = json!({"type": "chunk", "done": false, "status_code": 206, "step_time": 1.0,
                "context_id": "somebody-elses", "data": BASE64_STANDARD.encode([0xee; 64])});
            self.send(stranger).await?;
        }
        self.chunks += 1;
        let mut members = json!({"data": audio, "step_time": 1.5});
        if self.flush_id > 1 {
            members["flush_id"] = json!(self.flush_id);
        }
        self.tell("chunk", members).await
    }

    async fn words(&mut self) -> Result<(), Over> {
        let seconds =
            |characters: usize| (characters * self.behaviour.bytes_per_char) as f64 / self.bytes_per_second;
        let rest: String = self.text.chars().skip(self.spoken).collect();
        let (mut texts, mut start, mut end) = (Vec::new(), Vec::new(), Vec::new());
        for (word, first, last) in words(&rest) {
            texts.push(word);
            start.push(seconds(self.spoken + first));
            end.push(seconds(self.spoken + last));
        }
        let times = json!({"words": texts, "start": start, "end": end});
        self.tell("timestamps", json!({"word_timestamps": times})).await
    }

    async fn done(&mut self) -> Result<(), Over> {
        // Before `done` is written: who has read it may open the next one.
        self.count_out();
        for _ in 0..=usize::from(self.behaviour.done_twice) {
            self.tell("done", json!({"done": true})).await?;
        }
        Ok(())
    }

    /// What has not begun is dropped; the piece being made still comes.
    async fn cancelled(&mut self) -> Result<(), Over> {
        let late = self.behaviour.late_chunks * self.behaviour.chunk_bytes;
        self.speaking.truncate(late);
        while !self.speaking.is_empty() {
            self.chunk().await?;
        }
        if self.behaviour.cancel_answered { self.done().await } else { Ok(()) }
    }

    fn count_out(&mut self) {
        if std::mem::take(&mut self.counted) {
            self.world.count(|stats| stats.contexts_live -= 1);
        }
    }

    async fn tell(&mut self, kind: &str, members: Value) -> Result<(), Over> {
        let mut message = json!({"type": kind, "done": false, "status_code": 206, "context_id": self.name});
        for (name, value) in members.as_object().unwrap() {
            message[name] = value.clone();
        }
        self.send(message).await
    }

    async fn send(&mut self, message: Value) -> Result<(), Over> {
        self.out.send(Some(message.to_string())).await.map_err(|_| Over::Gone)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.count_out();
    }
}
