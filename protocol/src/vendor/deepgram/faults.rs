//! Deepgram's errors, sorted. The names come in close frames as the beginning of the reason, on `v2`
//! also in `Error` messages
//! (<https://developers.deepgram.com/docs/tts-troubleshooting-websocket-net-and-data-errors>).

use crate::{FaultKind, UpstreamFault};

/// What a close frame says; `None` where it is as good as "closed".
pub(super) fn of_close(code: u16, reason: &str) -> Option<UpstreamFault> {
    let name = name_in(reason);
    let kind = match kind(name) {
        // Its own time-outs and troubles: whatever was running was cut.
        Some(FaultKind::Reset) => return None,
        Some(kind) => kind,
        None => match code {
            1003 => FaultKind::BadFrame,
            1009 => FaultKind::Rejected,
            _ => return None,
        },
    };
    Some(UpstreamFault::new(kind, format!("closed with {code} {name}")))
}

/// What an `Error` message says.
pub(super) fn of_error(code: &str) -> UpstreamFault {
    let name = name_in(code);
    UpstreamFault::new(kind(name).unwrap_or(FaultKind::ContextError), format!("error {name}"))
}

fn kind(name: &str) -> Option<FaultKind> {
    Some(match name {
        // We were not understood.
        "MESSAGE-0000" | "DATA-0000" => FaultKind::BadFrame,
        // Too many characters in the window.
        "DATA-0001" => FaultKind::Throttled,
        // Inline controls that do not fit.
        "DATA-0002" => FaultKind::Rejected,
        _ if name.starts_with("BIG-") => FaultKind::Rejected,
        _ if name.starts_with("NET-") => FaultKind::Reset,
        // The names of HTTP errors (assumed to come here too).
        "INVALID_AUTH" | "INSUFFICIENT_PERMISSIONS" => FaultKind::Auth,
        "TOO_MANY_REQUESTS" => FaultKind::Throttled,
        "INVALID_QUERY_PARAMETER" | "PAYLOAD_TOO_LARGE" => FaultKind::Rejected,
        _ => return None,
    })
}

/// The name at the beginning, at most 64 characters of a kind that cannot carry text or break a log
/// line.
fn name_in(text: &str) -> &str {
    let name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let end = text.char_indices().find(|(at, c)| !name(*c) || *at >= 64).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_close_is_sorted_by_who_is_to_blame() {
        for (code, reason, kind) in [
            (1003, "MESSAGE-0000: only text", Some(FaultKind::BadFrame)),
            (1008, "DATA-0000", Some(FaultKind::BadFrame)),
            (1008, "DATA-0001: too many characters", Some(FaultKind::Throttled)),
            (1009, "BIG-0000", Some(FaultKind::Rejected)),
            (1009, "BIG-0001", Some(FaultKind::Rejected)),
            (1009, "", Some(FaultKind::Rejected)),
            (1003, "", Some(FaultKind::BadFrame)),
            (1011, "NET-0000", None),
            (1011, "NET-0003", None),
            (1008, "anything", None),
            (1000, "", None),
            (1001, "", None),
        ] {
            assert_eq!(of_close(code, reason).map(|fault| fault.kind), kind, "{code} {reason}");
        }
    }

    #[test]
    fn the_vendors_words_never_reach_the_note() {
        assert_eq!(of_error("DATA-0001 canary").note, "error DATA-0001");
        assert_eq!(of_error("canary").note, "error ");
        let long = "A".repeat(1000);
        assert!(of_error(&long).note.len() < 100);
        assert_eq!(of_close(1009, "BIG-0000\ncanary").unwrap().note, "closed with 1009 BIG-0000");
    }
}
