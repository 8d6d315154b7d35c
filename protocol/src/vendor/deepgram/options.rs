//! The settings a client may pass on to Deepgram. All of them are part of the address and therefore
//! fixed for a whole link.

use serde_json::{Map, Value};

use crate::Fault;

/// Longest tag taken, in bytes (assumed).
const TAG_MAX: usize = 128;

/// Checks every option.
///
/// # Errors
/// `invalid_request` naming the first option that is unknown or out of range.
pub fn validate(options: &Map<String, Value>) -> Result<(), Fault> {
    for (name, value) in options {
        let problem = match name.as_str() {
            // `v2` takes steps of 0.05; the range of `v1` is not published (assumed: the same).
            "speed" => within(value, 0.5, 1.5),
            "expressivity" => {
                let fits = value.as_i64().is_some_and(|step| (-2..=2).contains(&step));
                (!fits).then(|| "must be a whole number from -2 to 2".to_owned())
            }
            "mip_opt_out" => (!value.is_boolean()).then(|| "must be true or false".to_owned()),
            "tag" => {
                let fits = value.as_str().is_some_and(|tag| (1..=TAG_MAX).contains(&tag.len()));
                (!fits).then(|| format!("must be a string of 1 to {TAG_MAX} bytes"))
            }
            _ => Some("unknown option for deepgram".to_owned()),
        };
        if let Some(problem) = problem {
            return Err(Fault::invalid(&format!("options.{name}"), &problem));
        }
    }
    Ok(())
}

/// The options as they are written in the address; `v1` knows fewer of them.
pub fn of_the_address(
    options: &Map<String, Value>,
    flux: bool,
) -> impl Iterator<Item = (&'static str, String)> {
    let names: &[_] =
        if flux { &["speed", "mip_opt_out", "expressivity", "tag"] } else { &["speed", "mip_opt_out"] };
    names.iter().filter_map(|name| {
        let value = options.get(*name)?;
        Some((*name, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    })
}

fn within(value: &Value, low: f64, high: f64) -> Option<String> {
    let fits = value.as_f64().is_some_and(|number| (low..=high).contains(&number));
    (!fits).then(|| format!("must be a number from {low} to {high}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bad_option_is_refused_by_name() {
        let check = |options: &Value| validate(options.as_object().unwrap()).map_err(|fault| fault.detail);
        let all = json!({"speed": 0.5, "expressivity": -2, "mip_opt_out": true, "tag": "t"});
        assert_eq!(check(&all), Ok(()));
        for (options, name) in [
            (json!({"sped": 1}), "options.sped"),
            (json!({"speed": 1.6}), "options.speed"),
            (json!({"expressivity": 0.5}), "options.expressivity"),
            (json!({"mip_opt_out": "true"}), "options.mip_opt_out"),
            (json!({"tag": ""}), "options.tag"),
        ] {
            let detail = check(&options).unwrap_err();
            assert!(detail.starts_with(name), "{detail}");
        }
    }
}
