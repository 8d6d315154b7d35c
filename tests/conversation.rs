//! A client speaks with the relay: every way in, whole turns, and what it is told.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::audio::{Tag, loudest};
use support::{SHORT, Seen, TestClient, TestRelay};

#[tokio::test]
async fn a_header_lets_a_client_in_and_ready_says_who_it_is() {
    let relay = TestRelay::plain().await;
    let bearer = format!("Bearer {}", relay.key);
    let mut client = TestClient::open(&relay.addr, &[("authorization", &bearer)]).await.unwrap();
    let ready = client.until("ready").await;
    assert!(ready["session"].as_str().unwrap().starts_with("ses_"));
    assert_eq!(ready["request_id"], client.request_id);
    assert_eq!(ready["key"], relay.key_id);
    assert_eq!(ready["org"], "default");
    assert_eq!(
        ready["limits"],
        json!({ "streams": 10, "session_streams": 16, "characters_per_stream": 50_000 })
    );
    assert_eq!(ready["version"], env!("CARGO_PKG_VERSION"));
    assert!(!ready.to_string().contains(&relay.key));
    client.says(SHORT).await;
}

#[tokio::test]
async fn a_first_frame_lets_a_client_in_that_does_not_wait_for_anything() {
    let relay = TestRelay::plain().await;
    let mut client = relay.stranger().await;
    client.send(json!({ "type": "auth", "token": relay.key })).await;
    client.speak(json!({}), SHORT).await;
    assert_eq!(client.until("ready").await["key"], relay.key_id);
    let turn = client.turn().await;
    assert_eq!(turn.done["characters"], SHORT.len());
}

#[tokio::test]
async fn a_turn_in_raw_frames_is_started_heard_and_done() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    let turn = client.says(SHORT).await;
    let started = &turn.started;
    assert_eq!((&started["stream"], &started["provider"]), (&"default".into(), &"local".into()));
    assert_eq!((&started["voice"], &started["model"]), (&"default".into(), &Value::Null));
    assert_eq!(started["index"], 0);
    assert!(started["queued_ms"].is_u64(), "{started}");
    assert_eq!(
        started["format"],
        json!({ "encoding": "pcm_s16le", "sample_rate": 24_000, "container": "raw" })
    );
    assert!(turn.messages.is_empty(), "{:?}", turn.messages);
    let done = &turn.done;
    assert_eq!((&done["provider"], &done["resumed"]), (&"local".into(), &0.into()));
    assert_eq!(done["characters"], SHORT.len());
    assert_eq!(done["audio_ms"], turn.audio().len() / 48);
    assert!(loudest(&turn.audio()) > 1000, "it can be heard");
}

#[tokio::test]
async fn the_parts_of_the_first_audio_add_up_to_it() {
    let relay = TestRelay::plain().await;
    let done = relay.connect().await.says(SHORT).await.done;
    let part = |name: &str| done["timing"][name].as_f64().unwrap_or_else(|| panic!("{name}: {done}"));
    let sum: f64 = ["queue_ms", "connect_ms", "upstream_ms", "relay_ms"].into_iter().map(part).sum();
    let first = done["first_audio_ms"].as_f64().unwrap();
    assert!((sum - first).abs() < 0.1, "{sum} is not {first}");
    assert!(part("auth_ms") > 0.0 && first > 0.0, "{done}");
}

#[tokio::test]
async fn several_streams_on_one_session_are_each_whole() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    let alone = client.says(SHORT).await.audio().len();
    let names: Vec<String> = (0..6).map(|number| format!("turn.{number}")).collect();
    for name in &names {
        client.speak(json!({ "stream": name, "frames": "tagged" }), SHORT).await;
    }
    let (mut index_of, mut heard) = (BTreeMap::new(), BTreeMap::<u64, Vec<u8>>::new());
    let mut done = 0;
    while done < names.len() {
        match client.next().await {
            Seen::Audio(frame) => {
                let (tag, audio) = (Tag::of(&frame), heard.entry(Tag::of(&frame).index).or_default());
                assert_eq!(tag.position, audio.len() as u64);
                audio.extend(&frame[12..]);
            }
            Seen::Json(message) if message["type"] == "started" => {
                index_of.insert(message["stream"].to_string(), message["index"].as_u64().unwrap());
            }
            Seen::Json(message) => {
                assert_eq!(message["type"], "done", "{message}");
                let audio = &heard[&index_of[&message["stream"].to_string()]];
                assert_eq!((audio.len(), &message["bytes"]), (alone, &alone.into()), "{message}");
                assert!(loudest(audio) > 1000);
                done += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    relay.idle().await;
}

#[tokio::test]
async fn turns_follow_each_other_on_one_session_and_count_their_use() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    let (first, second) = (client.says(SHORT).await, client.says("And again.").await);
    assert_eq!((&first.started["index"], &second.started["index"]), (&0.into(), &1.into()));
    relay.idle().await;
    let me = relay.me().await;
    assert_eq!((&me["streams"], &me["characters"]), (&2.into(), &(SHORT.len() + 10).into()));
    let ms = (first.done["audio_ms"].as_u64().unwrap() + second.done["audio_ms"].as_u64().unwrap()) as f64;
    assert_eq!(me["audio_seconds"], ms / 1000.0);
}

#[tokio::test]
async fn tokens_make_the_same_speech_as_the_whole_text() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    let whole = client.says(SHORT).await.done["audio_ms"].clone();
    client.send(json!({ "type": "start", "voice": "default" })).await;
    for letter in SHORT.chars() {
        client.send(json!({ "type": "text", "text": letter })).await;
    }
    client.send(json!({ "type": "end" })).await;
    let done = client.turn().await.done;
    assert_eq!((&done["audio_ms"], &done["characters"]), (&whole, &SHORT.len().into()));
}

#[tokio::test]
async fn a_flush_is_answered_after_its_audio_and_before_the_rest() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    client.send(json!({ "type": "start", "voice": "default" })).await;
    client.send(json!({ "type": "text", "text": "No stop at the end" })).await;
    client.send(json!({ "type": "flush", "mark": "first" })).await;
    let mut bytes = 0;
    let flushed = loop {
        match client.next().await {
            Seen::Audio(audio) => bytes += audio.len(),
            Seen::Json(message) if message["type"] == "flushed" => break message,
            Seen::Json(message) => assert_eq!(message["type"], "started"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((&flushed["stream"], &flushed["mark"]), (&"default".into(), &"first".into()));
    assert!(bytes > 10_000);
    assert_eq!(flushed["audio_ms"], bytes / 48);
    client.send(json!({ "type": "flush" })).await;
    let flushed = client.until("flushed").await;
    assert!(flushed.get("mark").is_none() && flushed["audio_ms"] == bytes / 48, "{flushed}");
    client.send(json!({ "type": "text", "text": " and more." })).await;
    client.send(json!({ "type": "end" })).await;
    assert!(client.turn().await.audio().len() > 10_000);
}

#[tokio::test]
async fn words_come_in_order_with_times_within_the_audio_and_begin_anew() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    for _ in 0..2 {
        client.speak(json!({ "words": true }), "Hello there. General purpose words!").await;
        let turn = client.turn().await;
        let words: Vec<&Value> =
            turn.of("words").into_iter().flat_map(|message| message["words"].as_array().unwrap()).collect();
        let texts: Vec<&str> = words.iter().map(|word| word["text"].as_str().unwrap()).collect();
        assert_eq!(texts, ["Hello", "there", "General", "purpose", "words"]);
        assert!(turn.of("words").iter().all(|message| message["estimated"] == true));
        let mut from = 0;
        for word in words {
            let (start, end) = (word["start_ms"].as_u64().unwrap(), word["end_ms"].as_u64().unwrap());
            assert!(from <= start && start <= end, "{word}");
            from = start;
            assert!(end <= turn.done["audio_ms"].as_u64().unwrap(), "{word} {}", turn.done);
        }
        assert!(from > 0);
    }
}

#[tokio::test]
async fn a_voice_of_the_provider_itself_speaks_its_language() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    let english = client.says("Guten Tag, wie geht es Ihnen?").await.audio();
    for provider in ["local", "embedded"] {
        let start = json!({ "provider": provider, "voice": "de-DE", "language": "de" });
        client.speak(start, "Guten Tag, wie geht es Ihnen?").await;
        let turn = client.turn().await;
        assert_eq!((&turn.started["provider"], &turn.started["voice"]), (&"local".into(), &"de-DE".into()));
        assert!(turn.audio() != english && turn.audio().len() > 10_000);
    }
}

#[tokio::test]
async fn what_a_start_asks_for_and_nobody_has_is_refused_by_name() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    for (start, code, names) in [
        (json!({ "voice": "nobody" }), "unknown_voice", "/v1/voices"),
        (json!({ "provider": "local", "voice": "nobody" }), "unknown_voice", "voice"),
        (json!({ "provider": "cartesia", "voice": "x" }), "unknown_voice", "provider"),
        (json!({ "provider": "nowhere", "voice": "x" }), "invalid_request", "provider"),
        (json!({ "options": { "loudness": 3 } }), "invalid_request", "options.loudness"),
        (json!({ "options": { "speed": 5 } }), "invalid_request", "options.speed"),
        (json!({ "pace": { "frame_ms": 0 } }), "invalid_request", "pace.frame_ms"),
    ] {
        client.speak(start.clone(), SHORT).await;
        let error = client.refused(code).await;
        assert!(error["detail"].as_str().unwrap().contains(names), "{start}: {error}");
        assert_eq!(error["retryable"], false, "{error}");
    }
    // Nothing was said to the text and the end that followed each.
    client.says(SHORT).await;
    relay.idle().await;
}

#[tokio::test]
async fn a_stream_is_one_of_its_name_and_raw_streams_stand_alone() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    client.send(json!({ "type": "start", "voice": "default", "stream": "a" })).await;
    client.until("started").await;
    client.send(json!({ "type": "start", "voice": "default", "stream": "a" })).await;
    let error = client.refused("stream_exists").await;
    assert_eq!((&error["stream"], &error["ended"]), (&"a".into(), &false.into()));
    client.send(json!({ "type": "start", "voice": "default", "stream": "b", "frames": "tagged" })).await;
    client.refused("stream_conflict").await;
    client.send(json!({ "type": "text", "stream": "c", "text": "x" })).await;
    assert_eq!(client.refused("unknown_stream").await["status"], 409);
    client.send(json!({ "type": "text", "stream": "a", "text": SHORT })).await;
    client.send(json!({ "type": "end", "stream": "a" })).await;
    assert_eq!(client.turn().await.done["stream"], "a");
}

#[tokio::test]
async fn the_sub_protocol_is_chosen_when_it_is_offered() {
    let relay = TestRelay::plain().await;
    let bearer = format!("Bearer {}", relay.key);
    let offer = [("authorization", bearer.as_str()), ("sec-websocket-protocol", "other, voxrelay.v1")];
    let mut client = TestClient::open(&relay.addr, &offer).await.unwrap();
    assert_eq!(client.protocol.as_deref(), Some("voxrelay.v1"));
    client.until("ready").await;
    client.says(SHORT).await;
    assert_eq!(relay.connect().await.protocol, None);
}

#[tokio::test]
async fn a_clean_goodbye_is_answered() {
    let relay = TestRelay::plain().await;
    let mut client = relay.connect().await;
    client.says(SHORT).await;
    client.socket.close(None).await.unwrap();
    client.gone().await;
    relay.idle().await;
}
