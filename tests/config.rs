//! The config: every fault at once, each with its place and the way to mend it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use voxrelay::config::{AuthMode, Config, ConfigFault, Log};

#[test]
fn without_a_file_the_defaults_hold() {
    let config = Config::load(None, []).unwrap();
    assert_eq!(config.describe(), Config::default().describe());
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.operator.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(config.store.path, Path::new("voxrelay.db"));
    assert_eq!(config.plans["default"].streams, 10);
    assert_eq!(&*config.upstreams[0].name, "local");
    assert_eq!(config.upstreams[0].provider.kind(), "embedded");
    assert_eq!(&*config.voices[0].name, "default");
    assert_eq!(config.voices[0].routes[0].voice, "default");
}

#[test]
fn the_contracts_own_example_loads() {
    let config = Config::load(Some(&valid("contract.toml")), secrets()).unwrap();
    let names: Vec<_> = config.upstreams.iter().map(|upstream| &*upstream.name).collect();
    assert_eq!(names, ["cartesia-eu", "local"], "a voice that names local brings it in");
    assert_eq!(config.upstreams[0].account.url, "wss://api.cartesia.ai");
    assert_eq!(config.upstreams[0].pool.idle, Duration::from_secs(240));
    assert_eq!(config.voices[0].routes[0].model.as_deref(), Some("sonic-3"));
    assert_eq!(config.voices[0].language.as_deref(), Some("en"));
    assert_eq!(config.store.path, valid("voxrelay.db"), "paths start from the folder of the file");
}

#[test]
fn open_mode_on_a_public_address_can_be_asked_for() {
    let config = Config::load(Some(&valid("public_open.toml")), []).unwrap();
    assert_eq!(config.auth.mode, AuthMode::Open);
    assert_eq!(config.log, Log::Json);
}

#[test]
fn ten_faults_are_told_at_once() {
    assert_eq!(
        faults_of("ten_faults.toml"),
        [
            r#"1: drain "soon" is not a duration; write it like "500ms", "5s" or "4m""#,
            r#"4: server: "lisen" is unknown; did you mean "listen"?"#,
            r#"7: operator: listen 0.0.0.0:9464 is not a loopback address, and there is no admin_token; add admin_token = { env = "VOXRELAY_ADMIN_TOKEN" }, or listen on 127.0.0.1"#,
            r#"10: auth: mode "keyz" is unknown; did you mean "keys"?"#,
            "13: limits: sessions is 0; it must be from 1 to 1000000",
            r#"14: limits: ping must be a duration like "5s", not a whole number"#,
            r#"18: upstream "x": kind "cartesi" is unknown; did you mean "cartesia"?"#,
            r#"23: upstream "eu": api_key is a secret written into the file; write api_key = { env = "CARTESIA_API_KEY" } or { file = "…" }"#,
            r#"26: upstream "eu": the name is taken by line 21; choose another"#,
            r#"31: voice "narrator": route: upstream "ue" is not configured; did you mean "eu"?"#,
        ]
    );
}

#[test]
fn what_the_contract_has_and_this_build_has_not_is_refused_by_name() {
    assert_eq!(
        faults_of("not_built_yet.toml"),
        [
            "2: server: tls is not supported by this build yet; remove it and put a proxy that speaks TLS in front",
            r#"5: store: url: PostgreSQL is not supported by this build yet; write it like "sqlite:voxrelay.db""#,
            "7: fleet is not supported by this build yet; remove it; quotas live in this process",
            r#"12: upstream "openai": kind "openai" is not supported by this build yet; it has embedded, cartesia, elevenlabs, deepgram, rime, fish-audio"#,
        ]
    );
}

#[test]
fn a_bad_reference_to_a_secret_is_told_without_the_secret() {
    let missing = "(No such file or directory (os error 2))";
    let unreadable = invalid("no-such-file");
    assert_eq!(
        faults_of("secrets.toml"),
        [
            "2: auth: pepper is shorter than 16 bytes; make one with: openssl rand -hex 32".to_owned(),
            r#"5: operator: admin_token has no source of kind "vault"; write admin_token = { env = "VOXRELAY_ADMIN_TOKEN" } or { file = "…" }"#.to_owned(),
            r#"10: upstream "unset": api_key: the environment variable NOT_SET is not set; set it, or refer to another"#.to_owned(),
            format!(r#"15: upstream "unreadable": api_key: the file {} cannot be read {missing}; mend it, or refer to another"#, unreadable.display()),
            r#"17: upstream "missing": kind "cartesia" needs an api_key; add api_key = { env = "CARTESIA_API_KEY" } or { file = "…" }"#.to_owned(),
            r#"24: upstream "needless": kind "embedded" takes no api_key; remove it"#.to_owned(),
        ]
    );
}

#[test]
fn addresses_that_cannot_work_or_should_not_are_refused() {
    assert_eq!(
        faults_of("addresses.toml"),
        [
            "5: operator: listen 0.0.0.0:9000 is the server's own address; choose another port",
            r#"9: auth: mode "open" lets anybody speak, and server.listen 0.0.0.0:9000 is not a loopback address; use mode = "keys", or add allow_open_on_public = true"#,
            r#"12: store: url must name a plain file, or keys would not outlive the relay; write it like "sqlite:voxrelay.db""#,
            r#"17: upstream "web": url must begin with wss:// or ws:// and a host; write it like "wss://api.cartesia.ai""#,
        ]
    );
}

#[test]
fn a_file_that_is_not_toml_is_still_read_to_its_end() {
    let mend = "text needs quotes, and a key stands only once";
    assert_eq!(
        faults_of("torn.toml"),
        [
            format!("2: this is not TOML (invalid float, expected nothing); {mend}"),
            format!("6: this is not TOML (duplicate key); {mend}"),
            r#"7: limits: ping "5 parsecs" is not a duration; write it like "500ms", "5s" or "4m""#
                .to_owned(),
        ]
    );
}

#[test]
fn a_file_that_is_not_there_is_one_fault() {
    let faults = Config::load(Some(Path::new("nowhere.toml")), []).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].to_string().starts_with("nowhere.toml: cannot be read: "), "{}", faults[0]);
}

#[test]
fn the_environment_overrides_the_file_at_any_depth() {
    let variables = [
        ("VOXRELAY__SERVER__LISTEN", "[::1]:9000"),
        ("VOXRELAY__DRAIN", "5s"),
        ("VOXRELAY__LIMITS__SESSIONS", "12"),
        ("VOXRELAY__AUTH__ALLOW_OPEN_ON_PUBLIC", "true"),
        ("VOXRELAY__PLANS__PRO__STREAMS", "99"),
        ("VOXRELAY__UPSTREAM__0__API_KEY", "from-the-environment"),
        ("VOXRELAY__UPSTREAM__CARTESIA_EU__POOL__WARM", "7"),
        ("VOXRELAY__UPSTREAM__1__NAME", "second"),
        ("VOXRELAY__UPSTREAM__1__KIND", "embedded"),
        ("VOXRELAY__UPSTREAM__1__POOL", r#"{ warm = 1, idle = "1m" }"#),
        ("VOXRELAY__VOICE__NARRATOR__ROUTES", r#"[ { upstream = "second", voice = "default" } ]"#),
    ];
    let config =
        Config::load(Some(&valid("contract.toml")), secrets().into_iter().chain(owned(&variables))).unwrap();
    assert_eq!(config.server.listen.to_string(), "[::1]:9000");
    assert_eq!(config.drain, Duration::from_secs(5));
    assert_eq!(config.limits.sessions, 12);
    assert!(config.auth.allow_open_on_public);
    assert_eq!(config.plans["pro"].streams, 99);
    let [first, second] = &config.upstreams[..] else { panic!("{:?}", config.upstreams) };
    assert_eq!(first.account.api_key.as_ref().unwrap().expose(), "from-the-environment");
    assert_eq!(first.pool.warm, 7);
    assert_eq!(&*second.name, "second");
    assert_eq!(second.pool.idle, Duration::from_secs(60));
    assert_eq!(&*config.voices[0].routes[0].upstream.name, "second");
}

#[test]
fn a_fault_of_the_environment_names_its_variable() {
    let variables = [
        ("VOXRELAY__SERVRE__LISTEN", "127.0.0.1:1"),
        ("VOXRELAY__LIMITS__SESSIONS", "many"),
        ("VOXRELAY__DRAIN__DEEPER", "1s"),
        ("VOXRELAY__UPSTREAM__3__KIND", "cartesia"),
        ("VOXRELAY____X", "1"),
        ("VOXRELAY_URL", "not a setting"),
    ];
    let faults: Vec<_> = Config::load(None, owned(&variables))
        .unwrap_err()
        .iter()
        .map(|fault| (fault.variable.clone().unwrap(), fault.message.clone()))
        .collect();
    let expected = [
        ("VOXRELAY__DRAIN__DEEPER", "drain must be a duration like \"5s\", not a table"),
        ("VOXRELAY__LIMITS__SESSIONS", "limits: sessions must be a whole number, not a string"),
        ("VOXRELAY__SERVRE__LISTEN", "\"servre\" is unknown; did you mean \"server\"?"),
        ("VOXRELAY__UPSTREAM__3__KIND", "there is no entry 3; the next free number is 0"),
        ("VOXRELAY____X", "a step of its name is empty; write VOXRELAY__SECTION__KEY"),
    ];
    assert_eq!(faults, owned(&expected));
}

#[test]
fn a_description_shows_every_value_and_no_secret() {
    let config = Config::load(Some(&valid("contract.toml")), secrets()).unwrap();
    let shown = format!("{:?}{config:?}", config.describe());
    assert!(!shown.contains("canary"), "{shown}");
    let described = config.describe();
    assert!(described.contains(&("operator.admin_token".into(), "\"***\"".into())));
    assert!(described.contains(&("upstream.cartesia-eu.api_key".into(), "\"***\"".into())));
    assert!(described.contains(&("upstream.cartesia-eu.pool.idle".into(), "\"4m\"".into())));
}

#[test]
fn the_example_repeats_the_defaults() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
    let mut config = Config::load(Some(&example), []).unwrap();
    config.store.path = config.store.path.file_name().unwrap().into();
    assert_eq!(config.describe(), Config::default().describe());
}

#[test]
fn the_example_holds_every_setting_and_they_load() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml")).unwrap();
    let all: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            // "# " begins a sentence, and a setting goes on after "#  ".
            Some(rest) if rest.starts_with("  ") || !rest.starts_with(' ') => rest,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("voxrelay.toml");
    std::fs::write(&file, &all).unwrap();
    let config = Config::load(Some(&file), secrets()).unwrap();
    for (key, value) in config.describe() {
        let last = key.rsplit('.').next().unwrap();
        assert!(all.contains(&format!("{last} =")), "the example lacks {key}");
        let defaulted = key.starts_with("upstream.cartesia-eu.") && !key.ends_with("api_key");
        assert!(!defaulted || all.contains(&value), "{key} is not {value} in the example");
    }
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "[\\[\\]{}=\"#.,a-z0-9 \n]{0,200}") {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("voxrelay.toml");
        std::fs::write(&file, &text).unwrap();
        if let Err(faults) = Config::load(Some(&file), []) {
            let lines = text.lines().count().max(1) + 1;
            prop_assert!(!faults.is_empty());
            prop_assert!(faults.iter().all(|fault: &ConfigFault| fault.line.is_none_or(|line| (1..=lines).contains(&line))));
        }
    }
}

fn valid(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/valid").join(name)
}

fn invalid(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/invalid").join(name)
}

/// Every fault of a file as `line: message`.
fn faults_of(name: &str) -> Vec<String> {
    let file = invalid(name);
    let faults = Config::load(Some(&file), secrets()).unwrap_err();
    let begin = format!("{}:", file.display());
    let shown: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert!(!shown.iter().any(|fault| fault.contains("canary")), "{shown:?}");
    shown.iter().map(|fault| fault.strip_prefix(&begin).unwrap().to_owned()).collect()
}

fn secrets() -> Vec<(String, String)> {
    owned(&[
        ("CARTESIA_API_KEY", "vendor-canary"),
        ("ADMIN_TOKEN", "admin-canary"),
        ("VOXRELAY_ADMIN_TOKEN", "admin-canary"),
        ("VOXRELAY_PEPPER", "pepper-canary-of-enough-bytes"),
        ("SHORT_PEPPER", "canary"),
    ])
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
