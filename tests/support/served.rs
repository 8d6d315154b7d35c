//! The real binary under `voxrelay serve`.

use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::within;

/// A relay in a process and a folder of its own; killed when dropped.
pub struct Served {
    pub child: Child,
    /// Host and port of the public listener.
    pub addr: String,
    /// Host and port of the operator's listener.
    pub operator: String,
    /// Everything it printed until it was ready.
    pub printed: String,
    /// The first key, if it was printed.
    pub key: String,
    pub home: TempDir,
    out: Lines<BufReader<ChildStdout>>,
}

impl Served {
    /// Starts it in a new folder.
    pub async fn start(variables: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), variables).await
    }

    /// Starts it in a folder where it may have run before.
    pub async fn start_in(home: TempDir, variables: &[(&str, &str)]) -> Self {
        let first = !home.path().join("voxrelay.db").exists();
        let mut command = program(&home);
        command.arg("serve").envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut printed = String::new();
        let mut addr = String::new();
        let operator = loop {
            let line = within("a line of serve", out.next_line()).await.unwrap().expect("serve goes on");
            printed += &format!("{line}\n");
            if line.contains("clients") {
                addr = between(&line, "ws://", "/").to_owned();
            }
            if line.contains("operators") {
                break between(&line, "http://", "/").to_owned();
            }
        };
        let mut key = String::new();
        for _ in 0..if first { 3 } else { 0 } {
            let line = within("the first key", out.next_line()).await.unwrap().expect("serve goes on");
            if line.contains("first key") {
                key = format!("sk-{}", between(&line, "sk-", " "));
            }
            printed += &format!("{line}\n");
        }
        Self { child, addr, operator, printed, key, home, out }
    }

    /// What it prints until it ends.
    pub async fn rest(&mut self) -> String {
        let mut rest = String::new();
        while let Some(line) = within("the end of serve", self.out.next_line()).await.unwrap() {
            rest += &format!("{line}\n");
        }
        rest
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        terminate(&self.child);
    }

    /// Its exit code.
    pub async fn exit_code(&mut self) -> Option<i32> {
        within("serve ends", self.child.wait()).await.unwrap().code()
    }
}

/// Asks a process to end, as a service manager does.
pub fn terminate(child: &Child) {
    let pid = child.id().expect("it runs").to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
}

/// The binary in a folder, with no settings of the machine, on free ports.
pub fn program(home: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxrelay"));
    command
        .current_dir(home.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("VOXRELAY__SERVER__LISTEN", "127.0.0.1:0")
        .env("VOXRELAY__OPERATOR__LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

fn between<'a>(line: &'a str, from: &str, to: &str) -> &'a str {
    let rest = line.split_once(from).unwrap_or_else(|| panic!("no {from} in {line}")).1;
    rest.split_once(to).map_or(rest, |(found, _)| found)
}
