//! The table: medians over the rounds, and what the relay adds to the direct way.

use std::fs;

use crate::process::{cores, is_pinned};
use crate::{LEVELS, Measured, Plan, QUIET};

/// Delay the relay may add to a chunk at 1,000 streams, in ms.
const ADDED_P99_MS: f64 = 1.0;
/// Resident KiB an active stream may cost.
const STREAM_KIB: f64 = 64.0;

/// The load average before the bench adds to it.
pub fn load_average() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// Prints everything.
pub fn print(all: &[Measured], plan: &Plan, load: &str) {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let shared = if is_pinned() { "relay and proxies on two of them" } else { "shared by all processes" };
    println!(
        "{} cores, {shared}; Linux {}; load average before {load}; median of {} rounds of {} s; 20 ms chunks of {} bytes",
        cores(),
        kernel.trim(),
        plan.rounds,
        plan.counted_ms / 1000,
        crate::wire::CHUNK_BYTES,
    );
    println!();
    println!(
        "| streams | way | first audio p50 / p99 (ms) | ratio | chunk p50 (µs) | chunk p99 (µs) | added p99 (µs) | ratio p50 / p99 | CPU per chunk (µs) | cores busy | quiet |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (sessions, _) in LEVELS.iter().rev() {
        let rows = Rows { all, sessions: *sessions };
        rows.print();
    }
    println!();
    memory(&Rows { all, sessions: LEVELS[0].0 });
    println!();
    bar(&Rows { all, sessions: LEVELS[0].0 });
    for broken in all.iter().filter(|measured| measured.outcome.broken > 0) {
        let Measured { name, sessions, outcome, .. } = broken;
        println!("BROKEN: {name} at {sessions}: {} streams; {}", outcome.broken, outcome.note);
    }
}

/// Every round at one number of sessions.
struct Rows<'a> {
    all: &'a [Measured],
    sessions: u32,
}

impl<'a> Rows<'a> {
    /// The quiet measurements; all when there is none.
    fn best(&self, name: &str) -> Vec<&'a Measured> {
        let quiet: Vec<_> = self.of(name).filter(|one| one.others < QUIET).collect();
        if quiet.is_empty() { self.of(name).collect() } else { quiet }
    }

    fn of(&self, name: &str) -> impl Iterator<Item = &'a Measured> {
        let sessions = self.sessions;
        self.all.iter().filter(move |one| one.sessions == sessions && one.name == name)
    }

    fn names(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for one in self.all {
            if !names.contains(&one.name) {
                names.push(one.name);
            }
        }
        names
    }

    fn median(&self, name: &str, of: impl Fn(&Measured) -> f64) -> f64 {
        median(self.best(name).into_iter().map(of).collect())
    }

    /// What a way adds to the direct one, in µs.
    fn added_p99(&self, name: &str) -> f64 {
        let p99 = |name| self.median(name, |one| micros(one.outcome.delay_p99));
        p99(name) - p99("direct")
    }

    fn print(&self) {
        for name in self.names() {
            let of = |of: fn(&Measured) -> u64| self.median(name, |one| micros(of(one)));
            let ratio = |of: fn(&Measured) -> u64| {
                self.median(name, |one| micros(of(one))) / self.median("direct", |one| micros(of(one)))
            };
            let cpu = self.median(name, |one| micros(one.cpu_ns) / one.outcome.chunks.max(1) as f64);
            println!(
                "| {} | {name} | {:.2} / {:.2} | {:.1} | {:.0} | {:.0} | {:.0} | {:.1} / {:.1} | {} | {:.0} % | {} of {} |",
                self.sessions,
                of(|one| one.outcome.first_p50) / 1e3,
                of(|one| one.outcome.first_p99) / 1e3,
                ratio(|one| one.outcome.first_p50),
                of(|one| one.outcome.delay_p50),
                of(|one| one.outcome.delay_p99),
                self.added_p99(name),
                ratio(|one| one.outcome.delay_p50),
                ratio(|one| one.outcome.delay_p99),
                if cpu > 0.0 { format!("{cpu:.1}") } else { "–".to_owned() },
                self.median(name, |one| one.busy * 100.0),
                self.of(name).filter(|one| one.others < QUIET).count(),
                self.of(name).count(),
            );
        }
    }
}

fn memory(rows: &Rows<'_>) {
    println!("| way | resident per idle session (KiB) | per session with its stream (KiB) |");
    println!("|---|---|---|");
    for name in rows.names() {
        if let Some([idle, active]) = kibs(rows, name) {
            println!("| {name} | {idle:.1} | {active:.1} |");
        }
    }
}

/// Of the first round: later ones use again what the process has kept.
fn kibs(rows: &Rows<'_>, name: &str) -> Option<[f64; 2]> {
    let first = rows.of(name).next()?;
    let [before, idle, active] = first.resident.map(|bytes| bytes as f64 / 1024.0);
    let each = |bytes: f64| (bytes - before) / f64::from(rows.sessions);
    (before > 0.0).then(|| [each(idle), each(active)])
}

fn bar(rows: &Rows<'_>) {
    let told = |met: bool| if met { "met" } else { "MISSED" };
    let added = rows.added_p99("relay") / 1e3;
    let sessions = rows.sessions;
    println!(
        "bar: added p99 per chunk at {sessions} streams {added:.2} ms, under {ADDED_P99_MS} ms: {}",
        told(added < ADDED_P99_MS)
    );
    if let Some([_, active]) = kibs(rows, "relay") {
        println!(
            "bar: resident per active stream {active:.1} KiB, under {STREAM_KIB} KiB: {}",
            told(active < STREAM_KIB)
        );
    }
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
