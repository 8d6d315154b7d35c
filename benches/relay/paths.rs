//! The ways from a client to the fake: directly, through the relay, and through plain proxies where
//! they are installed.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::process::{Cores, Running};

/// One way.
pub struct Route {
    pub name: &'static str,
    /// The far end speaks the vendor's protocol.
    pub vendor: bool,
    pub address: String,
    pub key: String,
    /// What stands between; nothing on the direct way.
    pub process: Option<Running>,
}

/// Every way there is here, the direct one first, the relay second.
pub fn all(fake: &str, folder: &Path) -> Vec<Route> {
    let direct =
        Route { name: "direct", vendor: true, address: fake.to_owned(), key: "k".into(), process: None };
    let mut routes = vec![direct, relay(fake, folder)];
    routes.extend(haproxy(fake, folder));
    routes.extend(nginx(fake, folder));
    routes
}

fn relay(fake: &str, folder: &Path) -> Route {
    let config = format!(
        r#"
        drain = "1s"
        server = {{ listen = "127.0.0.1:0" }}
        operator = {{ listen = "127.0.0.1:0" }}
        store = {{ url = "sqlite:relay.db" }}
        plans.default.streams = 100000

        [[upstream]]
        name = "fake"
        kind = "cartesia"
        url = "ws://{fake}"
        api_key = {{ file = "key" }}
        streams = 100000
        pool = {{ max_links = 1000, dials_per_second = 1000 }}

        [[voice]]
        name = "bench"
        routes = [{{ upstream = "fake", voice = "bench" }}]
        "#
    );
    fs::write(folder.join("key"), "k").expect("a file");
    fs::write(folder.join("relay.toml"), config).expect("a file");
    let program = env!("CARGO_BIN_EXE_voxrelay");
    let started = Running::start(program, &["serve", "--config", "relay.toml"], folder, Cores::Measured);
    let mut process = started.expect("the relay is built");
    let (mut address, mut key) = (String::new(), String::new());
    while key.is_empty() {
        let line = process.line();
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["clients", stream, ..] => {
                address = stream.trim_start_matches("ws://").trim_end_matches("/v1/stream").to_owned();
            }
            ["first", "key", secret, ..] => key = secret.to_owned(),
            _ => {}
        }
    }
    Route { name: "relay", vendor: false, address, key, process: Some(process) }
}

fn haproxy(fake: &str, folder: &Path) -> Option<Route> {
    let address = free_address();
    let config = format!(
        "global\n nbthread 2\n maxconn 4000\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n timeout tunnel 1h\n\
         frontend clients\n bind {address}\n default_backend fake\n\
         backend fake\n server fake {fake}\n"
    );
    fs::write(folder.join("haproxy.cfg"), config).expect("a file");
    proxy("haproxy", "/usr/sbin/haproxy", &["-db", "-q", "-f", "haproxy.cfg"], address, folder)
}

fn nginx(fake: &str, folder: &Path) -> Option<Route> {
    let address = free_address();
    let config = format!(
        "daemon off; worker_processes 2; pid nginx.pid; error_log stderr crit;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; server {{ listen {address}; location / {{\n\
         proxy_pass http://{fake}; proxy_http_version 1.1; proxy_read_timeout 1h;\n\
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }} }} }}\n"
    );
    fs::write(folder.join("nginx.conf"), config).expect("a file");
    let prefix = folder.to_str().expect("a path in Unicode");
    let arguments = ["-p", prefix, "-e", "stderr", "-c", "nginx.conf"];
    proxy("nginx", "/usr/sbin/nginx", &arguments, address, folder)
}

fn proxy(
    name: &'static str,
    program: &str,
    arguments: &[&str],
    address: String,
    folder: &Path,
) -> Option<Route> {
    if !Path::new(program).exists() {
        return None;
    }
    let process = Running::start(program, arguments, folder, Cores::Measured);
    for _ in 0..100 {
        if TcpStream::connect(&address).is_ok() {
            return Some(Route { name, vendor: true, address, key: "k".into(), process });
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    panic!("{name} does not listen");
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}
