//! File and environment to [`Config`], or every fault of both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::defaults::DEFAULT_NAME;
use super::fault::{Faults, Place};
use super::overlay::overlay;
use super::reader::Section;
use super::secret::{Surroundings, secret};
use super::tree::{Node, parse_file};
use super::{Auth, AuthMode, Config, ConfigFault, Limits, Log, Operator, Plan, Server, Store, upstreams};

/// What the name of a variable begins with that stands for a setting.
pub const ENVIRONMENT_PREFIX: &str = "VOXRELAY__";

/// The shortest pepper taken, in bytes.
pub const SHORTEST_PEPPER: usize = 16;

const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// The environment of this process; variables that are not Unicode are left out.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

impl Config {
    /// Reads `file`, lays the variables of `environment` over it, and fills in the defaults. Relative
    /// paths in it start from the folder of the file, without a file from the working directory.
    ///
    /// # Errors
    /// Every fault there is, in the order of the file.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<ConfigFault>> {
        let mut faults = Faults::default();
        let root = match file {
            Some(path) => read_file(path, &mut faults),
            None => Node::table(Place::Whole),
        };
        finish(root, faults, file, environment)
    }

    /// The same of a file that has been read already; relative paths start from the working directory.
    ///
    /// # Errors
    /// Every fault there is, in the order of the text.
    pub fn parse(
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<ConfigFault>> {
        let mut faults = Faults::default();
        let root = parse_file(text, &mut faults);
        finish(root, faults, None, environment)
    }
}

fn finish(
    mut root: Node,
    faults: Faults,
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, Vec<ConfigFault>> {
    let around = Surroundings {
        variables: environment.into_iter().collect(),
        folder: file.and_then(Path::parent).unwrap_or(Path::new("")).to_path_buf(),
    };
    overlay(&mut root, ENVIRONMENT_PREFIX, &around.variables, &faults);
    let config = read(&root, &faults, &around);
    let found = faults.into_list(file);
    if found.is_empty() { Ok(config) } else { Err(found) }
}

fn read_file(path: &Path, faults: &mut Faults) -> Node {
    match std::fs::read_to_string(path) {
        Ok(text) => parse_file(&text, faults),
        Err(error) => {
            let message = format!("cannot be read: {error}; name a file of TOML with --config");
            faults.add_torn(Place::Whole, message);
            Node::table(Place::Whole)
        }
    }
}

fn read(root: &Node, faults: &Faults, around: &Surroundings) -> Config {
    let mut top = Section::new(root, "", faults);
    let server = server(top.section("server"));
    let operator = operator(top.section("operator"), &server, around);
    let auth = auth(top.section("auth"), &server, around);
    let store = store(top.section("store"), around);
    let limits = limits(top.section("limits"));
    let drain = top.duration("drain", Config::default().drain, 60 * MINUTE);
    let log = log(top.section("log"));
    let plans = plans(top.section("plans"));
    top.not_yet("fleet", "remove it; quotas live in this process");
    let (upstreams, voices) = upstreams::read(&mut top, around);
    top.done();
    Config { server, operator, auth, store, limits, drain, log, plans, upstreams, voices }
}

fn server(mut section: Section<'_>) -> Server {
    let listen = section.address("listen", Server::default().listen);
    let origins = section.texts("origins", "https://app.example.com");
    section.not_yet("tls", "remove it and put a proxy that speaks TLS in front");
    section.done();
    Server { listen, origins }
}

fn operator(mut section: Section<'_>, server: &Server, around: &Surroundings) -> Operator {
    let listen = section.address("listen", Operator::default().listen);
    let admin_token = secret(&mut section, "admin_token", "VOXRELAY_ADMIN_TOKEN", around);
    let place = section.place_of("listen");
    if !listen.ip().is_loopback() && section.node("admin_token").is_none() {
        section.fault(
            &place,
            format!(
                "listen {listen} is not a loopback address, and there is no admin_token; \
                 add admin_token = {{ env = \"VOXRELAY_ADMIN_TOKEN\" }}, or listen on 127.0.0.1"
            ),
        );
    }
    if listen.port() != 0 && listen == server.listen {
        section.fault(&place, format!("listen {listen} is the server's own address; choose another port"));
    }
    section.done();
    Operator { listen, admin_token }
}

fn auth(mut section: Section<'_>, server: &Server, around: &Surroundings) -> Auth {
    let defaults = Auth::default();
    let auth = Auth {
        mode: section.choice("mode", defaults.mode, &[("keys", AuthMode::Keys), ("open", AuthMode::Open)]),
        allow_open_on_public: section.flag("allow_open_on_public", defaults.allow_open_on_public),
        first_frame_timeout: section.duration("first_frame_timeout", defaults.first_frame_timeout, MINUTE),
        pepper: secret(&mut section, "pepper", "VOXRELAY_PEPPER", around),
    };
    let public = !server.listen.ip().is_loopback();
    if auth.mode == AuthMode::Open && public && !auth.allow_open_on_public {
        section.fault(
            &section.place_of("mode"),
            format!(
                "mode \"open\" lets anybody speak, and server.listen {} is not a loopback address; \
                 use mode = \"keys\", or add allow_open_on_public = true",
                server.listen
            ),
        );
    }
    if auth.pepper.as_ref().is_some_and(|pepper| pepper.expose().len() < SHORTEST_PEPPER) {
        section.fault(
            &section.place_of("pepper"),
            format!("pepper is shorter than {} bytes; make one with: openssl rand -hex 32", SHORTEST_PEPPER),
        );
    }
    section.done();
    auth
}

fn store(mut section: Section<'_>, around: &Surroundings) -> Store {
    let url = section.text("url");
    let place = section.place_of("url");
    let path = match url.map(store_path) {
        Some(Ok(path)) => path,
        Some(Err(problem)) => {
            section.fault(&place, problem);
            Store::default().path
        }
        None => Store::default().path,
    };
    section.done();
    Store { path: around.folder.join(path) }
}

/// The file of a store address. The address itself may hold a password and is not repeated.
fn store_path(url: &str) -> Result<PathBuf, String> {
    const FORM: &str = "write it like \"sqlite:voxrelay.db\"";
    if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        return Err(format!("url: PostgreSQL is not supported by this build yet; {FORM}"));
    }
    let Some(path) = url.strip_prefix("sqlite:") else {
        return Err(format!("url names a store of unknown kind; {FORM}"));
    };
    match path.strip_prefix("//").unwrap_or(path) {
        "" => Err(format!("url names no file; {FORM}")),
        path if path.starts_with(':') || path.contains('?') => {
            Err(format!("url must name a plain file, or keys would not outlive the relay; {FORM}"))
        }
        path => Ok(path.into()),
    }
}

fn limits(mut section: Section<'_>) -> Limits {
    let defaults = Limits::default();
    let limits = Limits {
        sessions: section.count("sessions", defaults.sessions, 1..=1_000_000),
        unauthenticated_sessions: section.count(
            "unauthenticated_sessions",
            defaults.unauthenticated_sessions,
            1..=1_000_000,
        ),
        unauthenticated_per_source: section.count(
            "unauthenticated_per_source",
            defaults.unauthenticated_per_source,
            1..=1_000_000,
        ),
        session_streams: section.count("session_streams", defaults.session_streams, 1..=1_000),
        characters_per_stream: section.integer(
            "characters_per_stream",
            defaults.characters_per_stream,
            1..=100_000_000,
        ),
        message_bytes: section.count("message_bytes", defaults.message_bytes, KIB..=16 * MIB),
        messages_per_second: section.small("messages_per_second", defaults.messages_per_second),
        messages_burst: section.small("messages_burst", defaults.messages_burst),
        controls_per_second: section.small("controls_per_second", defaults.controls_per_second),
        controls_burst: section.small("controls_burst", defaults.controls_burst),
        text_buffer: section.count("text_buffer", defaults.text_buffer, KIB..=16 * MIB),
        stream_buffer: section.count("stream_buffer", defaults.stream_buffer, 16 * KIB..=256 * MIB),
        head_timeout: section.duration("head_timeout", defaults.head_timeout, 10 * MINUTE),
        idle_timeout: section.duration("idle_timeout", defaults.idle_timeout, DAY),
        text_idle: section.duration("text_idle", defaults.text_idle, DAY),
        ping: section.duration("ping", defaults.ping, 60 * MINUTE),
        pong_timeout: section.duration("pong_timeout", defaults.pong_timeout, 60 * MINUTE),
        write_timeout: section.duration("write_timeout", defaults.write_timeout, 60 * MINUTE),
        queue_timeout: section.duration("queue_timeout", defaults.queue_timeout, 10 * MINUTE),
        queue_streams: section.count("queue_streams", defaults.queue_streams, 0..=100_000),
    };
    section.done();
    limits
}

fn log(mut section: Section<'_>) -> Log {
    let log = section.choice("format", Log::Pretty, &[("pretty", Log::Pretty), ("json", Log::Json)]);
    section.done();
    log
}

fn plans(section: Section<'_>) -> BTreeMap<String, Plan> {
    let mut plans = BTreeMap::from([(DEFAULT_NAME.to_owned(), Plan::default())]);
    for (name, node) in section.entries() {
        if let Some(problem) = name_problem(name) {
            section.fault(&node.place, format!("the name \"{name}\" {problem}"));
            continue;
        }
        let mut plan = Section::new(node, &format!("plan \"{name}\""), section.faults);
        let streams = plan.integer("streams", Plan::default().streams, 1..=1_000_000);
        plan.done();
        plans.insert(name.to_owned(), Plan { streams });
    }
    plans
}

/// Why `name` cannot name a plan, an upstream or an organisation; they appear in labels and commands.
#[must_use]
pub fn name_problem(name: &str) -> Option<&'static str> {
    let fits = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    (!fits).then_some("must be 1 to 64 of A-Z, a-z, 0-9, \"_\", \".\" and \"-\"")
}
