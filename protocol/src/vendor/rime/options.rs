//! The settings a client may pass on to Rime, by the vendor's own names.

use serde_json::{Map, Value};

use crate::Fault;

/// Longest list of speeds taken, in bytes.
const LIST_MAX: usize = 256;

/// What a setting may be.
#[derive(Debug, Clone, Copy)]
enum Allowed {
    Number(f64, f64),
    Whole(u64, u64),
    Flag,
    /// Numbers and commas.
    List,
}

/// Every setting of <https://docs.rime.ai/docs/speed> and the reference pages, in the order they are
/// sent. The vendor gives a range for `timeScaleFactor` only; the others are assumed.
const OPTIONS: [(&str, Allowed); 11] = [
    ("timeScaleFactor", Allowed::Number(0.4, 2.5)),
    ("speedAlpha", Allowed::Number(0.1, 5.0)),
    ("inlineSpeedAlpha", Allowed::List),
    ("pauseBetweenBrackets", Allowed::Flag),
    ("phonemizeBetweenBrackets", Allowed::Flag),
    ("noTextNormalization", Allowed::Flag),
    ("saveOovs", Allowed::Flag),
    ("repetition_penalty", Allowed::Number(0.0, 10.0)),
    ("temperature", Allowed::Number(0.0, 2.0)),
    ("top_p", Allowed::Number(0.0, 1.0)),
    ("max_tokens", Allowed::Whole(1, 100_000)),
];

/// Settings of the Mist models that v1 takes as well.
const MIST: [&str; 3] = ["pauseBetweenBrackets", "phonemizeBetweenBrackets", "saveOovs"];

/// Checks every option.
///
/// # Errors
/// `invalid_request` naming the first option that is unknown or out of range.
pub fn validate(options: &Map<String, Value>) -> Result<(), Fault> {
    for (name, value) in options {
        let known = OPTIONS.iter().find(|(known, _)| known == name);
        let problem =
            known.map_or(Some("unknown option for rime".to_owned()), |(_, allowed)| allowed.problem(value));
        if let Some(problem) = problem {
            let shown: String = name.chars().take(40).collect();
            return Err(Fault::invalid(&format!("options.{shown}"), &problem));
        }
    }
    Ok(())
}

/// The options as query keys and values, in a fixed order so that equal wishes share links.
pub fn query(options: &Map<String, Value>) -> impl Iterator<Item = (&'static str, String)> {
    OPTIONS.iter().filter_map(|(name, _)| {
        let value = options.get(*name)?;
        Some((*name, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    })
}

/// `mistParameters` of v1, if any option belongs there.
#[must_use]
pub fn mist(options: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mist: Map<_, _> =
        MIST.into_iter().filter_map(|name| Some((name.to_owned(), options.get(name)?.clone()))).collect();
    (!mist.is_empty()).then_some(mist)
}

/// `timeScaleFactor`: above 1 is slower.
#[must_use]
pub fn time_scale(options: &Map<String, Value>) -> Option<f64> {
    options.get("timeScaleFactor").and_then(Value::as_f64)
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
            Self::List => (
                value.as_str().is_some_and(|list| {
                    list.len() <= LIST_MAX
                        && list.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b','))
                }),
                format!("must be numbers with commas between them, at most {LIST_MAX} bytes"),
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
            (json!({"speed": 1}), "options.speed"),
            (json!({"timeScaleFactor": 2.6}), "options.timeScaleFactor"),
            (json!({"saveOovs": "yes"}), "options.saveOovs"),
            (json!({"inlineSpeedAlpha": "1&x=2"}), "options.inlineSpeedAlpha"),
            (json!({"max_tokens": 1.5}), "options.max_tokens"),
        ] {
            let fault = validate(options.as_object().unwrap()).unwrap_err();
            assert!(fault.detail.starts_with(name), "{}", fault.detail);
        }
    }

    #[test]
    fn options_are_sent_in_one_order() {
        let options = json!({"temperature": 0.5, "inlineSpeedAlpha": ",0.5", "saveOovs": true});
        let options = options.as_object().unwrap();
        assert_eq!(validate(options), Ok(()));
        let sent: Vec<_> = query(options).collect();
        assert_eq!(
            sent,
            [("inlineSpeedAlpha", ",0.5".into()), ("saveOovs", "true".into()), ("temperature", "0.5".into())]
        );
        assert_eq!(mist(options).map(|mist| mist.len()), Some(1));
    }
}
