//! The table of everything the relay counts. `docs/metrics.md` is made from it and every row has a
//! panel in `grafana/`; tests compare the three.

use std::fmt::Write as _;

/// What a metric is, and how it is written in the exposition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Only goes up; counted in microseconds, exposed in seconds (the recorder's counters are integers).
    SecondsCounter,
    /// Goes up and down.
    Gauge,
    /// Counts samples in buckets with these upper edges.
    Histogram(&'static [f64]),
}

/// The unit of a metric's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A plain number of things.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A ratio; 1 is equal.
    Ratio,
}

/// One row of the catalogue.
#[derive(Debug, PartialEq)]
pub struct Metric {
    /// The full name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// The unit of its value.
    pub unit: Unit,
    /// Label names; their values are closed sets (see `labels.rs`) or upstream names of the config.
    pub labels: &'static [&'static str],
    /// What it tells an operator.
    pub help: &'static str,
}

impl Kind {
    /// As Prometheus names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter | Self::SecondsCounter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

impl Unit {
    /// As written in the reference.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "",
            Self::Seconds => "s",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
        }
    }
}

/// Declares each metric as a static of its own and collects them in `CATALOGUE`, in order.
macro_rules! catalogue {
    ($($id:ident $name:literal $kind:expr, $unit:ident, [$($label:literal),*], $help:literal;)*) => {
        $(#[doc = $help] pub static $id: Metric = Metric {
            name: $name, kind: $kind, unit: Unit::$unit, labels: &[$($label),*], help: $help,
        };)*
        /// Every metric, in the order in which a stream meets them.
        pub static CATALOGUE: &[&Metric] = &[$(&$id),*];
    };
}

use Kind::{Counter, Gauge, Histogram, SecondsCounter};

const UPGRADE: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
const SESSION: &[f64] = &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0];
const AUTH: &[f64] = &[0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1];
const FIRST_AUDIO: &[f64] =
    &[0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0];
const PART: &[f64] = &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0];
const CHUNK: &[f64] = &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.02, 0.05, 0.1];
const GAP: &[f64] = &[0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 3.0];
const FACTOR: &[f64] = &[0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0, 4.0];
const CANCEL: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0];
const PACE: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05];
const DIAL: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0];
const WAIT: &[f64] = &[0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0];
const STORE: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];
const LAG: &[f64] = &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0];

catalogue! {
    // Sessions and who they are.
    SESSIONS "voxrelay_sessions" Gauge, Count, ["dialect"], "Authenticated sessions open now.";
    SESSIONS_TOTAL "voxrelay_sessions_total" Counter, Count, ["dialect", "auth"], "Sessions that became ready, by how they showed their key.";
    SESSION_REFUSALS "voxrelay_session_refusals_total" Counter, Count, ["code"], "Sessions and requests refused before they could do anything.";
    FRAMES_REFUSED "voxrelay_frames_refused_total" Counter, Count, ["code"], "Client messages answered with an error.";
    SESSION_CLOSES "voxrelay_session_closes_total" Counter, Count, ["code", "by"], "Closed sessions by WebSocket close code and by who ended them.";
    SESSION_SECONDS "voxrelay_session_seconds" Histogram(SESSION), Seconds, ["by"], "How long sessions lasted.";
    UPGRADE_SECONDS "voxrelay_upgrade_seconds" Histogram(UPGRADE), Seconds, ["result"], "From the request head to the answer of a WebSocket upgrade.";
    AUTH_ATTEMPTS "voxrelay_auth_attempts_total" Counter, Count, ["result"], "Keys checked.";
    AUTH_SECONDS "voxrelay_auth_seconds" Histogram(AUTH), Seconds, [], "Time to check a key.";
    QUOTA_REFUSALS "voxrelay_quota_refusals_total" Counter, Count, ["limit", "scope"], "Streams refused by a quota, by what is limited and whose limit it is.";
    LEASES "voxrelay_leases" Gauge, Count, [], "Quota leases held now; one per stream admitted.";
    STORE_SECONDS "voxrelay_store_seconds" Histogram(STORE), Seconds, ["op"], "Time of an operation on the key store.";
    STORE_ERRORS "voxrelay_store_errors_total" Counter, Count, ["op"], "Operations on the key store that failed.";

    // Streams and their first audio.
    STREAMS "voxrelay_streams" Gauge, Count, ["upstream"], "Streams running now.";
    STREAMS_TOTAL "voxrelay_streams_total" Counter, Count, ["upstream", "dialect", "outcome"], "Streams ended; `refused` is the caller's side and no part of the objective.";
    STREAM_ERRORS "voxrelay_stream_errors_total" Counter, Count, ["code"], "Streams that failed or were refused, by the code the client saw.";
    FIRST_AUDIO_SECONDS "voxrelay_first_audio_seconds" Histogram(FIRST_AUDIO), Seconds, ["upstream", "checkout"], "From the first text to the first audio sent to the client.";
    FIRST_AUDIO_PART_SECONDS "voxrelay_first_audio_part_seconds" Histogram(PART), Seconds, ["part"], "Where the time to the first audio went.";

    // Audio on its way.
    CHUNK_DELAY_SECONDS "voxrelay_chunk_delay_seconds" Histogram(CHUNK), Seconds, [], "What the relay itself adds to a chunk: from the upstream's socket to the client's. Pacing is not in it.";
    CHUNK_GAP_SECONDS "voxrelay_chunk_gap_seconds" Histogram(GAP), Seconds, ["upstream"], "Time between two chunks of a stream.";
    REALTIME_FACTOR "voxrelay_realtime_factor" Histogram(FACTOR), Ratio, ["upstream"], "Seconds an upstream took per second of audio; above 1 a listener hears holes.";
    UNDERRUNS "voxrelay_underruns_total" Counter, Count, ["upstream"], "Holes heard by a player that starts at the first byte and plays at normal speed.";
    UNDERRUN_SECONDS "voxrelay_underrun_seconds_total" SecondsCounter, Seconds, ["upstream"], "Length of those holes.";
    AUDIO_SECONDS "voxrelay_audio_seconds_total" SecondsCounter, Seconds, ["upstream"], "Audio sent to clients.";
    CHARACTERS "voxrelay_characters_total" Counter, Count, ["upstream"], "Characters sent to upstreams.";
    AUDIO_BYTES "voxrelay_audio_bytes_total" Counter, Bytes, ["direction"], "Audio received from upstreams (in) and sent to clients (out); before conversion, in = out + dropped.";
    AUDIO_DROPPED_BYTES "voxrelay_audio_dropped_bytes_total" Counter, Bytes, ["reason"], "Audio received and thrown away.";
    CANCEL_SECONDS "voxrelay_cancel_seconds" Histogram(CANCEL), Seconds, ["step"], "From a cancel to its acknowledgement to the client, and to its way upstream.";
    PACED_STREAMS "voxrelay_paced_streams" Gauge, Count, [], "Streams released on a clock now.";
    PACE_LATE_SECONDS "voxrelay_pace_late_seconds" Histogram(PACE), Seconds, [], "How late a paced frame was against its clock.";
    BUFFER_BYTES "voxrelay_buffer_bytes" Gauge, Bytes, ["queue"], "Bytes waiting in all queues of a kind.";
    BACKPRESSURE_SECONDS "voxrelay_backpressure_seconds_total" SecondsCounter, Seconds, ["point"], "Time spent waiting for room in a full queue or socket.";
    SLOW_CONSUMERS "voxrelay_slow_consumers_total" Counter, Count, ["link"], "Streams ended because their client did not read.";

    // Upstreams and links.
    LINKS "voxrelay_links" Gauge, Count, ["upstream", "state"], "Connections to upstreams now.";
    LINKS_RETIRED "voxrelay_links_retired_total" Counter, Count, ["upstream", "reason"], "Connections to upstreams closed by the relay or lost.";
    DIALS "voxrelay_dials_total" Counter, Count, ["upstream", "result"], "Attempts to connect to an upstream.";
    DIAL_SECONDS "voxrelay_dial_seconds" Histogram(DIAL), Seconds, ["upstream", "phase"], "Time of each phase of a connection.";
    CHECKOUTS "voxrelay_checkouts_total" Counter, Count, ["upstream", "result"], "Requests for a link: `hit` joins one in use, `warm` takes an idle one, `cold` had to dial.";
    CHECKOUT_WAIT_SECONDS "voxrelay_checkout_wait_seconds" Histogram(WAIT), Seconds, ["upstream"], "Time until a link was there.";
    SLOTS "voxrelay_slots" Gauge, Count, ["upstream"], "Streams that hold a slot of the account now.";
    SLOTS_LIMIT "voxrelay_slots_limit" Gauge, Count, ["upstream"], "Streams the account may run at once.";
    SLOT_WAITERS "voxrelay_slot_waiters" Gauge, Count, ["upstream"], "Streams waiting for a slot now.";
    SLOT_WAIT_SECONDS "voxrelay_slot_wait_seconds" Histogram(WAIT), Seconds, ["upstream"], "Time until a slot was free.";
    UPSTREAM_FAULTS "voxrelay_upstream_faults_total" Counter, Count, ["upstream", "kind"], "What went wrong at or on the way to an upstream.";
    WATCHDOG_FIRES "voxrelay_watchdog_fires_total" Counter, Count, ["upstream", "watchdog"], "Steps of an upstream that took too long.";
    BREAKER_OPEN "voxrelay_breaker_open" Gauge, Count, ["upstream"], "1 while an upstream that fails is left alone, until a stream has been spoken there again.";
    CREDENTIAL_BAD "voxrelay_credential_bad" Gauge, Count, ["upstream"], "1 while an upstream refuses the relay's account; one stream a minute tries it.";
    FAILOVERS "voxrelay_failovers_total" Counter, Count, ["from", "to", "phase"], "Streams moved to another upstream; a pair appears with its first move.";

    // The relay itself.
    USAGE_RECORDS "voxrelay_usage_records_total" Counter, Count, [], "Usage records written; one per stream.";
    OVERLOAD_REFUSALS "voxrelay_overload_refusals_total" Counter, Count, ["reason"], "Work refused because a bound of the relay was reached.";
    CONNECTIONS "voxrelay_connections" Gauge, Count, ["listener"], "Sockets open on a listener now.";
    ACCEPT_ERRORS "voxrelay_accept_errors_total" Counter, Count, ["listener"], "Connections the system could not hand over, for example for want of descriptors.";
    LOG_DROPPED "voxrelay_log_dropped_total" Counter, Count, [], "Log lines dropped because their reader was too slow.";
    PANICS "voxrelay_panics_total" Counter, Count, [], "Tasks that ended in a panic; each is a fault of the relay.";
    LOOP_LAG_SECONDS "voxrelay_loop_lag_seconds" Histogram(LAG), Seconds, [], "How late the scheduler runs a timer.";
    TASKS "voxrelay_tasks" Gauge, Count, [], "Tasks running now.";
    READY "voxrelay_ready" Gauge, Count, [], "1 when new sessions are welcome.";
    DRAINING "voxrelay_draining" Gauge, Count, [], "1 while running streams finish before the end.";
    DRAIN_CUT_STREAMS "voxrelay_drain_cut_streams_total" Counter, Count, [], "Streams cut off at the deadline of a drain.";
    BUILD_INFO "voxrelay_build_info" Gauge, Count, ["version", "commit"], "Always 1; what is running.";
    CPU_SECONDS "process_cpu_seconds_total" SecondsCounter, Seconds, [], "Processor time of the relay, user and system.";
    RESIDENT_BYTES "process_resident_memory_bytes" Gauge, Bytes, [], "Memory in use by the relay.";
    OPEN_FDS "process_open_fds" Gauge, Count, [], "File descriptors open.";
    MAX_FDS "process_max_fds" Gauge, Count, [], "File descriptors allowed.";
    THREADS "process_threads" Gauge, Count, [], "Threads of the process.";
    START_TIME "process_start_time_seconds" Gauge, Seconds, [], "When the process started, in Unix time.";
}

/// The catalogue as the table of `docs/metrics.md`.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from("| metric | kind | unit | labels | what it tells |\n|---|---|---|---|---|\n");
    for metric in CATALOGUE {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {labels} | {} |",
            metric.name,
            metric.kind.as_str(),
            metric.unit.as_str(),
            metric.help
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for metric in CATALOGUE {
            let counter = matches!(metric.kind, Counter | SecondsCounter);
            assert_eq!(counter, metric.name.ends_with("_total"), "{}", metric.name);
            let base = metric.name.trim_end_matches("_total");
            assert_eq!(metric.unit == Unit::Seconds, base.ends_with("_seconds"), "{}", metric.name);
            assert_eq!(metric.unit == Unit::Bytes, base.ends_with("_bytes"), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }

    #[test]
    fn bucket_edges_rise() {
        for metric in CATALOGUE {
            if let Histogram(edges) = metric.kind {
                assert!(edges.windows(2).all(|pair| pair[0] < pair[1]), "{}", metric.name);
            }
        }
    }

    #[test]
    fn every_name_is_there_once() {
        let names: std::collections::BTreeSet<_> = CATALOGUE.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), CATALOGUE.len());
    }
}
