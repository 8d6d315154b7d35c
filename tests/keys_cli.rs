//! The commands that work on the relay's own files, through the real binary.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use voxrelay::auth::Authenticator;
use voxrelay::config::Config;
use voxrelay::drain::Drain;
use voxrelay::keys::Secret;
use voxrelay::metrics::AuthResult;
use voxrelay::store::Store;
use voxrelay_protocol::request::Credential;

#[test]
fn a_key_lives_from_create_to_revoke() {
    let home = Home::new();
    let made =
        home.json(&["keys", "create", "--name", "ci", "--streams", "3", "--scopes", "synthesize,usage:read"]);
    assert_eq!(made["org"], "default");
    assert_eq!(made["streams"], 3);
    assert_eq!(made["scopes"], serde_json::json!(["synthesize", "usage:read"]));
    assert!(Secret::parse(made["secret"].as_str().unwrap()).is_ok());
    let id = made["id"].as_str().unwrap();

    let listed = home.json(&["keys", "list"]);
    assert_eq!(listed[0]["id"], id);
    assert!(listed[0].get("secret").is_none());
    let shown = home.json(&["keys", "show", id]);
    assert_eq!((&shown["status"], &shown["usage"]["streams"]), (&"active".into(), &0.into()));

    assert!(home.json(&["keys", "revoke", id])["revoked"].is_string());
    assert_eq!(home.json(&["keys", "show", id])["status"], "revoked");
}

#[test]
fn for_people_the_secret_is_shown_once_with_a_line_to_copy() {
    let home = Home::new();
    let made =
        home.run(&["keys", "create", "--name", "ci", "--expires", "90d", "--voices", "narrator,clerk"]);
    let text = succeeded(&made);
    let line = text.lines().find_map(|line| line.trim().strip_prefix("export VOXRELAY_API_KEY=")).unwrap();
    assert!(Secret::parse(line).is_ok());
    let listed = succeeded(&home.run(&["keys", "list"]));
    assert!(listed.starts_with("ID  "), "{listed}");
    assert!(listed.contains(" ci ") && listed.contains(" active ") && !listed.contains(line), "{listed}");
    let id = listed.lines().nth(1).unwrap().split(' ').next().unwrap();
    let shown = succeeded(&home.run(&["keys", "show", id]));
    assert!(shown.contains("voices         narrator, clerk\n"), "{shown}");
}

#[test]
fn organisations_are_made_listed_and_changed() {
    let home = Home::new();
    home.write("voxrelay.toml", "[plans.pro]\nstreams = 50\n");
    assert_eq!(home.json(&["orgs", "create", "acme", "--plan", "pro"])["plan"], "pro");
    let listed = home.json(&["orgs", "list"]);
    assert_eq!((&listed[0]["name"], &listed[0]["streams"]), (&"acme".into(), &Value::Null));
    assert_eq!(home.json(&["orgs", "set", "acme", "--streams", "7"])["streams"], 7);
    assert_eq!(
        home.json(&["orgs", "set", "acme", "--plan", "default", "--plan-streams"])["streams"],
        Value::Null
    );
    assert_eq!(home.json(&["orgs", "list"])[0]["plan"], "default");
    assert_eq!(home.json(&["keys", "create", "--org", "acme", "--name", "a"])["plan"], "default");
}

#[test]
fn what_cannot_be_done_is_told_in_a_sentence_with_code_1() {
    let home = Home::new();
    let told = |args: &[&str]| failed(&home.run(args), 1);
    assert!(told(&["keys", "list"]).contains("there is no store"));
    succeeded(&home.run(&["keys", "create", "--name", "first"]));
    for (args, words) in [
        (&["keys", "show", "key_none"][..], "there is no key key_none; see: voxrelay keys list"),
        (&["keys", "revoke", "key_none"], "there is no key key_none"),
        (&["keys", "create", "--org", "nobody", "--name", "x"], "there is no organisation \"nobody\""),
        (&["keys", "create", "--name", "two\nlines"], "the name must be"),
        (&["keys", "rotate", "key_none", "--overlap", "24h"], "rotate is not built yet"),
        (&["orgs", "create", "default"], "there is an organisation \"default\" already"),
        (&["orgs", "create", "a b"], "the name must be"),
        (&["orgs", "create", "acme", "--plan", "gold"], "no plan \"gold\"; it has default; add [plans.gold]"),
        (&["orgs", "set", "acme", "--streams", "1"], "there is no organisation \"acme\""),
    ] {
        let told = told(args);
        assert!(told.starts_with("voxrelay: ") && told.contains(words), "{args:?}: {told}");
    }
}

#[test]
fn wrong_usage_is_code_2() {
    let home = Home::new();
    for args in [
        &["keys", "create"][..],
        &["keys", "create", "--name", "x", "--scopes", "sing"],
        &["keys", "create", "--name", "x", "--expires", "soon"],
        &["keys", "create", "--name", "x", "--expires", "0s"],
        &["keys", "create", "--name", "x", "--streams", "0"],
        &["login", "--key", "sk-not-as-an-argument"],
        &["sing"],
    ] {
        failed(&home.run(args), 2);
    }
}

#[test]
fn a_bad_config_is_code_64_with_every_fault() {
    let home = Home::new();
    home.write("voxrelay.toml", "drain = 5\n\n[server]\nlisen = \"x\"\n");
    for command in [&["check"][..], &["keys", "list"]] {
        let told = failed(&home.run(command), 64);
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines.len(), 2, "{told}");
        assert!(
            lines[0].ends_with("voxrelay.toml:1: drain must be a duration like \"5s\", not a whole number")
        );
        assert!(
            lines[1].ends_with("voxrelay.toml:4: server: \"lisen\" is unknown; did you mean \"listen\"?")
        );
    }
    let output = home.run(&["check", "--json"]);
    assert_eq!(output.status.code(), Some(64));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told["ok"], &told["faults"][1]["line"]), (&false.into(), &4.into()));
    assert!(output.stderr.is_empty());
}

#[test]
fn check_shows_the_values_that_hold_and_no_secret() {
    let home = Home::new();
    home.write("voxrelay.toml", "[operator]\nadmin_token = { file = \"token\" }\n");
    home.write("token", "token-canary\n");
    let text = succeeded(&home.run(&["check"]));
    assert!(text.contains("operator.admin_token ") && text.contains("\"***\""), "{text}");
    assert!(!text.contains("canary"), "{text}");
    let values = &home.json(&["check"])["values"];
    assert_eq!(values["limits.session_streams"], 16);
    assert_eq!(values["auth.pepper"], Value::Null);
}

#[test]
fn login_keeps_a_piped_key_in_a_file_of_its_owner() {
    let home = Home::new();
    let secret = Secret::generate().unwrap();
    let output = home.pipe(&["login", "--url", "https://relay.example/"], secret.expose());
    assert!(succeeded(&output).is_empty());
    assert!(!String::from_utf8_lossy(&output.stderr).contains(secret.expose()));
    let file = home.folder.path().join(".config/voxrelay/config.toml");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(file.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let kept: toml::Table = std::fs::read_to_string(&file).unwrap().parse().unwrap();
    assert_eq!(kept["url"].as_str(), Some("https://relay.example"));
    assert_eq!(kept["key"].as_str(), Some(secret.expose()));
}

#[test]
fn login_tells_a_typo_without_asking_the_relay() {
    let home = Home::new();
    let mut typo = Secret::generate().unwrap().expose().to_owned();
    typo.replace_range(5..6, if &typo[5..6] == "a" { "b" } else { "a" });
    for (key, words) in
        [(typo.as_str(), "has a typo"), ("", "a key is \"sk-\""), ("sk-x", "a key is \"sk-\"")]
    {
        let told = failed(&home.pipe(&["login"], key), 1);
        assert!(told.contains(words), "{told}");
    }
    assert!(!home.folder.path().join(".config").exists());
}

#[test]
fn many_commands_at_once_make_one_store_with_every_key() {
    let home = Home::new();
    let started: Vec<_> = (0..6)
        .map(|number| home.command(&["keys", "create", "--name", &format!("key {number}")]).spawn().unwrap())
        .collect();
    for child in started {
        succeeded(&child.wait_with_output().unwrap());
    }
    assert_eq!(home.json(&["keys", "list"]).as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn a_key_revoked_by_the_command_ends_its_callers_in_a_running_relay() {
    let home = Home::new();
    let made = home.json(&["keys", "create", "--name", "live"]);
    let store = Store::open(&home.folder.path().join("voxrelay.db"), None).await.unwrap();
    let auth = Arc::new(Authenticator::new(&Config::default(), store));
    let drain = Drain::new();
    drain.spawn(auth.clone().watch(drain.clone(), |_| {}));
    let key = Credential::new(made["secret"].as_str().unwrap());
    let source = [127, 0, 0, 1].into();
    let caller = auth.check(Some(&key), source).await.caller.unwrap();

    home.json(&["keys", "revoke", made["id"].as_str().unwrap()]);
    tokio::time::timeout(Duration::from_secs(10), caller.revoked.cancelled()).await.unwrap();
    assert_eq!(auth.check(Some(&key), source).await.result, AuthResult::Revoked);
}

/// A folder that is home and working directory, with an empty config.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        home.write("voxrelay.toml", "");
        home
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_voxrelay"));
        command.args(args).current_dir(self.folder.path()).env_clear().env("HOME", self.folder.path());
        if args[0] != "login" && args[0] != "sing" {
            command.args(["--config", "voxrelay.toml"]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let text = succeeded(&self.run(&[args, &["--json"]].concat()));
        serde_json::from_str(&text).unwrap()
    }

    fn pipe(&self, args: &[&str], input: &str) -> Output {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{input}").unwrap();
        child.wait_with_output().unwrap()
    }
}

fn succeeded(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn failed(output: &Output, code: i32) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{errors}");
    errors
}
