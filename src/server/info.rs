//! What a caller may know: itself, and the voices.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use voxrelay_protocol::{Fault, FaultCode};

use super::problem::RequestId;
use super::{Known, refuse};
use crate::app::App;
use crate::auth::Caller;
use crate::config::Config;
use crate::keys::Scope;
use crate::store::Usage;

/// `GET /v1/me`.
pub async fn me(State(app): State<App>, Known(caller): Known, id: RequestId) -> Response {
    let used = match used(&app, &caller).await {
        Ok(used) => used,
        Err(fault) => return refuse(fault, &id),
    };
    let limits = &app.config.limits;
    Json(json!({
        "key": caller.key.as_deref(),
        "org": &*caller.org,
        "plan": &*caller.plan,
        "scopes": caller.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
        "voices": caller.voices,
        "expires_at": caller.expires.map(|at| humantime::format_rfc3339_seconds(at).to_string()),
        "limits": {
            "streams": caller.key_streams.min(caller.org_streams),
            "session_streams": limits.session_streams,
            "characters_per_stream": limits.characters_per_stream,
        },
        "live_streams": match caller.key.as_deref() {
            Some(key) => app.quota.live(key),
            None => app.quota.live_of_org(&caller.org),
        },
        "characters": used.characters,
        "audio_seconds": seconds(used.audio_ms),
        "streams": used.streams,
        // No credits are kept yet: nothing is owed and nothing runs out.
        "balance": Value::Null,
    }))
    .into_response()
}

/// What the caller's key has used, to the last stream that ended; zeros in open mode.
async fn used(app: &App, caller: &Caller) -> Result<Usage, Fault> {
    let Some(key) = caller.key.as_deref() else { return Ok(Usage::default()) };
    let noted = app.ledger.noted(key);
    let stored = app.ledger.stored(key).await.map_err(|error| {
        tracing::warn!(%error, "use cannot be read from the store");
        Fault::new(FaultCode::Overloaded, "use cannot be read at the moment").retry_after(1000)
    })?;
    Ok(Usage {
        characters: stored.characters.saturating_add(noted.characters),
        audio_ms: stored.audio_ms.saturating_add(noted.audio_ms),
        streams: stored.streams.saturating_add(noted.streams),
    })
}

/// `GET /v1/voices`: the configured voices the key may use, and what the upstreams offer by
/// themselves (to be asked for by `provider` and `voice`).
pub async fn voices(State(app): State<App>, Known(caller): Known, id: RequestId) -> Response {
    if let Err(fault) = caller.may(Scope::VoicesRead) {
        return refuse(fault, &id);
    }
    Json(json!({ "voices": listed(&app.config, &caller), "upstreams": offered(&app.config, &caller) }))
        .into_response()
}

fn listed(config: &Config, caller: &Caller) -> Vec<Value> {
    let allowed = config.voices.iter().filter(|voice| caller.may_use_voice(&voice.name).is_ok());
    allowed
        .map(|voice| {
            let providers: Vec<&str> = voice.routes.iter().map(|route| &*route.upstream.name).collect();
            json!({ "voice": &*voice.name, "language": voice.language, "providers": providers })
        })
        .collect()
}

fn offered(config: &Config, caller: &Caller) -> Vec<Value> {
    if caller.voices.is_some() {
        return Vec::new();
    }
    let upstreams = config.upstreams.iter();
    upstreams
        .map(|upstream| {
            let voices: Vec<Value> = upstream
                .provider
                .voices()
                .iter()
                .map(|voice| json!({ "voice": voice.name, "language": voice.language }))
                .collect();
            json!({ "provider": &*upstream.name, "kind": upstream.provider.kind(), "voices": voices })
        })
        .collect()
}

#[allow(clippy::cast_precision_loss)] // 2^53 ms are 285,000 years of speech
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}
