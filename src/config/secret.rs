//! Secrets by reference: `{ env = "NAME" }` or `{ file = "path" }`, so that a config file holds none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use voxrelay_protocol::request::Credential;

use super::fault::Place;
use super::reader::Section;
use super::tree::{Node, Value};

/// A secret file may be this long, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Where references are looked up.
pub(super) struct Surroundings {
    /// The environment.
    pub(super) variables: BTreeMap<String, String>,
    /// The folder that relative paths start from: that of the config file, if there is one.
    pub(super) folder: std::path::PathBuf,
}

/// The secret `key` of the section refers to. `example` is a fitting variable name for the advice.
pub(super) fn secret(
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
    around: &Surroundings,
) -> Option<Credential> {
    let node = section.node(key)?;
    match resolve(section, node, key, around) {
        Ok(secret) => secret,
        Err(problem) => {
            let mend = format!("{key} = {{ env = \"{example}\" }} or {{ file = \"…\" }}");
            section.fault(&node.place, format!("{key} {problem}; write {mend}"));
            None
        }
    }
}

/// `Err` is about the form of the reference; other faults are already told when it is `Ok(None)`.
fn resolve(
    section: &Section<'_>,
    node: &Node,
    key: &str,
    around: &Surroundings,
) -> Result<Option<Credential>, String> {
    let table = match (&node.value, &node.place) {
        // A variable is not a file: what stands in it is the secret.
        (Value::Text(text), Place::Variable(_)) if !text.trim().is_empty() => {
            return Ok(Some(Credential::new(text.trim())));
        }
        (Value::Text(_), Place::Variable(_)) => return Err("is empty".to_owned()),
        (Value::Text(_), _) => return Err("is a secret written into the file".to_owned()),
        (Value::Table(table), _) => table,
        _ => return Err(format!("must be a reference, not {}", node.type_name())),
    };
    let mut entries = table.iter();
    let (Some((how, target)), None) = (entries.next(), entries.next()) else {
        return Err("must name exactly one source".to_owned());
    };
    let Some(name) = target.text() else {
        return Err(format!("must name its source by a string, not {}", target.type_name()));
    };
    let found = match how.as_str() {
        "env" => from_variable(name, around),
        "file" => from_file(&around.folder.join(name)),
        other => return Err(format!("has no source of kind \"{other}\"")),
    };
    match found {
        Ok(secret) => Ok(Some(secret)),
        Err(problem) => {
            section.fault(&target.place, format!("{key}: {problem}"));
            Ok(None)
        }
    }
}

fn from_variable(name: &str, around: &Surroundings) -> Result<Credential, String> {
    match around.variables.get(name).map(|value| value.trim()) {
        None => Err(format!("the environment variable {name} is not set; set it, or refer to another")),
        Some("") => Err(format!("the environment variable {name} is empty; set it, or refer to another")),
        Some(value) => Ok(Credential::new(value)),
    }
}

fn from_file(path: &Path) -> Result<Credential, String> {
    let shown = path.display();
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text)).map_err(|error| {
        format!("the file {shown} cannot be read ({error}); mend it, or refer to another")
    })?;
    match text.trim() {
        "" => Err(format!("the file {shown} is empty; put the secret into it")),
        secret => Ok(Credential::new(secret)),
    }
}
