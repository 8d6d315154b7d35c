//! Reads one JSON object field by field, so that what is wrong can be named.

use serde_json::{Map, Value};

use crate::audio::{AudioFormat, Container, Encoding};
use crate::request::{Framing, Pace, Start, StreamName, VoiceChoice};
use crate::{Fault, FaultCode};

/// Whole numbers below this are exact as floats (2^53).
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The fields of one message or of an object in it; unknown ones are ignored, `null` counts as absent.
pub struct Fields {
    fields: Map<String, Value>,
    /// What stands before a field's name when it is told: empty, or the object's own name and a dot.
    path: String,
}

impl Fields {
    /// The longest mark, in bytes.
    pub const MARK: usize = 256;

    /// Parses one JSON object.
    ///
    /// # Errors
    /// `invalid_request` when the text is not JSON or not an object.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(Self { fields, path: String::new() }),
            Ok(_) => Err(Fault::invalid("message", "must be a JSON object")),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                let detail = format!("message: not JSON, at line {line} column {column}");
                Err(Fault::new(FaultCode::InvalidRequest, detail))
            }
        }
    }

    fn take(&mut self, field: &str) -> Option<Value> {
        self.fields.remove(field).filter(|value| !value.is_null())
    }

    fn wrong(&self, field: &str, problem: &str) -> Fault {
        Fault::invalid(&format!("{}{field}", self.path), problem)
    }

    /// An optional string.
    ///
    /// # Errors
    /// `invalid_request` naming the field when it is something else.
    pub fn string(&mut self, field: &str) -> Result<Option<String>, Fault> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(field, "must be a string")),
        }
    }

    /// A string that must be there.
    ///
    /// # Errors
    /// `invalid_request` naming the field when it is missing or something else.
    pub fn required(&mut self, field: &str) -> Result<String, Fault> {
        self.string(field)?.ok_or_else(|| self.wrong(field, "is missing"))
    }

    /// The stream's name, `default` when absent.
    ///
    /// # Errors
    /// `invalid_request` naming `stream` when it is not a name.
    pub fn stream(&mut self) -> Result<StreamName, Fault> {
        let Some(name) = self.string("stream")? else { return Ok(StreamName::default_name()) };
        StreamName::parse(&name)
            .ok_or_else(|| Fault::invalid("stream", "must be 1 to 64 characters of A-Z a-z 0-9 _ . -"))
    }

    /// The client's mark of a flush: at most [`Self::MARK`] bytes.
    ///
    /// # Errors
    /// `invalid_request` naming `mark` when it is longer or no string.
    pub fn mark(&mut self) -> Result<Option<String>, Fault> {
        match self.string("mark")? {
            Some(mark) if mark.len() > Self::MARK => Err(Fault::invalid("mark", "is longer than 256 bytes")),
            mark => Ok(mark),
        }
    }

    /// An optional whole number, not negative, also written as `24000.0` or `2.4e4`.
    ///
    /// # Errors
    /// `invalid_request` naming the field when it is something else.
    pub fn whole(&mut self, field: &str) -> Result<Option<u64>, Fault> {
        self.number(field, "must be a whole number, not negative", |number| number.fract() == 0.0)
    }

    /// An optional time in ms, not negative, rounded down: a player that counts in fractions is not
    /// wrong about the time.
    ///
    /// # Errors
    /// `invalid_request` naming the field when it is something else.
    pub fn milliseconds(&mut self, field: &str) -> Result<Option<u64>, Fault> {
        self.number(field, "must be a number, not negative", |_| true)
    }

    fn number(&mut self, field: &str, wanted: &str, fits: fn(f64) -> bool) -> Result<Option<u64>, Fault> {
        let Some(value) = self.take(field) else { return Ok(None) };
        if let Some(number) = value.as_u64() {
            return Ok(Some(number));
        }
        match value.as_f64() {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Some(number) if (0.0..EXACT).contains(&number) && fits(number) => Ok(Some(number as u64)),
            _ => Err(self.wrong(field, wanted)),
        }
    }

    /// An optional boolean, false when absent.
    ///
    /// # Errors
    /// `invalid_request` naming the field when it is something else.
    pub fn boolean(&mut self, field: &str) -> Result<bool, Fault> {
        match self.take(field) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(value),
            Some(_) => Err(self.wrong(field, "must be true or false")),
        }
    }

    /// An optional list of strings.
    ///
    /// # Errors
    /// `invalid_request` naming the field when it is something else.
    pub fn strings(&mut self, field: &str) -> Result<Option<Vec<String>>, Fault> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let strings = serde_json::from_value(value).map(Some);
        strings.map_err(|_| self.wrong(field, "must be a list of strings"))
    }

    /// An optional object.
    ///
    /// # Errors
    /// `invalid_request` naming the field when it is something else.
    pub fn object(&mut self, field: &str) -> Result<Option<Self>, Fault> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self { fields, path: format!("{}{field}.", self.path) })),
            Some(_) => Err(self.wrong(field, "must be an object")),
        }
    }

    /// Everything `start` says about the stream itself.
    ///
    /// # Errors
    /// `invalid_request` naming the field, or `unsupported_format`.
    pub fn start(&mut self) -> Result<Start, Fault> {
        let voice = VoiceChoice {
            provider: self.string("provider")?,
            voice: Some(self.required("voice")?),
            model: self.string("model")?,
        };
        let format = self.format()?;
        let pace = self.pace()?;
        Ok(Start {
            voice,
            format,
            language: self.string("language")?,
            words: self.boolean("words")?,
            framing: self.framing()?,
            pace,
            options: self.object("options")?.map(|options| options.fields).unwrap_or_default(),
        })
    }

    fn framing(&mut self) -> Result<Framing, Fault> {
        match self.string("frames")?.as_deref() {
            None | Some("raw") => Ok(Framing::Raw),
            Some("tagged") => Ok(Framing::Tagged),
            Some("json") => Ok(Framing::Json),
            Some(_) => Err(Fault::invalid("frames", "must be raw, tagged or json")),
        }
    }

    fn format(&mut self) -> Result<AudioFormat, Fault> {
        let mut format = AudioFormat::default();
        let Some(mut fields) = self.object("format")? else { return Ok(format) };
        if let Some(name) = fields.string("encoding")? {
            format.encoding = serde_json::from_value::<Encoding>(Value::String(name))
                .map_err(|_| crate::audio::unknown("format.encoding"))?;
        }
        if let Some(name) = fields.string("container")? {
            format.container = serde_json::from_value::<Container>(Value::String(name))
                .map_err(|_| crate::audio::unknown("format.container"))?;
        }
        if let Some(rate) = fields.whole("sample_rate")? {
            format.sample_rate =
                u32::try_from(rate).map_err(|_| crate::audio::unknown("format.sample_rate"))?;
        }
        Ok(format)
    }

    fn pace(&mut self) -> Result<Option<Pace>, Fault> {
        let Some(mut fields) = self.object("pace")? else { return Ok(None) };
        let mut number = |field: &str, default: u32| match fields.whole(field)? {
            None => Ok(default),
            Some(ms) => u32::try_from(ms).map_err(|_| fields.wrong(field, "is too large")),
        };
        Ok(Some(Pace { lead_ms: number("lead_ms", 200)?, frame_ms: number("frame_ms", 20)? }))
    }
}
