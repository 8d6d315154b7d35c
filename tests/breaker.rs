//! An upstream that fails again and again is left alone: clients hear another one, or are told at once.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod support;

use serde_json::json;
use support::fake::{Behaviour, FakeCartesia, FakeError};
use support::{SHORT, TestRelay};

/// Vendor faults in a row that open the breaker.
const IN_A_ROW: usize = 5;

#[tokio::test]
async fn an_upstream_that_fails_five_times_in_a_row_is_not_asked_again() {
    let fake = FakeCartesia::start(Behaviour { mute: true, ..Behaviour::default() }).await;
    let relay = TestRelay::with_vendor(&fake, |_, _| {}).await;
    let mut client = relay.connect().await;
    for _ in 0..IN_A_ROW + 3 {
        client.speak(json!({ "voice": "either" }), SHORT).await;
        assert_eq!(client.turn().await.done["provider"], "local");
    }
    assert_eq!(fake.stats().contexts, IN_A_ROW);
    assert_eq!(relay.metric(r#"voxrelay_breaker_open{upstream="vendor"}"#).await, 1.0);

    client.speak(json!({ "voice": "vendor" }), SHORT).await;
    let error = client.refused("upstream_unavailable").await;
    assert_eq!(error["retryable"], true);
    assert!((1..=6_000).contains(&error["retry_after_ms"].as_u64().unwrap()), "{error}");
    assert_eq!(fake.stats().contexts, IN_A_ROW);
    relay.idle().await;
}

#[tokio::test]
async fn a_refused_account_is_not_shown_again_and_the_caller_never_hears_of_it() {
    let error = FakeError { status: 401, code: None, with_context: true };
    let fake = FakeCartesia::start(Behaviour { error: Some(error), ..Behaviour::default() }).await;
    let relay = TestRelay::with_vendor(&fake, |_, _| {}).await;
    let mut client = relay.connect().await;
    for _ in 0..3 {
        client.speak(json!({ "voice": "either" }), SHORT).await;
        assert_eq!(client.turn().await.done["provider"], "local");
    }
    client.speak(json!({ "voice": "vendor" }), SHORT).await;
    client.refused("upstream_unavailable").await;
    assert_eq!(fake.stats().contexts, 1);
    assert_eq!(relay.metric(r#"voxrelay_credential_bad{upstream="vendor"}"#).await, 1.0);
    relay.idle().await;
}

#[tokio::test]
async fn texts_that_a_vendor_refuses_are_no_reason_to_leave_it_alone() {
    let error = FakeError { status: 400, code: None, with_context: true };
    let fake = FakeCartesia::start(Behaviour { error: Some(error), ..Behaviour::default() }).await;
    let relay = TestRelay::with_vendor(&fake, |_, _| {}).await;
    let mut client = relay.connect().await;
    for _ in 0..IN_A_ROW + 3 {
        client.speak(json!({ "voice": "vendor" }), SHORT).await;
        client.refused("upstream_rejected").await;
    }
    assert_eq!(fake.stats().contexts, IN_A_ROW + 3);
    relay.idle().await;
}
