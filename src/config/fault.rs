//! What is wrong with a config, where it stands, and how to mend it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// The config as a whole.
    Whole,
    /// A line of the file, from 1.
    Line(usize),
    /// An environment variable.
    Variable(String),
}

/// One fault of a config. Displays as `voxrelay.toml:12: what is wrong; how to mend it`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", Prefix(self))]
pub struct ConfigFault {
    /// The file, if the fault stands in it.
    pub file: Option<PathBuf>,
    /// The line of the file, from 1.
    pub line: Option<usize>,
    /// The environment variable, if the fault stands there.
    pub variable: Option<String>,
    /// What is wrong and how to mend it. Never holds a secret.
    pub message: String,
}

struct Prefix<'a>(&'a ConfigFault);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(variable) = &self.0.variable {
            return write!(f, "{variable}: ");
        }
        match (&self.0.file, self.0.line) {
            (Some(file), Some(line)) => write!(f, "{}:{line}: ", file.display()),
            (Some(file), None) => write!(f, "{}: ", file.display()),
            (None, _) => Ok(()),
        }
    }
}

/// Collects faults while a config is read.
#[derive(Debug, Default)]
pub(super) struct Faults {
    found: RefCell<Vec<(Place, String)>>,
    /// Where the file does not parse. What seems to be missing then may stand on such a line, and what
    /// was read of the line itself means nothing.
    torn: BTreeSet<Place>,
}

impl Faults {
    pub(super) fn add(&self, place: &Place, message: String) {
        if self.torn.contains(place) {
            return;
        }
        self.found.borrow_mut().push((place.clone(), message));
    }

    /// A fault about something that is not there.
    pub(super) fn add_missing(&self, place: &Place, message: String) {
        if self.torn.is_empty() {
            self.add(place, message);
        }
    }

    /// The file cannot be read at this place. To be told before anything else is read.
    pub(super) fn add_torn(&mut self, place: Place, message: String) {
        self.add(&place, message);
        self.torn.insert(place);
    }

    /// All of them in the order of the file, environment last.
    pub(super) fn into_list(self, file: Option<&Path>) -> Vec<ConfigFault> {
        let mut found = self.found.into_inner();
        found.sort();
        found.dedup();
        found.into_iter().map(|(place, message)| locate(place, message, file)).collect()
    }
}

fn locate(place: Place, message: String, file: Option<&Path>) -> ConfigFault {
    let file = file.map(Path::to_path_buf);
    match place {
        Place::Whole => ConfigFault { file, line: None, variable: None, message },
        Place::Line(line) => ConfigFault { file, line: Some(line), variable: None, message },
        Place::Variable(name) => ConfigFault { file: None, line: None, variable: Some(name), message },
    }
}

/// The known word that was probably meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close =
        |candidate: &&str| strsim::damerau_levenshtein(word, candidate) <= 1 + word.chars().count() / 4;
    known.into_iter().filter(close).min_by_key(|candidate| strsim::damerau_levenshtein(word, candidate))
}

/// The end of a message about an unknown word: a guess, or the whole choice.
pub(super) fn advice<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(guess) => format!("did you mean \"{guess}\"?"),
        None => format!("known here: {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    }
}
