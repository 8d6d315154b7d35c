//! Pool, link and codecs of Rime against a fake that speaks from the published facts, through real
//! sockets.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

#[path = "support/fake_rime.rs"]
mod fake_rime;
mod support;

use std::time::Duration;

use support::bench::{listen, next, say, speak, speak_at_once, until};
use support::fake_server::{Behaviour, Fake, FakeFault, watermark};
use support::studio::{Studio, Vendor, fails_once, own_client};
use voxrelay::lease::CheckoutKind;
use voxrelay_protocol::{AudioFormat, Command, Encoding, Event, FaultKind};

const ALL: [&str; 4] = ["ws3", "ws2", "ws", "v1"];
/// Those on which a stream can follow another.
const REUSED: [&str; 3] = ["ws3", "ws2", "v1"];

fn rime(api: &'static str) -> Vendor {
    Vendor { name: "rime", judge: fake_rime::judge, api, ask: |spec| spec.words = true }
}

#[tokio::test]
async fn turns_follow_each_other_on_one_link_where_their_ends_are_told() {
    for api in ALL {
        let studio = Studio::start(rime(api), Behaviour::odd()).await;
        let mut kinds = Vec::new();
        for text in ["The first turn. It has two sentences.", "And the second, in pieces"] {
            let mut lease = studio.lease().await;
            kinds.push(lease.checkout().kind);
            for piece in text.split_inclusive(' ') {
                lease.send(Command::Text(piece.into())).unwrap();
            }
            lease.send(Command::End).unwrap();
            assert_eq!(listen(&mut lease).await, (watermark(text, 64), Ok(())), "{api}");
        }
        let (links, second) = if api == "ws" { (2, CheckoutKind::Cold) } else { (1, CheckoutKind::Warm) };
        assert_eq!(kinds, [CheckoutKind::Cold, second], "{api}");
        assert_eq!(studio.fake.stats().sockets, links, "{api}");
    }
}

#[tokio::test]
async fn links_are_kept_apart_by_all_that_their_address_fixes() {
    let studio = Studio::start(rime("ws3"), Behaviour::odd()).await;
    for rate in [8_000, 24_000, 8_000, 24_000] {
        let format = AudioFormat::raw(Encoding::PcmS16le, rate);
        let mut lease = studio.bench.lease_with(|spec| spec.format = format).await;
        assert_eq!(speak(&mut lease, "x").await, Ok(watermark("x", 64)));
    }
    assert_eq!(studio.fake.stats().sockets, 2);
    let studio = Studio::start(rime("v1"), Behaviour::odd()).await;
    for voice in ["a", "b"] {
        let mut lease = studio.bench.lease_with(|spec| spec.voice = voice.into()).await;
        assert_eq!(speak(&mut lease, "x").await, Ok(watermark("x", 64)));
    }
    assert_eq!(studio.fake.stats().sockets, 1);
}

#[tokio::test]
async fn a_flush_is_answered_after_its_last_audio_and_word_times_go_on_behind_it() {
    for api in REUSED {
        let studio = Studio::start(rime(api), Behaviour::odd()).await;
        let mut lease = studio.lease().await;
        for text in ["One two. ", "Three"] {
            lease.send(Command::Text(text.into())).unwrap();
            lease.send(Command::Flush).unwrap();
        }
        let (mut heard, mut told, mut flushed_at) = (Vec::new(), Vec::new(), Vec::new());
        while flushed_at.len() < 2 {
            match next(&mut lease).await.unwrap() {
                Event::Words { words, estimated: false } => told.extend(words),
                Event::Audio(bytes) => heard.extend_from_slice(&bytes),
                Event::Flushed => flushed_at.push(heard.len()),
                event => panic!("{event:?}"),
            }
        }
        assert_eq!(flushed_at, [9 * 64, 14 * 64], "{api}");
        // 64 bytes a character at 24 kHz: 1.33 ms.
        let words: Vec<_> = told.iter().map(|word| (word.text.as_str(), word.start_ms)).collect();
        assert_eq!(words, [("One", 0), ("two.", 5), ("Three", 12)], "{api}");
        lease.send(Command::End).unwrap();
        assert_eq!(next(&mut lease).await, Some(Event::Done), "{api}");
    }
}

#[tokio::test]
async fn a_language_without_word_times_is_not_waited_for() {
    let studio = Studio::start(rime("ws3"), Behaviour::odd()).await;
    let mut lease = studio.bench.lease_with(|spec| spec.language = Some("ger".into())).await;
    assert_eq!(speak(&mut lease, "Guten Tag.").await, Ok(watermark("Guten Tag.", 64)));
}

#[tokio::test]
async fn nothing_of_a_cancelled_turn_reaches_the_next_one() {
    for api in ALL {
        let studio = Studio::start(rime(api), Behaviour { late_chunks: 5, ..Behaviour::odd() }).await;
        for turn in 1..=10 {
            studio.fake.change(|behaviour| behaviour.pace = Duration::from_millis(1));
            let mut lease = studio.lease().await;
            // Sentences of many chunks: the cancel falls into the midst of the first.
            say(&mut lease, &format!("An old one{}. ", " that goes on".repeat(20)).repeat(5));
            while next(&mut lease).await.unwrap().audio_len() == 0 {}
            drop(lease);
            let text = format!("turn {turn}");
            let mut lease = studio.lease().await;
            assert_eq!(speak(&mut lease, &text).await, Ok(watermark(&text, 64)), "{api}");
            // `/ws` has no end mark: what was cancelled is closed at once.
            until(|| studio.bench.counts().slots == 0 && studio.fake.stats().cancels == turn).await;
        }
        let sockets = studio.fake.stats().sockets;
        match api {
            "ws" => assert_eq!(sockets, 20),
            // Cleaned behind the back of the turn that ran on the other one.
            "v1" => assert_eq!(sockets, 1),
            _ => assert_eq!(sockets, 2, "{api}"),
        }
    }
}

#[tokio::test]
async fn contexts_of_v1_run_side_by_side_and_stay_apart() {
    let pace = Duration::from_millis(2);
    let studio = Studio::start(rime("v1"), Behaviour { pace, ..Behaviour::odd() }).await;
    let (mut first, mut second) = (studio.lease().await, studio.lease().await);
    assert_eq!(second.checkout().kind, CheckoutKind::Hit);
    speak_at_once(&mut first, &mut second).await;
    assert_eq!(studio.fake.stats().sockets, 1);
}

#[tokio::test]
async fn every_refused_upgrade_has_its_kind() {
    for (status, body, kind) in [
        (401, "missing headers", FaultKind::Auth),
        (401, "empty apikey", FaultKind::Auth),
        (403, "access forbidden", FaultKind::Auth),
        (429, "Currently at websocket limit", FaultKind::Throttled),
        (500, "Internal error", FaultKind::Http5xx),
    ] {
        for api in ALL {
            let studio = Studio::start(
                rime(api),
                Behaviour { refuse_saying: Some((status, body)), ..Behaviour::odd() },
            )
            .await;
            assert_eq!(studio.bench.fault().await.kind, kind, "{api} {body}");
        }
    }
    let studio =
        Studio::start(rime("ws3"), Behaviour { key: Some("another".into()), ..Behaviour::odd() }).await;
    assert_eq!(studio.bench.fault().await.kind, FaultKind::Auth);
}

#[tokio::test]
async fn every_error_in_band_has_its_kind() {
    for api in ["ws3", "ws2"] {
        for (error, kind) in [
            ("text is too long", FaultKind::Rejected),
            ("Speaker not found", FaultKind::Rejected),
            ("invalid subscription", FaultKind::Payment),
            ("internal error", FaultKind::ContextError),
        ] {
            let studio = fails_once(
                rime(api),
                Behaviour { fault: Some(FakeFault::saying(error)), ..Behaviour::odd() },
                kind,
            )
            .await;
            assert!(studio.is_none_or(|studio| studio.fake.stats().sockets == 2), "{error}");
        }
    }
    for (error, kind) in [
        ("invalid_input", FaultKind::Rejected),
        ("not_found", FaultKind::Rejected),
        ("unauthenticated", FaultKind::Auth),
        ("permission_denied", FaultKind::Auth),
        ("resource_exhausted", FaultKind::Throttled),
        ("timeout", FaultKind::ContextError),
        ("unavailable", FaultKind::ContextError),
        ("internal", FaultKind::ContextError),
    ] {
        let studio = fails_once(
            rime("v1"),
            Behaviour { fault: Some(FakeFault::saying(error)), ..Behaviour::odd() },
            kind,
        )
        .await;
        assert!(studio.is_none_or(|studio| studio.fake.stats().sockets == 1), "{error}");
    }
}

#[tokio::test]
async fn every_close_has_its_kind() {
    for api in ALL {
        for (close, kind) in [
            ((1011, "400: text is too long"), FaultKind::Rejected),
            ((1011, "500: internal error"), FaultKind::ContextError),
            ((1011, "words nobody knows"), FaultKind::ClosedEarly),
            ((1012, ""), FaultKind::ClosedEarly),
        ] {
            fails_once(
                rime(api),
                Behaviour { fault: Some(FakeFault::closing(close)), ..Behaviour::odd() },
                kind,
            )
            .await;
        }
        fails_once(rime(api), Behaviour { die_after: Some(0), ..Behaviour::odd() }, FaultKind::ClosedEarly)
            .await;
    }
}

#[tokio::test]
async fn a_link_cut_after_audio_ends_its_stream_after_all_that_came() {
    for api in ALL {
        let studio = Studio::start(rime(api), Behaviour { die_after: Some(3), ..Behaviour::odd() }).await;
        let mut lease = studio.lease().await;
        let text = "long ".repeat(150);
        say(&mut lease, &text);
        let (heard, end) = listen(&mut lease).await;
        assert_eq!(end, Err(FaultKind::ClosedMidAudio), "{api}");
        // Three chunks of 963 bytes, to the last whole sample.
        assert_eq!(heard.len(), 2888, "{api}");
        assert!(watermark(&text, 64).starts_with(&heard), "{api}");
    }
}

#[tokio::test]
async fn a_synthesis_without_audio_ends_as_one() {
    for api in ALL {
        let studio = Studio::start(rime(api), Behaviour { mute: true, ..Behaviour::odd() }).await;
        assert_eq!(speak(&mut studio.lease().await, "x").await, Ok(Vec::new()), "{api}");
    }
}

#[tokio::test]
async fn broken_frames_and_second_ends_reach_nobody() {
    for api in ["ws3", "ws2"] {
        let behaviour = Behaviour { garbage: 1, done_twice: true, ..Behaviour::odd() };
        let studio = Studio::start(rime(api), behaviour).await;
        for turn in 0..5 {
            let text = format!("turn {turn}");
            assert_eq!(speak(&mut studio.lease().await, &text).await, Ok(watermark(&text, 64)), "{api}");
            // The second end comes when nobody is there: such a link is not used again.
            until(|| studio.bench.counts().links == 0).await;
        }
        fails_once(rime(api), Behaviour { garbage: 2, ..Behaviour::odd() }, FaultKind::BadFrame).await;
    }
    let studio = Studio::start(rime("v1"), Behaviour { done_twice: true, ..Behaviour::odd() }).await;
    for text in ["one", "two", "three"] {
        assert_eq!(speak(&mut studio.lease().await, text).await, Ok(watermark(text, 64)));
    }
    assert_eq!(studio.fake.stats().sockets, 1);
}

#[tokio::test]
async fn a_stale_link_is_never_handed_out() {
    for api in REUSED {
        let idle = Duration::from_millis(1);
        let studio = Studio::start(rime(api), Behaviour { idle: Some(idle), ..Behaviour::odd() }).await;
        for turn in 0..20 {
            let text = format!("turn {turn}");
            assert_eq!(speak(&mut studio.lease().await, &text).await, Ok(watermark(&text, 64)), "{api}");
            // Half of the turns cross the close, the others come behind it.
            if turn % 2 == 0 {
                until(|| studio.fake.stats().sockets_live == 0).await;
            }
        }
        assert!(studio.fake.stats().sockets > 1, "no link went stale");
    }
}

#[tokio::test]
async fn a_half_open_link_is_given_up_and_never_handed_out_again() {
    for api in ["ws3", "ws2"] {
        let studio = rime(api).is_half_open().await;
        // The dirty one is waited for in vain, and then retired.
        until(|| studio.bench.counts().links == 1 && studio.bench.counts().slots == 0).await;
    }
}

#[tokio::test]
async fn a_slow_reader_pauses_its_link_and_loses_nothing() {
    for api in ["ws3", "ws2", "ws"] {
        rime(api).is_read_slowly().await;
    }
}

#[tokio::test]
async fn a_client_of_the_vendors_sockets_is_at_home_with_the_fake() {
    let behaviour = Behaviour { key: Some("k".into()), ..Behaviour::odd() };
    let fake = Fake::start(fake_rime::judge, behaviour).await;
    if own_client(&fake, "rime_client.py", Some("livekit.plugins.rime")).await {
        // Each socket of the client has served both turns.
        assert_eq!((fake.stats().sockets, fake.stats().contexts), (2, 4));
    }
}
