//! What the relay costs between a client and a vendor: delay added to first audio and to every chunk,
//! processor time per chunk, memory per session and per stream. Fake vendor, relay and clients are
//! processes of their own; every way is measured in turn, several times, and medians are printed of
//! those measurements during which the machine did little else.
//!
//! `cargo bench --bench relay` takes about eight minutes, with `-- --quick` about one;
//! `-- --rounds=N` measures longer or shorter, and `-- --patient` waits for the machine to be quiet and
//! measures again what was disturbed, within limits.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench may panic, and offers nothing to others"
)]

mod fake;
mod load;
mod paths;
mod process;
mod report;
mod wire;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use load::{Order, Outcome};
use paths::Route;
use process::{Running, used};

/// How much is measured.
struct Plan {
    rounds: usize,
    counted_ms: u64,
    /// How often a measurement may be made for one that is quiet.
    attempts: usize,
}

/// A measurement is quiet when other work takes less than this share of the cores.
const QUIET: f64 = 0.1;
/// How long to wait for that.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many sessions at once, and how long each of their streams is, in chunks. The largest is first,
/// so that memory is measured in processes that have not grown yet.
const LEVELS: [(u32, u32); 3] = [(1000, 200), (100, 200), (1, 25)];

/// One client process on one way.
struct Measured {
    name: &'static str,
    sessions: u32,
    outcome: Outcome,
    cpu_ns: u64,
    /// How busy all cores were, and what of that was others' work, as shares of them.
    busy: f64,
    others: f64,
    /// Resident bytes before the sessions, with all of them idle, with all of them speaking.
    resident: [u64; 3],
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--bench", "fake", _] => fake::run(),
        ["--bench", "load", order] => load::run(serde_json::from_str(order).expect("an order")),
        _ if !arguments.contains(&"--bench") => println!("this measures when cargo bench runs it"),
        _ => return bench(&arguments),
    }
    ExitCode::SUCCESS
}

fn bench(arguments: &[&str]) -> ExitCode {
    let rounds = arguments.iter().find_map(|argument| argument.strip_prefix("--rounds=")?.parse().ok());
    let attempts = if arguments.contains(&"--patient") { 4 } else { 1 };
    let plan = if arguments.contains(&"--quick") {
        Plan { rounds: rounds.unwrap_or(1), counted_ms: 2_000, attempts }
    } else {
        Plan { rounds: rounds.unwrap_or(5), counted_ms: 4_000, attempts }
    };
    process::raise_file_limit();
    let folder = tempfile::tempdir().expect("a folder");
    let mut fake = Running::role("fake", "");
    let routes = paths::all(&fake.line(), folder.path());
    let load = report::load_average();
    let mut all = Vec::new();
    for _ in 0..plan.rounds {
        for (sessions, chunks) in LEVELS {
            for route in &routes {
                for attempt in 1..=plan.attempts {
                    if plan.attempts > 1 {
                        wait_for_quiet();
                    }
                    all.push(measure(route, &fake, sessions, chunks, plan.counted_ms));
                    if attempt == plan.attempts || all.last().is_some_and(|one| one.others < QUIET) {
                        break;
                    }
                }
            }
        }
    }
    report::print(&all, &plan, &load);
    if all.iter().all(|measured| measured.outcome.broken == 0) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Two seconds without much work of others, or as long as patience lasts.
fn wait_for_quiet() {
    let began = Instant::now();
    let mut quiet = 0;
    while quiet < 2 && began.elapsed() < PATIENCE {
        let (busy, clock) = (process::busy(), wire::now_ns());
        std::thread::park_timeout(Duration::from_secs(1));
        let share = (process::busy() - busy) as f64 / (wire::now_ns() - clock) as f64;
        quiet = if share / (process::cores() as f64) < QUIET { quiet + 1 } else { 0 };
    }
}

fn measure(route: &Route, fake: &Running, sessions: u32, chunks: u32, counted_ms: u64) -> Measured {
    let (address, key) = (route.address.clone(), route.key.clone());
    let order = Order { vendor: route.vendor, address, key, sessions, chunks, counted_ms };
    let process = route.process.as_ref();
    let resident = || process.map_or(0, Running::resident);
    let cpu = || process.map(Running::cpu).unwrap_or_default();
    let before = resident();
    let mut clients = Running::role("load", &serde_json::to_string(&order).expect("JSON"));
    assert_eq!(clients.line(), "open");
    let idle = resident();
    clients.tell();
    assert_eq!(clients.line(), "begin");
    let own = |clients: &Running| fake.ticks() + clients.ticks() + process.map_or(0, Running::ticks);
    let (begun, own_before, busy, clock) = (cpu(), own(&clients), process::busy(), wire::now_ns());
    assert_eq!(clients.line(), "end");
    let cpu_ns = used(&begun, &cpu());
    let (busy, own) = (process::busy() - busy, own(&clients) - own_before);
    let share = |ns: u64| ns as f64 / (wire::now_ns() - clock) as f64 / process::cores() as f64;
    let (busy, others) = (share(busy), share(busy.saturating_sub(own)));
    let resident = [before, idle, resident()];
    let outcome = serde_json::from_str(&clients.line()).expect("an outcome");
    Measured { name: route.name, sessions, outcome, cpu_ns, busy, others, resident }
}
