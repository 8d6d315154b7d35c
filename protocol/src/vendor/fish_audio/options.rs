//! The settings a client may pass on to Fish Audio, by the vendor's own names
//! (<https://docs.fish.audio/api-reference/endpoint/websocket/tts-live>).

use serde_json::{Map, Value};

use crate::Fault;

/// What a setting may be.
#[derive(Debug, Clone, Copy)]
enum Allowed {
    Number(f64, f64),
    Whole(u64, u64),
    Flag,
    Latency,
}

/// Where a setting goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Request,
    Prosody,
}

/// The vendor gives no range for `repetition_penalty` and `max_new_tokens`; theirs are assumed.
const OPTIONS: [(&str, Allowed, Place); 13] = [
    ("latency", Allowed::Latency, Place::Request),
    ("chunk_length", Allowed::Whole(100, 300), Place::Request),
    ("min_chunk_length", Allowed::Whole(0, 100), Place::Request),
    ("normalize", Allowed::Flag, Place::Request),
    ("temperature", Allowed::Number(0.0, 1.0), Place::Request),
    ("top_p", Allowed::Number(0.0, 1.0), Place::Request),
    ("repetition_penalty", Allowed::Number(0.0, 10.0), Place::Request),
    ("max_new_tokens", Allowed::Whole(1, 100_000), Place::Request),
    ("condition_on_previous_chunks", Allowed::Flag, Place::Request),
    ("early_stop_threshold", Allowed::Number(0.0, 1.0), Place::Request),
    ("speed", Allowed::Number(0.5, 2.0), Place::Prosody),
    ("volume", Allowed::Number(-20.0, 20.0), Place::Prosody),
    ("normalize_loudness", Allowed::Flag, Place::Prosody),
];

/// What the vendor's own clients ask for when nothing is said.
const LATENCY: &str = "balanced";

/// Checks every option.
///
/// # Errors
/// `invalid_request` naming the first option that is unknown or out of range.
pub fn validate(options: &Map<String, Value>) -> Result<(), Fault> {
    for (name, value) in options {
        let known = OPTIONS.iter().find(|(known, ..)| known == name);
        let problem = known.map_or(Some("unknown option for fish-audio".to_owned()), |(_, allowed, _)| {
            allowed.problem(value)
        });
        if let Some(problem) = problem {
            let shown: String = name.chars().take(40).collect();
            return Err(Fault::invalid(&format!("options.{shown}"), &problem));
        }
    }
    Ok(())
}

/// How much quality is given for a fast start.
#[must_use]
pub fn latency(options: &Map<String, Value>) -> &str {
    options.get("latency").and_then(Value::as_str).unwrap_or(LATENCY)
}

/// The `prosody` of a request, if any option belongs there.
#[must_use]
pub fn prosody(options: &Map<String, Value>) -> Option<Map<String, Value>> {
    Some(at(Place::Prosody, options)).filter(|prosody| !prosody.is_empty())
}

/// What stands in the request itself, beside the latency.
#[must_use]
pub fn request(options: &Map<String, Value>) -> Map<String, Value> {
    let mut request = at(Place::Request, options);
    request.remove("latency");
    request
}

fn at(place: Place, options: &Map<String, Value>) -> Map<String, Value> {
    let here = OPTIONS.iter().filter(|(.., at)| *at == place);
    here.filter_map(|(name, ..)| Some(((*name).to_owned(), options.get(*name)?.clone()))).collect()
}

impl Allowed {
    fn problem(self, value: &Value) -> Option<String> {
        let (fits, wanted) = match self {
            Self::Number(low, high) => (
                value.as_f64().is_some_and(|number| (low..=high).contains(&number)),
                format!("must be a number from {low} to {high}"),
            ),
            Self::Whole(low, high) => (
                value.as_u64().is_some_and(|number| (low..=high).contains(&number)),
                format!("must be a whole number from {low} to {high}"),
            ),
            Self::Flag => (value.is_boolean(), "must be true or false".to_owned()),
            Self::Latency => (
                matches!(value.as_str(), Some("normal" | "balanced" | "low")),
                "must be normal, balanced or low".to_owned(),
            ),
        };
        (!fits).then_some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bad_option_is_refused_by_name() {
        for (options, name) in [
            (json!({"sped": 1}), "options.sped"),
            (json!({"speed": 2.1}), "options.speed"),
            (json!({"latency": "fast"}), "options.latency"),
            (json!({"chunk_length": 99}), "options.chunk_length"),
            (json!({"normalize": 1}), "options.normalize"),
        ] {
            let fault = validate(options.as_object().unwrap()).unwrap_err();
            assert!(fault.detail.starts_with(name), "{}", fault.detail);
        }
    }

    #[test]
    fn every_option_goes_to_its_place() {
        let options = json!({"speed": 1.1, "latency": "low", "top_p": 0.5});
        let options = options.as_object().unwrap();
        assert_eq!(validate(options), Ok(()));
        assert_eq!(latency(options), "low");
        assert_eq!(Value::Object(prosody(options).unwrap()), json!({"speed": 1.1}));
        assert_eq!(Value::Object(request(options)), json!({"top_p": 0.5}));
        assert_eq!((latency(&Map::new()), prosody(&Map::new())), ("balanced", None));
    }
}
