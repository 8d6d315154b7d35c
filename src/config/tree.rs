//! A TOML document in which every value remembers where it came from.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::fault::{Faults, Place};

#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    List(Vec<Node>),
    Table(Table),
    /// What no setting takes; the word names it.
    Other(&'static str),
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// The entries of a table; each node stands at its key.
pub(super) type Table = BTreeMap<String, Node>;

impl Node {
    pub(super) fn table(place: Place) -> Self {
        Self { value: Value::Table(Table::new()), place }
    }

    pub(super) fn type_name(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "a string",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Flag(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(name) => name,
        }
    }

    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text of an environment variable, where a number or flag may be spelled out.
    pub(super) fn spelled(&self) -> Option<&str> {
        match self.place {
            Place::Variable(_) => self.text(),
            _ => None,
        }
    }
}

/// Parses a file. Syntax faults are added to `faults`; what could be read is returned all the same.
pub(super) fn parse_file(text: &str, faults: &mut Faults) -> Node {
    let lines = Lines::of(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = error.span().map_or(Place::Whole, |span| lines.place(span.start));
        let problem = error.message().trim().replace('\n', "; ");
        let mend = "text needs quotes, and a key stands only once";
        faults.add_torn(place, format!("this is not TOML ({problem}); {mend}"));
    }
    Node { value: table(document.get_ref(), &|at| lines.place(at)), place: Place::Whole }
}

/// Parses one inline value of an environment variable; `None` when it is plain text.
pub(super) fn parse_inline(text: &str, place: &Place) -> Option<Node> {
    let parsed = DeValue::parse(text).ok()?;
    let value = value(parsed.get_ref(), &|_| place.clone());
    Some(Node { value, place: place.clone() })
}

fn value(parsed: &DeValue<'_>, place: &dyn Fn(usize) -> Place) -> Value {
    match parsed {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other("a number too large to use"), Value::Integer),
        DeValue::Float(number) => {
            number.as_str().parse().map_or(Value::Other("a number too large to use"), Value::Float)
        }
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => Value::List(
            items
                .iter()
                .map(|item| Node { place: place(item.span().start), value: value(item.get_ref(), place) })
                .collect(),
        ),
        DeValue::Table(entries) => table(entries, place),
    }
}

fn table(entries: &DeTable<'_>, place: &dyn Fn(usize) -> Place) -> Value {
    let node = |(key, item): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let key: &toml::Spanned<std::borrow::Cow<'_, str>> = key;
        let node = Node { place: place(key.span().start), value: value(item.get_ref(), place) };
        (key.get_ref().to_string(), node)
    };
    Value::Table(entries.iter().map(node).collect())
}

/// Where each line begins.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    fn place(&self, at: usize) -> Place {
        Place::Line(self.0.partition_point(|start| *start <= at))
    }
}
