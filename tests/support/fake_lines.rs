//! Vendors whose fakes lay frames onto lines, one line per context: the frames leave each line in order and
//! at the pace of the fake, whatever the others do. A vendor is a [`Voice`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_tungstenite::tungstenite::Message;

use super::fake_server::{FOREVER, Socket, Talk, World, close};

/// A frame to come.
pub enum Out {
    /// Paced audio.
    Audio(Message),
    /// Anything else.
    Note(Message),
    /// The last word of a context.
    Last(Message),
    /// A close frame.
    Close(u16, &'static str),
}

/// The frames of one context.
pub struct Line {
    pub queue: VecDeque<Out>,
    due: Instant,
}

/// The lines of one socket.
#[derive(Default)]
pub struct Lines(pub BTreeMap<String, Line>);

impl Lines {
    pub fn push(&mut self, name: &str, out: Out) {
        let line = self
            .0
            .entry(name.to_owned())
            .or_insert_with(|| Line { queue: VecDeque::new(), due: Instant::now() });
        if line.queue.is_empty() {
            line.due = Instant::now();
        }
        line.queue.push_back(out);
    }

    pub fn note(&mut self, name: &str, message: &Value) {
        self.push(name, Out::Note(Message::text(message.to_string())));
    }

    /// Drops all but so many chunks of audio, and every note.
    pub fn cut(&mut self, name: &str, chunks: usize) {
        if let Some(line) = self.0.get_mut(name) {
            line.queue.retain(|out| matches!(out, Out::Audio(_)));
            line.queue.truncate(chunks);
        }
    }

    fn next(&self) -> Option<(String, Instant)> {
        let waiting = self.0.iter().filter(|(_, line)| !line.queue.is_empty());
        waiting.min_by_key(|(_, line)| line.due).map(|(name, line)| (name.clone(), line.due))
    }
}

/// What is vendor about a fake, for one socket.
pub trait Voice: Send + 'static {
    /// What is said before anything is heard.
    fn greet(&mut self, lines: &mut Lines);

    /// One message from the client.
    fn hear(&mut self, world: &World, message: &Value, lines: &mut Lines);

    /// What is said when the socket slept too long, before it is closed.
    fn timed_out(&self) -> (Option<Value>, u16, &'static str);
}

/// A conversation with this vendor.
pub fn talk(voice: impl Voice) -> Talk {
    Box::new(|world, socket| Box::pin(converse(world, socket, voice)))
}

async fn converse(world: Arc<World>, mut socket: Socket, mut voice: impl Voice) {
    let mut lines = Lines::default();
    let (mut chunks, mut served, mut heard) = (0, false, Instant::now());
    voice.greet(&mut lines);
    loop {
        let behaviour = world.behaviour();
        let next = lines.next();
        let due = next.as_ref().map_or_else(|| Instant::now() + FOREVER, |(_, due)| *due);
        let idle = behaviour.idle.filter(|_| served && next.is_none()).unwrap_or(FOREVER);
        tokio::select! {
            biased;
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    heard = Instant::now();
                    let message: Value = serde_json::from_str(&text).expect("a client sends JSON");
                    world.heard(message.clone());
                    if behaviour.half_open {
                        return sleep(FOREVER).await;
                    }
                    voice.hear(&world, &message, &mut lines);
                    served = true;
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return,
            },
            () = sleep_until(due) => {
                let Some(line) = next.and_then(|(name, _)| lines.0.get_mut(&name)) else { continue };
                let Some(out) = line.queue.pop_front() else { continue };
                let (message, audio) = match out {
                    Out::Audio(message) => (message, true),
                    Out::Note(message) => (message, false),
                    Out::Last(message) => {
                        // Before it is written: who has read it may open the next one.
                        world.count(|stats| stats.contexts_live -= 1);
                        (message, false)
                    }
                    Out::Close(code, reason) => return close(socket, Some((code, reason))).await,
                };
                if audio {
                    if behaviour.die_after.is_some_and(|most| chunks >= most) {
                        let _ = socket.flush().await;
                        return;
                    }
                    chunks += 1;
                    line.due += behaviour.pace;
                }
                heard = Instant::now();
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            () = sleep_until(heard + idle) => {
                let (message, code, reason) = voice.timed_out();
                if let Some(message) = message {
                    let _ = socket.send(Message::text(message.to_string())).await;
                }
                return close(socket, Some((code, reason))).await;
            }
        }
    }
}
