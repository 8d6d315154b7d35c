//! Catalogue, dashboard, alerts, runbook and reference tell the same story.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use voxrelay::metrics::{CATALOGUE, Kind, reference};

/// What Prometheus itself adds to a scrape.
const PROMETHEUS_OWN: &[&str] = &["up", "scrape_samples_scraped"];

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&read("grafana/relay.json")).unwrap();
    let all = dashboard["panels"].as_array().unwrap();
    all.iter().filter(|panel| panel["type"] != "row").cloned().collect()
}

fn queries(panel: &Value) -> Vec<String> {
    let targets = panel["targets"].as_array().unwrap();
    targets.iter().map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// The names in a text that look like metrics of ours or of the process.
fn metric_names(text: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let words = text.split(|letter| !is_part(letter));
    let ours = |word: &&str| ["voxrelay_", "process_", "scrape_"].iter().any(|start| word.starts_with(start));
    words.filter(ours).map(str::to_owned).collect()
}

/// The catalogue's name behind a name of a query, if it has one.
fn known(name: &str) -> Option<&'static str> {
    let found = CATALOGUE.iter().find(|metric| {
        let suffix = name.strip_prefix(metric.name);
        match metric.kind {
            Kind::Histogram(_) => matches!(suffix, Some("_bucket" | "_sum" | "_count")),
            _ => suffix == Some(""),
        }
    });
    found.map(|metric| metric.name)
}

fn rule_lines(key: &str) -> Vec<String> {
    let rules = read("grafana/alerts.yml");
    let values = rules.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key));
    values.map(|value| value.trim().to_owned()).collect()
}

#[test]
fn no_panel_and_no_rule_names_an_unknown_metric() {
    let panels: Vec<String> = panels().iter().flat_map(queries).collect();
    let rules = read("grafana/alerts.yml");
    // Not a metric but the name of a job, a group or a link.
    let rules = rules.replace("- name: voxrelay-", "");
    for name in metric_names(&(panels.join("\n") + &rules)) {
        let own = PROMETHEUS_OWN.contains(&name.as_str());
        assert!(own || known(&name).is_some(), "`{name}` is not in the catalogue");
    }
}

#[test]
fn every_metric_has_a_panel() {
    let shown: BTreeSet<_> = metric_names(&panels().iter().flat_map(queries).collect::<Vec<_>>().join("\n"));
    let shown: BTreeSet<_> = shown.iter().filter_map(|name| known(name)).collect();
    let missing: Vec<_> =
        CATALOGUE.iter().map(|metric| metric.name).filter(|name| !shown.contains(name)).collect();
    assert!(missing.is_empty(), "no panel shows {missing:?}");
}

#[test]
fn every_panel_explains_itself() {
    let mut ids = BTreeSet::new();
    for panel in panels() {
        let title = panel["title"].as_str().unwrap();
        assert!(!title.is_empty());
        assert!(
            panel["description"].as_str().is_some_and(|text| text.ends_with('.')),
            "{title}: description"
        );
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}: unit");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is taken");
        for query in queries(&panel) {
            assert!(query.contains("$job"), "{title}: {query} does not select the job");
            assert!(!query.contains("rate(") || query.contains("$__rate_interval"), "{title}: {query}");
        }
    }
}

#[test]
fn labels_of_queries_are_labels_of_their_metrics() {
    for query in panels().iter().flat_map(queries) {
        for (at, _) in query.match_indices('{') {
            let before: Vec<String> = metric_names(&query[..at]).into_iter().collect();
            let name = before.iter().find(|name| query[..at].ends_with(name.as_str()));
            let Some(metric) = name.and_then(|name| known(name)) else { continue };
            let labels = CATALOGUE.iter().find(|row| row.name == metric).map_or(&[][..], |row| row.labels);
            let selector = query[at + 1..].split('}').next().unwrap();
            for label in selector.split(", ").filter_map(|pair| pair.split(['=', '!']).next()) {
                let scraped = ["job", "instance", "le"].contains(&label);
                assert!(scraped || labels.contains(&label), "{metric} has no label `{label}`: {query}");
            }
        }
    }
}

#[test]
fn every_alert_has_a_section_in_the_runbook_and_two_tests() {
    let (runbook, tests) = (read("docs/runbook.md"), read("grafana/alerts.test.yml"));
    let alerts = rule_lines("alert:");
    assert!(!alerts.is_empty());
    for alert in &alerts {
        assert!(runbook.contains(&format!("\n## {alert}\n")), "docs/runbook.md has no section {alert}");
        let link = format!("docs/runbook.md#{}", alert.to_lowercase());
        assert!(rule_lines("runbook_url:").iter().any(|url| url.ends_with(&link)), "{alert} has no link");
        assert!(tests.contains(&format!("- name: {alert} fires\n")), "{alert} is never shown to fire");
        assert!(
            tests.contains(&format!("- name: {alert} is silent ")),
            "{alert} is never shown to be silent"
        );
    }
    for section in runbook.lines().filter_map(|line| line.strip_prefix("## ")) {
        assert!(
            alerts.iter().any(|alert| alert == section),
            "the runbook explains {section}, which is no alert"
        );
    }
}

#[test]
fn the_reference_lists_the_catalogue() {
    let written = read("docs/metrics.md");
    let (head, _) = written.split_once("| metric |").expect("docs/metrics.md has no table");
    let expected = format!("{head}{}", reference());
    if std::env::var_os("VOXRELAY_TEST_UPDATE").is_some() {
        fs::write(file("docs/metrics.md"), expected).unwrap();
    } else {
        assert!(
            written == expected,
            "docs/metrics.md is old: VOXRELAY_TEST_UPDATE=1 cargo test --test observability"
        );
    }
}

/// Needs promtool; `tests/run` installs it.
#[test]
fn every_query_parses() {
    let Some(promtool) = std::env::var_os("VOXRELAY_TEST_PROMTOOL") else { return };
    let mut rules = String::from("groups:\n  - name: panels\n    rules:\n");
    for (number, query) in panels().iter().flat_map(queries).enumerate() {
        let query = query.replace("$__rate_interval", "1m").replace('\'', "''");
        rules += &format!("      - {{ record: 'panel:{number}', expr: '{query}' }}\n");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("panels.yml");
    fs::write(&path, rules).unwrap();
    let output = Command::new(promtool).args(["check", "rules"]).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Needs promtool; `tests/run` installs it.
#[test]
fn the_exposition_passes_the_linter() {
    use std::io::Write;
    use std::process::Stdio;
    let Some(promtool) = std::env::var_os("VOXRELAY_TEST_PROMTOOL") else { return };
    voxrelay::metrics::install(["upstream-0", "upstream-1"]);
    let mut linter = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    linter.stdin.take().unwrap().write_all(voxrelay::metrics::render().as_bytes()).unwrap();
    let output = linter.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn a_scrape_with_eight_upstreams_stays_within_its_budget() {
    voxrelay::metrics::install((0..8).map(|number| format!("upstream-{number}")));
    let text = voxrelay::metrics::render();
    let series = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    assert!(series <= 3_000, "{series} series");
    assert!(text.len() <= 1 << 20, "{} bytes", text.len());
}
