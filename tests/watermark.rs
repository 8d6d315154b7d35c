//! Audio whose every byte names its text and its place in it: five hundred streams at once, interrupted
//! at random, hear each byte that is theirs once, in order, and nothing else.
//!
//! The seed is printed; `VOXRELAY_TEST_SEED` runs the same choices again.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

#[path = "support/fake_deepgram.rs"]
mod fake_deepgram;
mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::fake::FakeCartesia;
use support::fake_server::{Behaviour, Fake, watermark};
use support::{PATIENCE, Seen, TestClient, TestRelay, until};
use voxrelay::config::{Config, PoolSettings, Route, Upstream, Voice, Watchdogs};
use voxrelay_protocol::provider::{Account, provider};
use voxrelay_protocol::request::Credential;

/// Every second session speaks on shared links, the others on links of their own.
const SESSIONS: usize = 50;
const STREAMS: usize = 10;
const TURNS: usize = 3;
const BYTES_PER_CHAR: usize = 64;
const PACE: Duration = Duration::from_millis(20);
const HEADER: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_streams_interrupted_at_random_hear_their_own_bytes_and_no_others() {
    let seed = std::env::var("VOXRELAY_TEST_SEED").ok().map_or_else(
        || {
            u64::from(std::process::id()) << 32
                | u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos())
        },
        |seed| seed.parse().expect("VOXRELAY_TEST_SEED is a number"),
    );
    println!("VOXRELAY_TEST_SEED={seed}");
    let shared = FakeCartesia::start(Behaviour { pace: PACE, late_chunks: 3, ..Behaviour::default() }).await;
    let behaviour = Behaviour { pace: PACE, late_chunks: 3, ..Behaviour::default() };
    let own = Fake::start(fake_deepgram::judge, behaviour).await;
    let relay = TestRelay::with_vendor(&shared, |config, vendor| {
        roomy(config);
        patient(vendor);
        exclusive(config, own.url());
    })
    .await;

    let sessions = (0..SESSIONS).map(|number| {
        let relay = &relay;
        async move {
            let voice = if number % 2 == 0 { "vendor" } else { "exclusive" };
            let dice = Dice(seed.wrapping_add(number as u64));
            Listener { client: relay.connect().await, voice, dice, live: HashMap::new() }.run(number).await
        }
    });
    let (done, cancelled) =
        join_all(sessions).await.into_iter().fold((0, 0), |sum, (done, cut)| (sum.0 + done, sum.1 + cut));
    println!("{done} streams to their end, {cancelled} interrupted");
    assert_eq!(done + cancelled, SESSIONS * STREAMS * TURNS);
    assert!(done > 0 && cancelled > 0 && shared.stats().cancels > 0 && own.stats().cancels > 0);
    relay.idle().await;
    until("nothing runs at the vendors", async || {
        (shared.stats().contexts_live == 0 && own.stats().contexts_live == 0).then_some(())
    })
    .await;
}

/// One session of many streams, and what each of them must hear.
struct Listener {
    client: TestClient,
    voice: &'static str,
    dice: Dice,
    live: HashMap<String, Hearing>,
}

struct Hearing {
    slot: usize,
    turn: usize,
    audio: Vec<u8>,
    /// Its number in frames, once it has started.
    index: Option<u64>,
    heard: usize,
    /// Interrupt it after so many frames.
    cut: Option<usize>,
    asked_to_stop: bool,
}

impl Listener {
    /// All turns of all streams; how many came to their end and how many were interrupted.
    async fn run(mut self, session: usize) -> (usize, usize) {
        let (mut done, mut cancelled, mut unknown) = (0, 0, 0);
        for slot in 0..STREAMS {
            self.begin(session, slot, 0).await;
        }
        while !self.live.is_empty() {
            let over = match self.client.next().await {
                Seen::Audio(frame) => {
                    self.hears(&frame).await;
                    None
                }
                Seen::Json(message) => match message["type"].as_str().unwrap() {
                    "started" => {
                        self.hearing(&message).index = message["index"].as_u64();
                        None
                    }
                    "done" => {
                        done += 1;
                        Some(self.is_whole(&message, &mut unknown))
                    }
                    "cancelled" => {
                        cancelled += 1;
                        Some(self.is_cut(&message))
                    }
                    "error" if message["code"] == "unknown_stream" && unknown > 0 => {
                        unknown -= 1;
                        None
                    }
                    _ => panic!("{message}"),
                },
                other => panic!("{other:?}"),
            };
            if let Some(Hearing { slot, turn, .. }) = over.filter(|over| over.turn + 1 < TURNS) {
                self.begin(session, slot, turn + 1).await;
            }
        }
        (done, cancelled)
    }

    /// Begins a turn under a name that no other turn has, so that a late cancel meets nobody.
    async fn begin(&mut self, session: usize, slot: usize, turn: usize) {
        let cut = (self.dice.below(2) == 0).then(|| self.dice.below(10));
        // What is interrupted has much left to say.
        let text = self.dice.text(if cut.is_some() { 400 } else { 20 });
        let name = format!("{session}.{slot}.{turn}");
        let audio = watermark(&text, BYTES_PER_CHAR);
        let hearing = Hearing { slot, turn, audio, index: None, heard: 0, cut, asked_to_stop: false };
        self.live.insert(name.clone(), hearing);
        let start = json!({ "type": "start", "voice": self.voice, "stream": name, "frames": "tagged" });
        self.client.send(start).await;
        let middle = self.dice.below(text.len());
        for part in [&text[..middle], &text[middle..]] {
            if !part.is_empty() {
                self.client.send(json!({ "type": "text", "stream": name, "text": part })).await;
            }
        }
        self.client.send(json!({ "type": "end", "stream": name })).await;
        self.maybe_cut(&name, 0).await;
    }

    /// A frame must be the next bytes of a stream that is live.
    async fn hears(&mut self, frame: &[u8]) {
        let index = u64::from(u16::from_be_bytes(frame[..2].try_into().unwrap()));
        let position = u64::from_be_bytes(frame[4..HEADER].try_into().unwrap());
        let found = self.live.iter_mut().find(|(_, hearing)| hearing.index == Some(index));
        let (name, hearing) = found.expect("a frame of a stream that is over, or was never begun");
        let audio = &frame[HEADER..];
        assert_eq!(position, hearing.heard as u64, "{name}: bytes are missing or come twice");
        assert!(hearing.audio[hearing.heard..].starts_with(audio), "{name}: bytes of something else");
        hearing.heard += audio.len();
        let (name, frames) = (name.clone(), hearing.heard.div_ceil(960));
        self.maybe_cut(&name, frames).await;
    }

    async fn maybe_cut(&mut self, name: &str, frames: usize) {
        let Some(hearing) = self.live.get_mut(name) else { return };
        if !hearing.asked_to_stop && hearing.cut.is_some_and(|cut| frames >= cut) {
            hearing.asked_to_stop = true;
            self.client.send(json!({ "type": "cancel", "stream": name })).await;
        }
    }

    fn is_whole(&mut self, done: &Value, unknown: &mut usize) -> Hearing {
        let hearing = self.over(done);
        assert_eq!(hearing.heard, hearing.audio.len(), "{done}");
        assert_eq!(done["bytes"], hearing.heard, "{done}");
        // The cancel was on its way: it will be told that there is no such stream.
        *unknown += usize::from(hearing.asked_to_stop);
        hearing
    }

    fn is_cut(&mut self, cancelled: &Value) -> Hearing {
        let hearing = self.over(cancelled);
        assert!(hearing.asked_to_stop, "{cancelled}");
        assert_eq!(cancelled["sent_ms"], hearing.heard / 48, "{cancelled}");
        hearing
    }

    fn hearing(&mut self, message: &Value) -> &mut Hearing {
        self.live.get_mut(message["stream"].as_str().unwrap()).expect("of a stream that is live")
    }

    fn over(&mut self, message: &Value) -> Hearing {
        self.live.remove(message["stream"].as_str().unwrap()).expect("one end for each stream")
    }
}

/// Numbers that look random and come again with the same seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A text that shares no ten letters with any other, so that its audio is known from every piece.
    fn text(&mut self, least: usize) -> String {
        let length = least + self.below(100);
        (0..length)
            .map(|_| char::from(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[self.below(52)]))
            .collect()
    }
}

fn roomy(config: &mut Config) {
    config.plans.get_mut("default").unwrap().streams = (SESSIONS * STREAMS) as u64;
    config.limits.queue_timeout = PATIENCE;
    config.limits.queue_streams = SESSIONS * STREAMS;
}

/// A busy machine is no fault of a vendor.
fn patient(vendor: &mut Upstream) {
    vendor.streams = SESSIONS * STREAMS * 2;
    vendor.pool.max_links = SESSIONS * STREAMS;
    vendor.pool.dials_per_second = 1000.0;
    vendor.watchdogs =
        Watchdogs { connect: PATIENCE, first_audio: PATIENCE, gap: PATIENCE, ..Watchdogs::default() };
}

/// A second account, at a vendor of one stream a link, and a voice on it.
fn exclusive(config: &mut Config, url: String) {
    let mut upstream = Upstream {
        name: "own".into(),
        provider: provider("deepgram").unwrap(),
        account: Account { url, api_key: Some(Credential::new("canary-key")), api: "v1" },
        streams: 0,
        pool: PoolSettings { warm: 0, ..PoolSettings::default() },
        watchdogs: Watchdogs::default(),
    };
    patient(&mut upstream);
    let upstream = Arc::new(upstream);
    let route = Route { upstream: upstream.clone(), model: None, voice: "aura-2-thalia-en".into() };
    config.upstreams.push(upstream);
    config.voices.push(Arc::new(Voice { name: "exclusive".into(), language: None, routes: vec![route] }));
}
