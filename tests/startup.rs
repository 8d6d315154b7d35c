//! From nothing to the first sentence, and every way a start or a command can go wrong.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

mod support;

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use support::served::{program, terminate};
use support::{Ask, SHORT, Served, TestClient, TestRelay, within};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

#[tokio::test]
async fn the_line_that_serve_prints_works_when_it_is_copied() {
    let served = Served::start(&[]).await;
    let line = served.printed.lines().last().unwrap().trim();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(line).current_dir(served.home.path()).kill_on_drop(true);
    let output = within("the copied line", shell.output()).await.unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    let wav = fs::read(served.home.path().join("hello.wav")).unwrap();
    assert_eq!((&wav[..4], &wav[36..40]), (&b"RIFF"[..], &b"data"[..]));
    assert_eq!(u32::from_le_bytes(wav[40..44].try_into().unwrap()) as usize, wav.len() - 44);
    assert!(wav.len() > 20_000);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("hello.wav") && told.contains("first audio"), "{told}");
}

#[tokio::test]
async fn the_first_key_is_printed_once_and_goes_on_working() {
    let mut first = Served::start(&[]).await;
    assert!(first.key.starts_with("sk-") && first.key.len() == 35, "{}", first.printed);
    assert_eq!(first.printed.matches("first key").count(), 1);
    first.terminate();
    assert_eq!(first.exit_code().await, Some(0));
    let Served { home, key, .. } = first;
    let mut second = Served::start_in(home, &[]).await;
    assert_eq!(Ask::new(&second.addr, "GET", "/v1/me").bearer(&key).send().await.status, 200);
    second.terminate();
    let rest = second.rest().await;
    assert!(!rest.contains("sk-") && !second.printed.contains("sk-"), "{}{rest}", second.printed);
}

#[tokio::test]
async fn without_a_config_nobody_outside_this_machine_can_connect() {
    let config = voxrelay::config::Config::default();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.operator.listen.to_string(), "127.0.0.1:9464");
    let served = Served::start(&[]).await;
    assert!(served.addr.starts_with("127.0.0.1:") && served.operator.starts_with("127.0.0.1:"));
    let ready = Ask::new(&served.operator, "GET", "/readyz").send().await;
    assert_eq!(ready.status, 200);
}

#[tokio::test]
async fn a_port_in_use_is_told_with_its_setting_and_nothing_is_left_behind() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    for (variable, setting) in
        [("VOXRELAY__SERVER__LISTEN", "server.listen"), ("VOXRELAY__OPERATOR__LISTEN", "operator.listen")]
    {
        let home = tempfile::tempdir().unwrap();
        let (code, told) = fails(program(&home).arg("serve").env(variable, &port)).await;
        assert_eq!(code, 1, "{told}");
        assert!(told.contains(&port) && told.contains(setting), "{told}");
        assert!(!home.path().join("voxrelay.db").exists(), "no store without a relay");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_told_with_its_path() {
    let home = tempfile::tempdir().unwrap();
    for (name, url) in [
        ("a folder", "sqlite:."),
        ("nowhere", "sqlite:no/such/folder/x.db"),
        ("no store", "sqlite:garbage.db"),
    ] {
        fs::write(
            home.path().join("garbage.db"),
            "this is not a database, and it is long enough to be sure. ".repeat(50),
        )
        .unwrap();
        let (code, told) = fails(program(&home).arg("serve").env("VOXRELAY__STORE__URL", url)).await;
        assert_eq!(code, 1, "{name}: {told}");
        assert!(told.contains(url.trim_start_matches("sqlite:")), "{name}: {told}");
        assert!(!told.contains("sk-"), "{name}: {told}");
    }
}

#[tokio::test]
async fn a_bad_config_is_code_64_with_every_fault_and_nothing_is_started() {
    let home = tempfile::tempdir().unwrap();
    let text = "drain = 5\n[server]\nlisen = \"x\"\nlisten = \"nowhere\"\n[auth]\nmode = \"maybe\"\n[limits]\nsessions = -1\nping = \"soon\"\n[[voice]]\nname = \"n\"\nroutes = [ { upstream = \"missing\", voice = \"v\" } ]\n";
    fs::write(home.path().join("voxrelay.toml"), text).unwrap();
    let mut command = program(&home);
    command.args(["serve", "--config", "voxrelay.toml"]).env_remove("VOXRELAY__SERVER__LISTEN");
    let (code, told) = fails(&mut command).await;
    assert_eq!(code, 64, "{told}");
    for fault in ["drain", "lisen", "nowhere", "maybe", "sessions", "ping", "missing"] {
        assert!(told.contains(fault), "{fault}: {told}");
    }
    assert!(told.lines().count() >= 7, "{told}");
    let (code, told) = fails(program(&home).args(["serve", "--config", "no-such.toml"])).await;
    assert_eq!(code, 64, "{told}");
    assert!(told.contains("no-such.toml"), "{told}");
    let open = [("VOXRELAY__AUTH__MODE", "open"), ("VOXRELAY__SERVER__LISTEN", "0.0.0.0:0")];
    let (code, told) = fails(program(&home).arg("serve").envs(open)).await;
    assert_eq!(code, 64, "{told}");
    assert!(told.contains("allow_open_on_public"), "{told}");
    assert!(!home.path().join("voxrelay.db").exists());
}

#[tokio::test]
async fn say_needs_no_relay_and_tells_its_account_as_json() {
    let home = tempfile::tempdir().unwrap();
    let output = succeeds(program(&home).args(["say", SHORT, "--json", "--out", "a.wav"])).await;
    let done: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!((&done["type"], &done["characters"]), (&"done".into(), &SHORT.len().into()));
    let wav = fs::read(home.path().join("a.wav")).unwrap();
    assert_eq!(done["bytes"], wav.len());
    assert!(!home.path().join("voxrelay.db").exists(), "the relay inside leaves nothing behind");
}

#[tokio::test]
async fn say_writes_to_standard_output_in_the_format_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let wav = succeeds(program(&home).args(["say", SHORT, "--format", "mulaw:8000", "--out", "-"])).await;
    assert_eq!((&wav[..4], &wav[20..22]), (&b"RIFF"[..], &[7, 0][..]), "format 7 is mu-law");
    assert!(wav.len() > 8_000);
}

#[tokio::test]
async fn say_speaks_what_is_piped_as_it_comes() {
    let home = tempfile::tempdir().unwrap();
    let relay = TestRelay::plain().await;
    let mut command = speaker(&home, &relay);
    let mut child =
        command.args(["say", "--json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // A sentence and half a character: the sentence is spoken while the pipe is open.
    let text = "One two three. Then come \u{dc}bungen.".as_bytes();
    let half = text.iter().position(|byte| *byte == 0xc3).unwrap() + 1;
    pipe.write_all(&text[..half]).await.unwrap();
    let file = home.path().join("voxrelay.wav");
    support::until("audio of the first sentence", async || {
        fs::metadata(&file).is_ok_and(|file| file.len() > 10_000).then_some(())
    })
    .await;
    assert_eq!(relay.live_streams().await, 1);
    pipe.write_all(&text[half..]).await.unwrap();
    drop(pipe);
    let output = within("say ends", child.wait_with_output()).await.unwrap();
    assert!(output.status.success());
    let done: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(done["characters"], text.len() - 1);
    relay.idle().await;
}

#[tokio::test]
async fn say_ends_at_once_when_it_is_refused_though_its_input_stays_open() {
    let home = tempfile::tempdir().unwrap();
    let relay = TestRelay::plain().await;
    let mut command = speaker(&home, &relay);
    command.args(["say", "--voice", "nobody"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _open = child.stdin.take().unwrap();
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).await.unwrap();
    let status = within("say ends", child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(1), "{told}");
    assert!(told.contains("unknown_voice"), "{told}");
}

#[tokio::test]
async fn what_say_cannot_do_is_told_in_a_sentence() {
    let home = tempfile::tempdir().unwrap();
    let relay = TestRelay::plain().await;
    let url = format!("http://{}", relay.addr);
    let (other_key, _) = TestRelay::plain().await.new_key(|_| {}).await;
    let closed = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string() };
    for (args, code, words) in [
        (vec!["say", "x", "--url", &url], 1, "VOXRELAY_API_KEY"),
        (vec!["say", "x", "--url", &url, "--key", &other_key], 1, "key"),
        (vec!["say", "x", "--url", &format!("http://{closed}"), "--key", "sk-x"], 1, closed.as_str()),
        (vec!["say", "x", "--url", "nonsense", "--key", "sk-x"], 1, "nonsense"),
        (vec!["say", "x", "--url", "ftp://x", "--key", "sk-x"], 1, "ftp"),
        (vec!["say", "x", "--out", "no/such/folder/x.wav"], 1, "no/such/folder/x.wav"),
        (vec!["say", "x", "--format", "mp3"], 1, "unsupported_format"),
        (vec!["say", "x", "--format", "flac"], 2, "pcm_s16le"),
        (vec!["say", "x", "--format", "mulaw:fast"], 2, "rate"),
        (vec!["say", "--nonsense"], 2, "--nonsense"),
    ] {
        let (told_code, told) = fails(program(&home).args(&args)).await;
        assert_eq!(told_code, code, "{args:?}: {told}");
        assert!(told.contains(words), "{args:?}: {told}");
        assert!(!told.contains(&other_key), "{args:?}: {told}");
        assert!(code == 2 || told.lines().count() == 1, "{args:?}: {told}");
    }
}

#[tokio::test]
async fn a_served_relay_holds_a_conversation_and_logs_no_secret() {
    let home = tempfile::tempdir().unwrap();
    let mut command = program(&home);
    command.arg("serve").env("VOXRELAY_LOG", "debug").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut addr, mut key) = (String::new(), String::new());
    while key.is_empty() {
        let line = within("serve", lines.next_line()).await.unwrap().unwrap();
        if let Some((_, rest)) = line.split_once("ws://") {
            addr = rest.split('/').next().unwrap().to_owned();
        }
        if let Some((_, rest)) = line.split_once("sk-") {
            key = format!("sk-{}", rest.split(' ').next().unwrap());
        }
    }
    let bearer = format!("Bearer {key}");
    let mut client = TestClient::open(&addr, &[("authorization", &bearer)]).await.unwrap();
    client.until("ready").await;
    client.says("A canary sings.").await;
    let mut stranger = TestClient::open(&addr, &[]).await.unwrap();
    stranger.send(serde_json::json!({ "type": "auth", "token": "sk-canary" })).await;
    stranger.gone().await;
    terminate(&child);
    let mut log = String::new();
    within("the log", child.stderr.take().unwrap().read_to_string(&mut log)).await.unwrap();
    assert!(!log.is_empty() && !log.contains("canary") && !log.contains(&key[3..]), "{log}");
}

/// `say` towards a relay of this process, in a folder of its own.
fn speaker(home: &TempDir, relay: &TestRelay) -> Command {
    let mut command = program(home);
    command.env("VOXRELAY_URL", format!("http://{}", relay.addr)).env("VOXRELAY_API_KEY", &relay.key);
    command
}

async fn succeeds(command: &mut Command) -> Vec<u8> {
    let output = within("the command", command.output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Its exit code, and what it tells on standard error.
async fn fails(command: &mut Command) -> (i32, String) {
    let output = tokio::time::timeout(Duration::from_secs(20), command.output()).await;
    let output = output.expect("the command ends").unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}
