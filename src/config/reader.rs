//! Takes the keys of one table by name, type and range; what does not fit becomes a fault, and the
//! default goes on in its place so that the rest is read too.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::fault::{Faults, Place, advice};
use super::tree::{Node, Table, Value};

/// One table being read. [`Section::done`] refuses the keys nobody asked for.
pub(super) struct Section<'t> {
    pub(super) faults: &'t Faults,
    pub(super) place: Place,
    label: String,
    table: Option<&'t Table>,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    /// The table at `node`; `label` begins its messages, and is empty for the document itself.
    pub(super) fn new(node: &'t Node, label: &str, faults: &'t Faults) -> Self {
        let mut section = Self {
            faults,
            place: node.place.clone(),
            label: if label.is_empty() { String::new() } else { format!("{label}: ") },
            table: None,
            known: Vec::new(),
        };
        match &node.value {
            Value::Table(table) => section.table = Some(table),
            _ => section.fault(&node.place, format!("must be a table, not {}", node.type_name())),
        }
        section
    }

    /// A fault at `place`.
    pub(super) fn fault(&self, place: &Place, message: String) {
        self.faults.add(place, self.labelled(&message));
    }

    /// The message with what this table is called in front.
    pub(super) fn labelled(&self, message: &str) -> String {
        format!("{}{message}", self.label)
    }

    /// The value of `key`, whatever it is.
    pub(super) fn node(&mut self, key: &'static str) -> Option<&'t Node> {
        self.known.push(key);
        self.table?.get(key)
    }

    /// The table below `key`; an empty one if it is absent.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'t> {
        let label = format!("{}{key}", self.label);
        match self.node(key) {
            Some(node) => Section::new(node, &label, self.faults),
            None => Section {
                faults: self.faults,
                place: self.place.clone(),
                label: format!("{label}: "),
                table: None,
                known: Vec::new(),
            },
        }
    }

    /// The entries of the list below `key`; none if it is absent.
    pub(super) fn list(&mut self, key: &'static str) -> &'t [Node] {
        match self.node(key) {
            None => &[],
            Some(Node { value: Value::List(items), .. }) => items,
            Some(node) => {
                self.wrong_type(key, "a list", node);
                &[]
            }
        }
    }

    /// The entries of this table, for names chosen by the operator.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'t str, &'t Node)> + use<'t> {
        self.table.into_iter().flatten().map(|(key, node)| (key.as_str(), node))
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, key: &'static str) -> Option<&'t str> {
        let node = self.node(key)?;
        match node.text() {
            Some("") => self.fault(&node.place, format!("{key} is empty")),
            Some(text) => return Some(text),
            None => self.wrong_type(key, "a string", node),
        }
        None
    }

    /// A list of texts; empty if it is absent.
    pub(super) fn texts(&mut self, key: &'static str, example: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for node in self.list(key) {
            match node.text() {
                Some(text) => texts.push(text.to_owned()),
                None => self.fault(&node.place, format!("{key} is a list of strings like \"{example}\"")),
            }
        }
        texts
    }

    /// A count up to a million.
    pub(super) fn small(&mut self, key: &'static str, default: u32) -> u32 {
        u32::try_from(self.integer(key, u64::from(default), 1..=1_000_000)).unwrap_or(default)
    }

    /// A text that must be there.
    pub(super) fn required_text(&mut self, key: &'static str, example: &str) -> Option<&'t str> {
        if self.table.is_some_and(|table| !table.contains_key(key)) {
            self.faults.add_missing(
                &self.place,
                format!("{}{key} is missing; add {key} = \"{example}\"", self.label),
            );
        }
        self.text(key)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, default: T, words: &[(&str, T)]) -> T {
        let Some(word) = self.text(key) else { return default };
        if let Some((_, value)) = words.iter().find(|(known, _)| *known == word) {
            return *value;
        }
        let advice = advice(word, words.iter().map(|(known, _)| *known));
        self.fault(&self.place_of(key), format!("{key} \"{word}\" is unknown; {advice}"));
        default
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some(node) = self.node(key) else { return default };
        let flag = match node.value {
            Value::Flag(flag) => Some(flag),
            _ => node.spelled().and_then(|text| text.trim().parse().ok()),
        };
        flag.unwrap_or_else(|| {
            self.wrong_type(key, "true or false", node);
            default
        })
    }

    /// A whole number within `range`.
    pub(super) fn integer(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let Some(node) = self.node(key) else { return default };
        let number = match node.value {
            Value::Integer(number) => Some(i128::from(number)),
            _ => node.spelled().and_then(|text| text.trim().parse().ok()),
        };
        let Some(number) = number else {
            self.wrong_type(key, "a whole number", node);
            return default;
        };
        match u64::try_from(number).ok().filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                let (low, high) = range.into_inner();
                self.fault(&node.place, format!("{key} is {number}; it must be from {low} to {high}"));
                default
            }
        }
    }

    /// A whole number within `range`, as a count of things in memory.
    pub(super) fn count(&mut self, key: &'static str, default: usize, range: RangeInclusive<u64>) -> usize {
        usize::try_from(self.integer(key, default as u64, range)).unwrap_or(default)
    }

    /// A number, perhaps with a fraction, above 0 and at most `most`.
    pub(super) fn number(&mut self, key: &'static str, default: f64, most: f64) -> f64 {
        let Some(node) = self.node(key) else { return default };
        let number = match node.value {
            #[allow(clippy::cast_precision_loss)] // far below 2^53 wherever it is in range
            Value::Integer(number) => Some(number as f64),
            Value::Float(number) => Some(number),
            _ => node.spelled().and_then(|text| text.trim().parse().ok()),
        };
        match number {
            Some(number) if number > 0.0 && number <= most => return number,
            Some(number) => {
                self.fault(&node.place, format!("{key} is {number}; it must be above 0 and at most {most}"))
            }
            None => self.wrong_type(key, "a number", node),
        }
        default
    }

    /// A duration such as `"5s"`, above zero and at most `most`.
    pub(super) fn duration(&mut self, key: &'static str, default: Duration, most: Duration) -> Duration {
        let Some(node) = self.node(key) else { return default };
        let Some(text) = node.text() else {
            self.wrong_type(key, "a duration like \"5s\"", node);
            return default;
        };
        match humantime::parse_duration(text) {
            Ok(duration) if !duration.is_zero() && duration <= most => return duration,
            Ok(_) => {
                let most = humantime::format_duration(most);
                self.fault(
                    &node.place,
                    format!("{key} is \"{text}\"; it must be above zero and at most \"{most}\""),
                );
            }
            Err(_) => self.fault(
                &node.place,
                format!("{key} \"{text}\" is not a duration; write it like \"500ms\", \"5s\" or \"4m\""),
            ),
        }
        default
    }

    /// An IP address with a port.
    pub(super) fn address(&mut self, key: &'static str, default: SocketAddr) -> SocketAddr {
        let Some(text) = self.text(key) else { return default };
        text.parse().unwrap_or_else(|_| {
            self.fault(
                &self.place_of(key),
                format!("{key} \"{text}\" is not an IP address with a port; write it like \"{default}\""),
            );
            default
        })
    }

    /// Refuses `key` where the contract has it and this build does not.
    pub(super) fn not_yet(&mut self, key: &'static str, instead: &str) {
        if self.node(key).is_some() {
            let message = format!("{key} is not supported by this build yet; {instead}");
            self.fault(&self.place_of(key), message);
        }
    }

    /// Where `key` stands, or else the table.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.table.and_then(|table| table.get(key)).map_or(&self.place, |node| &node.place).clone()
    }

    /// Refuses every key nobody asked for.
    pub(super) fn done(self) {
        let unknown = self.entries().filter(|(key, _)| !self.known.contains(key));
        for (key, node) in unknown {
            let advice = advice(key, self.known.iter().copied());
            self.fault(&node.place, format!("\"{key}\" is unknown; {advice}"));
        }
    }

    fn wrong_type(&self, key: &str, wanted: &str, node: &Node) {
        self.fault(&node.place, format!("{key} must be {wanted}, not {}", node.type_name()));
    }
}
