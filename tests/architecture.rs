//! Who may import whom. A frame goes down the list of modules and never back up; a broken rule fails with
//! a sentence that says which line broke it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

use std::fs;
use std::path::{Path, PathBuf};

/// Each module of `src/` and the modules it may use, besides those that everyone may use. `lib` is what
/// stands at the root of the crate.
const MAY_USE: &[(&str, &[&str])] = &[
    ("main", &["cli", "lib"]),
    ("cli", &["lib", "relay", "transport", "voice", "auth", "store", "keys", "telemetry"]),
    ("lib", &["relay"]),
    ("relay", &["operator", "server", "app", "quota", "pool", "auth", "store", "accept"]),
    ("operator", &[]),
    ("server", &["session", "app", "voices", "quota", "outbox", "pool", "auth", "store", "keys"]),
    ("session", &["app", "voices", "quota", "outbox", "pool", "lease", "auth", "keys"]),
    ("app", &["quota", "pool", "auth", "store", "keys"]),
    ("voices", &["auth", "keys"]),
    ("quota", &["auth", "keys"]),
    ("outbox", &[]),
    ("pool", &["lease", "link", "transport"]),
    ("lease", &["link"]),
    ("link", &["transport"]),
    ("transport", &["voice"]),
    ("voice", &[]),
    ("auth", &["store", "keys"]),
    ("store", &["keys"]),
    ("keys", &[]),
    ("accept", &[]),
    ("telemetry", &[]),
    ("metrics", &[]),
    ("drain", &[]),
    ("config", &[]),
];
/// What everyone may use, in the order in which they may use each other.
const FOR_ALL: &[&str] = &["metrics", "drain", "config"];
const MOST_LINES: usize = 400;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The module a file of `src/` belongs to: its first folder, or its own name.
fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The code of a file without comments and without its tests.
fn code(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.trim_start().starts_with("mod tests {"));
    lines.map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The modules named after `crate::`, also in groups such as `crate::{drain::Drain, metrics}`.
fn used(code: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => modules.extend(first_names(group)),
            None => modules.push(name_at(rest)),
        }
    }
    modules.sort();
    modules.dedup();
    modules
}

fn name_at(text: &str) -> String {
    let name: String = text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    if name.starts_with(char::is_uppercase) { "lib".to_owned() } else { name }
}

/// The first name of each member of a group, whose opening brace has been read.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut member, mut names) = (0, String::new(), Vec::new());
    for letter in group.chars() {
        match letter {
            '}' if depth == 0 => break,
            ',' if depth == 0 => names.push(name_at(std::mem::take(&mut member).trim())),
            _ => {
                depth += i32::from(letter == '{') - i32::from(letter == '}');
                member.push(letter);
            }
        }
    }
    names.push(name_at(member.trim()));
    names.retain(|name| !name.is_empty());
    names
}

fn may_use(module: &str, other: &str) -> bool {
    let row = MAY_USE.iter().find(|(name, _)| *name == module);
    let allowed = row.is_some_and(|(_, others)| others.contains(&other));
    let place = |name| FOR_ALL.iter().position(|each| *each == name);
    let for_all = place(other).is_some_and(|other| place(module).is_none_or(|module| module < other));
    module == other || allowed || for_all
}

#[test]
fn imports_follow_the_way_of_a_frame() {
    let mut broken = Vec::new();
    for path in rust_files(&root().join("src")) {
        let module = module_of(&path);
        if !MAY_USE.iter().any(|(name, _)| *name == module) {
            broken.push(format!("src has a new module `{module}`: give it a row in tests/architecture.rs"));
        }
        let others = used(&code(&fs::read_to_string(&path).unwrap()));
        for other in others.iter().filter(|other| !may_use(&module, other)) {
            broken.push(format!("{} uses `{other}`, but `{module}` may not know it", path.display()));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn each_row_of_the_table_uses_only_rows_below_it() {
    for (place, (module, others)) in MAY_USE.iter().enumerate() {
        for other in *others {
            let below = MAY_USE[place + 1..].iter().any(|(name, _)| name == other);
            assert!(below, "`{module}` may use `{other}`, which is not below it");
        }
    }
}

#[test]
fn the_protocol_crate_has_no_clock_and_no_socket() {
    let manifest = fs::read_to_string(root().join("protocol/Cargo.toml")).unwrap();
    for forbidden in ["tokio", "axum", "tungstenite", "hyper", "async", "futures", "reqwest", "rand"] {
        let named = manifest.lines().find(|line| line.starts_with(forbidden));
        assert_eq!(named, None, "protocol/Cargo.toml: the protocol crate must stay pure");
    }
    for path in rust_files(&root().join("protocol/src")) {
        let code = code(&fs::read_to_string(&path).unwrap());
        for forbidden in ["Instant::now", "SystemTime", "std::net", "std::thread", "std::fs"] {
            assert!(
                !code.contains(forbidden),
                "{} uses {forbidden}: bring it as an argument",
                path.display()
            );
        }
    }
}

#[test]
fn only_the_catalogue_names_a_metric() {
    for path in rust_files(&root().join("src")).into_iter().filter(|path| module_of(path) != "metrics") {
        let code = code(&fs::read_to_string(&path).unwrap());
        for forbidden in ["counter!(", "gauge!(", "histogram!(", "\"voxrelay_"] {
            let place = path.display();
            assert!(!code.contains(forbidden), "{place} has {forbidden}: add a function to src/metrics");
        }
    }
}

#[test]
fn only_the_drain_spawns() {
    for path in rust_files(&root().join("src")).into_iter().filter(|path| module_of(path) != "drain") {
        let code = code(&fs::read_to_string(&path).unwrap());
        for forbidden in ["tokio::spawn(", "task::spawn(", "JoinSet", "unbounded_channel"] {
            let place = path.display();
            assert!(
                !code.contains(forbidden),
                "{place} has {forbidden}: tasks and queues have owners and bounds"
            );
        }
    }
}

#[test]
fn no_file_hides_a_second_idea() {
    for folder in ["src", "protocol/src", "tests", "benches"] {
        for path in rust_files(&root().join(folder)) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= MOST_LINES, "{} has {lines} lines: find the second idea in it", path.display());
        }
    }
}

#[test]
fn groups_and_paths_of_imports_are_understood() {
    let text = "use crate::{drain::Drain, metrics::{self, Kind}, Relay};\nlet x = crate::pool::Pool::new();";
    assert_eq!(used(text), ["drain", "lib", "metrics", "pool"]);
}

#[test]
fn a_way_back_is_refused() {
    assert!(may_use("session", "pool") && !may_use("pool", "session"));
    assert!(may_use("link", "metrics") && !may_use("metrics", "link"));
    assert!(may_use("metrics", "drain") && !may_use("drain", "metrics"));
}
