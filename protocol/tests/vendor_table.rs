//! The table of how long links are trusted says what the providers say.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::fs;
use std::path::Path;

use voxrelay_protocol::provider::{Account, Sharing, providers};

#[test]
fn the_table_of_the_docs_has_a_true_row_for_every_wire_protocol() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vendors/README.md");
    let page = fs::read_to_string(page).unwrap();
    let mut rows = 0;
    for provider in providers() {
        let apis = provider.apis();
        for api in apis.iter().chain(apis.is_empty().then_some(&"")) {
            let capabilities = provider.capabilities(&Account { api, ..Account::default() });
            let links = match capabilities.sharing {
                Sharing::Contexts { per_link } => format!("{per_link} at once"),
                Sharing::Lease => "one after another".to_owned(),
                Sharing::Once => "a single one".to_owned(),
            };
            let api = if api.is_empty() { "–".to_owned() } else { format!("`{api}`") };
            let (idle, grace) = (capabilities.idle.as_secs(), capabilities.cancel_grace.as_secs());
            let row = format!("| `{}` | {api} | {links} | {idle} | {grace} | ", provider.kind());
            assert!(page.contains(&row), "the page lacks: {row}");
            rows += 1;
        }
    }
    let told = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(told, rows, "a row for nothing");
}
