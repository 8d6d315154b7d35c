//! Rime's errors, sorted by who is to blame. The older sockets tell them in words alone, v1 by kind.
//! The words are looked at and not kept: they may repeat the text.

use crate::{FaultKind, UpstreamFault};

/// Parts of the messages in <https://docs.rime.ai/docs/errors>, in small letters, first match first.
const WORDS: [(&str, FaultKind); 17] = [
    ("invalid subscription", FaultKind::Payment),
    ("missing headers", FaultKind::Auth),
    ("missing authorization", FaultKind::Auth),
    ("invalid api key", FaultKind::Auth),
    ("empty apikey", FaultKind::Auth),
    ("access forbidden", FaultKind::Auth),
    ("at websocket limit", FaultKind::Throttled),
    ("internal error", FaultKind::ContextError),
    ("database error", FaultKind::ContextError),
    ("normalization engine error", FaultKind::ContextError),
    ("text ", FaultKind::Rejected),
    ("speaker ", FaultKind::Rejected),
    ("lang must", FaultKind::Rejected),
    ("audioformat must", FaultKind::Rejected),
    ("not supported for model", FaultKind::Rejected),
    ("payload must", FaultKind::Rejected),
    ("request body", FaultKind::Rejected),
];

/// What these words complain of, if they are known. A status in front of them says nothing: the vendor
/// advises against looking at it.
#[must_use]
pub fn told(message: &str) -> Option<UpstreamFault> {
    let message = message.to_lowercase();
    let (words, kind) = WORDS.iter().find(|(words, _)| message.contains(words))?;
    Some(UpstreamFault::new(*kind, format!("the vendor says: {}", words.trim_end())))
}

/// An `error` event: by its documentation always about a message of ours.
#[must_use]
pub fn event(message: &str) -> UpstreamFault {
    told(message).unwrap_or_else(|| UpstreamFault::new(FaultKind::Rejected, "an error event"))
}

/// An error on v1, by its kind.
#[must_use]
pub fn kind(name: &str) -> UpstreamFault {
    let (kind, name) = match name {
        "invalid_input" => (FaultKind::Rejected, "invalid_input"),
        "not_found" => (FaultKind::Rejected, "not_found"),
        "unauthenticated" => (FaultKind::Auth, "unauthenticated"),
        "permission_denied" => (FaultKind::Auth, "permission_denied"),
        "resource_exhausted" => (FaultKind::Throttled, "resource_exhausted"),
        "timeout" => (FaultKind::ContextError, "timeout"),
        "unavailable" => (FaultKind::ContextError, "unavailable"),
        "unimplemented" => (FaultKind::ContextError, "unimplemented"),
        "internal" => (FaultKind::ContextError, "internal"),
        _ => (FaultKind::ContextError, "an unknown kind of error"),
    };
    UpstreamFault::new(kind, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_message_has_its_kind() {
        for (message, kind) in [
            ("400: text is too long", FaultKind::Rejected),
            ("text must not be empty", FaultKind::Rejected),
            ("speaker is required", FaultKind::Rejected),
            ("Speaker not found", FaultKind::Rejected),
            ("lang must be a string", FaultKind::Rejected),
            ("audioFormat must be a string", FaultKind::Rejected),
            ("Language xyz is not supported for model coda", FaultKind::Rejected),
            ("request body is required", FaultKind::Rejected),
            ("payload must be an object", FaultKind::Rejected),
            ("invalid api key", FaultKind::Auth),
            ("Missing Authorization header", FaultKind::Auth),
            ("missing headers", FaultKind::Auth),
            ("empty apikey", FaultKind::Auth),
            ("access forbidden", FaultKind::Auth),
            ("invalid subscription", FaultKind::Payment),
            ("Currently at websocket limit", FaultKind::Throttled),
            ("Internal error", FaultKind::ContextError),
            ("500: internal error", FaultKind::ContextError),
            ("Database error", FaultKind::ContextError),
            ("text normalization engine error", FaultKind::ContextError),
        ] {
            assert_eq!(told(message).map(|fault| fault.kind), Some(kind), "{message}");
        }
        assert_eq!(told("going away"), None);
    }

    #[test]
    fn the_vendors_words_are_not_kept() {
        assert_eq!(event("text canary").note, "the vendor says: text");
        assert_eq!(event("canary").note, "an error event");
        assert_eq!(kind("canary").note, "an unknown kind of error");
    }
}
