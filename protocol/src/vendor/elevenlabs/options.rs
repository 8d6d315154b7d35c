//! The settings a client may pass on to ElevenLabs, what the vendor allows them to be, and where each
//! of them travels.

use serde_json::{Map, Value};

use crate::Fault;

/// Longest dictionary or version name taken, in bytes.
const NAME_MAX: usize = 128;
/// Dictionaries of one context (documented for HTTP requests; assumed for sockets).
const DICTIONARIES_MAX: usize = 3;
/// Steps of a chunk schedule (assumed; the default has four).
const STEPS_MAX: usize = 16;
/// What goes into `voice_settings`.
const VOICE: [&str; 5] = ["stability", "similarity_boost", "style", "use_speaker_boost", "speed"];
/// What goes into the address and is therefore fixed for a whole link.
const ADDRESS: [&str; 7] = [
    "auto_mode",
    "enable_ssml_parsing",
    "enable_logging",
    "apply_text_normalization",
    "apply_language_text_normalization",
    "seed",
    "optimize_streaming_latency",
];

/// Checks every option.
///
/// # Errors
/// `invalid_request` naming the first option that is unknown or out of range.
pub fn validate(options: &Map<String, Value>) -> Result<(), Fault> {
    for (name, value) in options {
        let problem = match name.as_str() {
            "stability" | "similarity_boost" | "style" => within(value, 0.0, 1.0),
            "speed" => within(value, 0.7, 1.2),
            "use_speaker_boost"
            | "auto_mode"
            | "enable_ssml_parsing"
            | "enable_logging"
            | "apply_language_text_normalization" => {
                (!value.is_boolean()).then(|| "must be true or false".into())
            }
            "apply_text_normalization" => {
                let fits = matches!(value.as_str(), Some("auto" | "on" | "off"));
                (!fits).then(|| "must be auto, on or off".into())
            }
            "seed" => whole(value, u64::from(u32::MAX)),
            "optimize_streaming_latency" => whole(value, 4),
            "chunk_length_schedule" => schedule(value),
            "pronunciation_dictionary_locators" => locators(value),
            _ => Some("unknown option for elevenlabs".into()),
        };
        if let Some(problem) = problem {
            return Err(Fault::invalid(&format!("options.{name}"), &problem));
        }
    }
    Ok(())
}

/// The `voice_settings` of these options, if any of them belongs there.
#[must_use]
pub fn voice_settings(options: &Map<String, Value>) -> Option<Value> {
    let settings: Map<String, Value> = VOICE
        .into_iter()
        .filter_map(|name| options.get(name).map(|value| (name.to_owned(), value.clone())))
        .collect();
    (!settings.is_empty()).then_some(Value::Object(settings))
}

/// The `generation_config` of these options, if any of them belongs there.
#[must_use]
pub fn generation_config(options: &Map<String, Value>) -> Option<Value> {
    let schedule = options.get("chunk_length_schedule")?;
    Some(serde_json::json!({"chunk_length_schedule": schedule}))
}

/// The options that are part of the address, as they are written there.
pub fn of_the_address(options: &Map<String, Value>) -> impl Iterator<Item = (&'static str, String)> {
    ADDRESS.into_iter().filter_map(|name| {
        let value = options.get(name)?;
        Some((name, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    })
}

fn within(value: &Value, low: f64, high: f64) -> Option<String> {
    let fits = value.as_f64().is_some_and(|number| (low..=high).contains(&number));
    (!fits).then(|| format!("must be a number from {low} to {high}"))
}

fn whole(value: &Value, most: u64) -> Option<String> {
    let fits = value.as_u64().is_some_and(|number| number <= most);
    (!fits).then(|| format!("must be a whole number from 0 to {most}"))
}

fn schedule(value: &Value) -> Option<String> {
    let fits = value.as_array().is_some_and(|steps| {
        (1..=STEPS_MAX).contains(&steps.len())
            && steps.iter().all(|step| step.as_u64().is_some_and(|step| (50..=500).contains(&step)))
    });
    (!fits).then(|| format!("must be 1 to {STEPS_MAX} whole numbers from 50 to 500"))
}

fn locators(value: &Value) -> Option<String> {
    let named = |value: &Value| value.as_str().is_some_and(|name| (1..=NAME_MAX).contains(&name.len()));
    let fits = value.as_array().is_some_and(|list| {
        list.len() <= DICTIONARIES_MAX
            && list.iter().all(|locator| {
                let Some(locator) = locator.as_object() else { return false };
                locator.get("pronunciation_dictionary_id").is_some_and(named)
                    && locator.get("version_id").is_none_or(|version| version.is_null() || named(version))
                    && locator
                        .keys()
                        .all(|key| ["pronunciation_dictionary_id", "version_id"].contains(&key.as_str()))
            })
    });
    (!fits).then(|| {
        format!("must be up to {DICTIONARIES_MAX} objects of pronunciation_dictionary_id and version_id")
    })
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
        let all = json!({"stability": 0.5, "similarity_boost": 0.75, "style": 0, "use_speaker_boost": true,
            "speed": 1.2, "auto_mode": true, "enable_ssml_parsing": false, "enable_logging": true,
            "apply_text_normalization": "auto", "apply_language_text_normalization": false,
            "seed": 4_294_967_295_u64, "optimize_streaming_latency": 3,
            "chunk_length_schedule": [120, 160, 250, 290],
            "pronunciation_dictionary_locators": [{"pronunciation_dictionary_id": "d", "version_id": "v"}]});
        assert_eq!(check(all), Ok(()));
    }

    #[test]
    fn a_bad_option_is_refused_by_name() {
        for (options, name) in [
            (json!({"stabilty": 1}), "options.stabilty"),
            (json!({"stability": 1.1}), "options.stability"),
            (json!({"speed": 0.5}), "options.speed"),
            (json!({"use_speaker_boost": 1}), "options.use_speaker_boost"),
            (json!({"apply_text_normalization": "yes"}), "options.apply_text_normalization"),
            (json!({"seed": 4_294_967_296_u64}), "options.seed"),
            (json!({"optimize_streaming_latency": 5}), "options.optimize_streaming_latency"),
            (json!({"chunk_length_schedule": []}), "options.chunk_length_schedule"),
            (json!({"chunk_length_schedule": [49]}), "options.chunk_length_schedule"),
            (json!({"pronunciation_dictionary_locators": [{"version_id": "v"}]}), "options.pronunciation"),
            (json!({"pronunciation_dictionary_locators": [7]}), "options.pronunciation"),
        ] {
            let detail = check(options).unwrap_err();
            assert!(detail.starts_with(name), "{detail}");
        }
    }

    #[test]
    fn every_option_travels_in_one_place() {
        let options = json!({"speed": 1.1, "seed": 7, "chunk_length_schedule": [50], "auto_mode": true,
            "apply_text_normalization": "off"});
        let options = options.as_object().unwrap();
        assert_eq!(voice_settings(options), Some(json!({"speed": 1.1})));
        assert_eq!(generation_config(options), Some(json!({"chunk_length_schedule": [50]})));
        let address: Vec<_> = of_the_address(options).collect();
        let wanted = [("auto_mode", "true"), ("apply_text_normalization", "off"), ("seed", "7")];
        assert_eq!(address, wanted.map(|(name, value)| (name, value.to_owned())));
        assert_eq!((voice_settings(&Map::new()), generation_config(&Map::new())), (None, None));
    }
}
