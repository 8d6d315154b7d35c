//! A real relay: the binary with a config of its own, on ports that the system chose, killed on drop.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A relay and the key it made at its first start.
pub struct Relay {
    process: Child,
    folder: TempDir,
    pub address: SocketAddr,
    pub key: String,
}

impl Relay {
    /// Starts a relay whose config is that of a fresh installation with `more` after it.
    pub fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("voxrelay.toml");
        let ports = "[server]\nlisten = \"127.0.0.1:0\"\n[operator]\nlisten = \"127.0.0.1:0\"\n";
        std::fs::write(&config, format!("{ports}{more}")).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_voxrelay"))
            .args(["serve".as_ref(), "--config".as_ref(), config.as_os_str()])
            .current_dir(folder.path())
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let said: Vec<String> = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .take_while(|line| !line.trim_start().starts_with("VOXRELAY_API_KEY"))
            .collect();
        let after = |word: &str| {
            let line = said.iter().find_map(|line| line.trim_start().strip_prefix(word));
            let Some(line) = line else { panic!("no `{word}` in {said:?}\n{}", log(&folder)) };
            line.split_whitespace().next().unwrap().to_owned()
        };
        let url = after("clients");
        let address = url.strip_prefix("ws://").and_then(|url| url.split('/').next()).unwrap();
        Self { address: address.parse().unwrap(), key: after("first key"), process, folder }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let ended = self.process.try_wait();
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the relay ({ended:?}) logged:\n{}", log(&self.folder));
        }
    }
}

fn log(folder: &TempDir) -> String {
    std::fs::read_to_string(folder.path().join("log")).unwrap_or_default()
}
