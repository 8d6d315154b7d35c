//! What a client hears is what was written: digits through the whole relay, read back by a recogniser.
#![cfg(all(feature = "embedded-voice", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

#[allow(dead_code)] // the rest is used by the tests of the voice itself
#[path = "voice/listening.rs"]
mod listening;
mod support;

use serde_json::json;
use support::{Served, TestClient};

#[tokio::test]
async fn digits_sent_token_by_token_are_understood_at_the_other_end() {
    let relay = Served::start(&[("VOXRELAY__LIMITS__MESSAGES_PER_SECOND", "1000")]).await;
    let bearer = format!("Bearer {}", relay.key);
    let mut client = TestClient::open(&relay.addr, &[("authorization", &bearer)]).await.unwrap();
    client.until("ready").await;
    let mut heard_by = listening::Recogniser::new();
    for said in ["407936", "528164", "390275", "816430", "259871", "640398"] {
        let samples = dictate(&mut client, said).await;
        listening::assert_speech(&samples);
        heard_by.listen(said, &samples);
    }
    heard_by.verdict();
}

/// One turn: six digits in words, three characters at a time. The relay makes 48,000 Hz of the voice's
/// 16,000, so that every third sample is all there is to hear.
async fn dictate(client: &mut TestClient, said: &str) -> Vec<i16> {
    let words = said.bytes().map(|digit| listening::DIGITS[usize::from(digit - b'0')]);
    let text = words.collect::<Vec<_>>().join(" ") + ".";
    let format = json!({"encoding": "pcm_s16le", "sample_rate": 48_000});
    client.send(json!({"type": "start", "voice": "default", "format": format})).await;
    for token in text.as_bytes().chunks(3) {
        client.send(json!({"type": "text", "text": std::str::from_utf8(token).unwrap()})).await;
    }
    client.send(json!({"type": "end"})).await;
    let audio = client.turn().await.audio();
    audio.chunks_exact(6).map(|samples| i16::from_le_bytes([samples[0], samples[1]])).collect()
}
