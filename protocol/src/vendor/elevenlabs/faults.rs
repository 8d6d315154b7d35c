//! ElevenLabs' errors, sorted.

use serde_json::Value;

use super::messages::ServerMessage;
use crate::{FaultKind, UpstreamFault};

/// Sorts an error by its name (<https://elevenlabs.io/docs/eleven-api/resources/errors>; that the
/// names of HTTP errors also come on sockets is assumed). The vendor's words are not kept: they may
/// repeat the text.
pub(super) fn error_fault(message: &ServerMessage<'_>, of_a_context: bool) -> UpstreamFault {
    let name = message.error.as_ref().and_then(Value::as_str).unwrap_or_default();
    let kind = match name {
        "invalid_api_key"
        | "missing_api_key"
        | "needs_authorization"
        | "missing_permissions"
        | "detected_unusual_activity" => FaultKind::Auth,
        "quota_exceeded" | "only_for_creator+" | "payment_required" => FaultKind::Payment,
        "max_active_conversations"
        | "too_many_concurrent_requests"
        | "concurrent_limit_exceeded"
        | "rate_limit_exceeded" => FaultKind::Throttled,
        "max_character_limit_exceeded" | "voice_not_found" | "model_not_found" | "validation_error" => {
            FaultKind::Rejected
        }
        // The socket slept too long: it is as if it had been closed.
        "input_timeout_exceeded" if !of_a_context => FaultKind::Reset,
        _ => FaultKind::ContextError,
    };
    UpstreamFault::new(kind, format!("error {}", printable(name)))
}

/// At most 64 characters of a name, and only such as cannot carry text or break a log line.
fn printable(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || "_+".contains(*c)).take(64).collect()
}
