//! What the system knows of the process, read from `/proc` at each scrape. Elsewhere than on Linux the
//! values stay 0.

use std::sync::LazyLock;
use std::time::Duration;

use metrics::{Counter, Gauge};

use super::catalogue as row;
use super::recorder::{counter, gauge};

/// The kernel exposes times in hundredths of a second on every platform we build for.
const TICK: Duration = Duration::from_millis(10);
const PAGE: f64 = 4096.0;

struct Process {
    cpu: Counter,
    resident: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    threads: Gauge,
    start: Gauge,
}

static PROCESS: LazyLock<Process> = LazyLock::new(|| Process {
    cpu: counter(&row::CPU_SECONDS, &[]),
    resident: gauge(&row::RESIDENT_BYTES, &[]),
    open_fds: gauge(&row::OPEN_FDS, &[]),
    max_fds: gauge(&row::MAX_FDS, &[]),
    threads: gauge(&row::THREADS, &[]),
    start: gauge(&row::START_TIME, &[]),
});

/// Brings the process metrics up to date.
pub(super) fn observe() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let process = &*PROCESS;
    if let Some(stat) = Stat::parse(&read("/proc/self/stat")) {
        process.cpu.absolute(u64::try_from(stat.cpu.as_micros()).unwrap_or(u64::MAX));
        process.resident.set(stat.resident_pages * PAGE);
        process.threads.set(stat.threads);
        if let Some(boot) = boot_time(&read("/proc/stat")) {
            process.start.set(boot + stat.started.as_secs_f64());
        }
    }
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        // The directory itself is open while it is read.
        process.open_fds.set(count(descriptors.count().saturating_sub(1)));
    }
    if let Some(limit) = descriptor_limit(&read("/proc/self/limits")) {
        process.max_fds.set(limit);
    }
}

#[derive(Debug, PartialEq)]
struct Stat {
    cpu: Duration,
    threads: f64,
    /// Since boot.
    started: Duration,
    resident_pages: f64,
}

impl Stat {
    /// Fields are counted after the command name, which may hold spaces and parentheses (proc(5)).
    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<u32>().ok().map(|ticks| TICK * ticks);
        let long_ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            cpu: ticks(11)? + ticks(12)?,
            threads: fields.get(17)?.parse().ok()?,
            started: Duration::from_millis(long_ticks(19)?.saturating_mul(10)),
            resident_pages: fields.get(21)?.parse().ok()?,
        })
    }
}

fn boot_time(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn descriptor_limit(limits: &str) -> Option<f64> {
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[allow(clippy::cast_precision_loss)] // far below 2^53
fn count(things: usize) -> f64 {
    things as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_a_parenthesis_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 12345 1000000 321 18446744073709551615";
        let parsed = Stat::parse(stat);
        let expected = Stat {
            cpu: Duration::from_secs(3),
            threads: 9.0,
            started: Duration::from_millis(123_450),
            resident_pages: 321.0,
        };
        assert_eq!(parsed, Some(expected));
    }

    #[test]
    fn the_soft_limit_of_descriptors_is_the_first_number() {
        assert_eq!(
            descriptor_limit("Max open files            1024                 4096                 files\n"),
            Some(1024.0)
        );
    }
}
