//! The settings a client may pass on to Cartesia, and what the vendor allows them to be.

use serde_json::{Map, Value};

use crate::Fault;

/// Longest emotion or dictionary name taken, in bytes.
const NAME_MAX: usize = 128;
/// Largest buffering delay, in ms (<https://docs.cartesia.ai/use-the-api/tts-websocket/buffering>).
const DELAY_MAX_MS: u64 = 5_000;
/// What goes into `generation_config`.
const GENERATION: [&str; 3] = ["speed", "volume", "emotion"];

/// Checks every option.
///
/// # Errors
/// `invalid_request` naming the first option that is unknown or out of range.
pub fn validate(options: &Map<String, Value>) -> Result<(), Fault> {
    for (name, value) in options {
        let field = format!("options.{name}");
        let problem = match name.as_str() {
            "speed" => within(value, 0.6, 1.5),
            "volume" => within(value, 0.5, 2.0),
            "emotion" | "pronunciation_dict_id" => named(value),
            "max_buffer_delay_ms" => delay(value),
            _ => Some("unknown option for cartesia".to_owned()),
        };
        if let Some(problem) = problem {
            return Err(Fault::invalid(&field, &problem));
        }
    }
    Ok(())
}

/// The `generation_config` of these options, if any of them belongs there.
#[must_use]
pub fn generation_config(options: &Map<String, Value>) -> Option<Value> {
    let config: Map<String, Value> = GENERATION
        .into_iter()
        .filter_map(|name| options.get(name).map(|value| (name.to_owned(), value.clone())))
        .collect();
    (!config.is_empty()).then_some(Value::Object(config))
}

fn within(value: &Value, low: f64, high: f64) -> Option<String> {
    let fits = value.as_f64().is_some_and(|number| (low..=high).contains(&number));
    (!fits).then(|| format!("must be a number from {low} to {high}"))
}

fn named(value: &Value) -> Option<String> {
    let fits = value.as_str().is_some_and(|name| (1..=NAME_MAX).contains(&name.len()));
    (!fits).then(|| format!("must be a string of 1 to {NAME_MAX} bytes"))
}

/// 0 is refused: it makes the vendor speak every piece of text by itself, and answers each with a
/// `flush_done` that cannot be told from the answer to a flush.
fn delay(value: &Value) -> Option<String> {
    let fits = value.as_u64().is_some_and(|ms| (1..=DELAY_MAX_MS).contains(&ms));
    (!fits).then(|| format!("must be a whole number of ms from 1 to {DELAY_MAX_MS}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(options: Value) -> Result<(), String> {
        validate(options.as_object().unwrap()).map_err(|fault| fault.detail.into_owned())
    }

    #[test]
    fn documented_options_pass() {
        let all = json!({"speed": 0.6, "volume": 2, "emotion": "calm", "pronunciation_dict_id": "d", "max_buffer_delay_ms": 5000});
        assert_eq!(check(all), Ok(()));
    }

    #[test]
    fn a_bad_option_is_refused_by_name() {
        for (options, name) in [
            (json!({"sped": 1}), "options.sped"),
            (json!({"speed": 1.6}), "options.speed"),
            (json!({"speed": "fast"}), "options.speed"),
            (json!({"volume": 0.4}), "options.volume"),
            (json!({"emotion": ""}), "options.emotion"),
            (json!({"max_buffer_delay_ms": 0}), "options.max_buffer_delay_ms"),
            (json!({"max_buffer_delay_ms": 5001}), "options.max_buffer_delay_ms"),
        ] {
            let detail = check(options).unwrap_err();
            assert!(detail.starts_with(name), "{detail}");
        }
    }

    #[test]
    fn only_generation_settings_become_generation_config() {
        let options = json!({"speed": 1.1, "max_buffer_delay_ms": 100});
        assert_eq!(generation_config(options.as_object().unwrap()), Some(json!({"speed": 1.1})));
        assert_eq!(generation_config(&Map::new()), None);
    }
}
