//! Log output: one line per event to standard error, through a queue of bounded length. A reader that
//! stops reading costs lines, which are counted, and never audio.

use std::fmt;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use serde_json::Value;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, registry};

use crate::config::Log;
use crate::metrics;

/// Lines waiting for a slow reader; when full, new lines are dropped (`voxrelay_log_dropped_total`).
const LINES: usize = 4096;
/// Longest line, in bytes; the rest is cut off.
const LINE_BYTES: usize = 4096;
/// Longest value in a long line of JSON, in bytes, so that it stays JSON.
const VALUE_BYTES: usize = 256;
/// What is logged when nobody says otherwise.
const DEFAULT: &str = "info,hyper=error";

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not understood.
    #[error("{variable} is not a log filter: {source}")]
    Filter {
        /// Where it came from.
        variable: &'static str,
        /// What is wrong.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The writer's thread could not be started.
    #[error("the log writer could not be started: {0}")]
    Writer(#[from] io::Error),
    /// Logging is set up already.
    #[error("logging is set up already")]
    Twice,
}

/// Logs to standard error from now on, filtered by `VOXRELAY_LOG`, else `RUST_LOG`, else at `info`.
/// Panics are logged and counted too, without their message: it may quote a client.
///
/// # Errors
/// The filter does not parse, or the process logs already.
pub fn init(log: Log) -> Result<(), TelemetryError> {
    let filter = filter(|name| std::env::var(name).ok())?;
    let lines = Lines::start(io::stderr(), log)?;
    // Without the hint every record of every library would be put to the filter, at every frame.
    let most = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
    let filter = filter.and(filter_fn(may_be_said).with_max_level_hint(most));
    let layer = tracing_subscriber::fmt::layer().with_writer(lines).with_ansi(false);
    let set = match log {
        Log::Pretty => registry().with(layer.with_target(false).with_filter(filter)).try_init(),
        Log::Json => {
            let layer = layer.json().flatten_event(true).with_current_span(true).with_span_list(false);
            registry().with(layer.with_filter(filter)).try_init()
        }
    };
    set.map_err(|_| TelemetryError::Twice)?;
    std::panic::set_hook(Box::new(|panic| {
        metrics::panicked();
        let place = panic.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
        tracing::error!(place, "a task panicked: this is a fault of the relay, please report it");
    }));
    Ok(())
}

/// Below `info` some libraries write whole request heads, keys included: whatever the filter asks for,
/// they are not heard.
fn may_be_said(event: &Metadata<'_>) -> bool {
    event.target().starts_with("voxrelay") || *event.level() <= Level::INFO
}

fn filter(variable: impl Fn(&str) -> Option<String>) -> Result<EnvFilter, TelemetryError> {
    let named = ["VOXRELAY_LOG", "RUST_LOG"].into_iter().find_map(|name| Some((name, variable(name)?)));
    match named {
        Some((variable, value)) => {
            EnvFilter::try_new(value).map_err(|source| TelemetryError::Filter { variable, source })
        }
        None => Ok(EnvFilter::new(DEFAULT)),
    }
}

/// The way to the writer's thread.
#[derive(Clone)]
struct Lines {
    queue: SyncSender<Vec<u8>>,
    log: Log,
}

impl Lines {
    fn start(out: impl Write + Send + 'static, log: Log) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(LINES);
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&receiver, out))?;
        Ok(Self { queue: sender, log })
    }
}

fn write_all(lines: &Receiver<Vec<u8>>, mut out: impl Write) {
    for line in lines {
        if out.write_all(&line).and_then(|()| out.flush()).is_err() {
            metrics::log_dropped(1);
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, text: Vec::new() }
    }
}

/// One event on its way to the queue.
struct Line<'a> {
    lines: &'a Lines,
    text: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.text.is_empty() && self.lines.queue.try_send(tidy(&self.text, self.lines.log)).is_err() {
            metrics::log_dropped(1);
        }
    }
}

/// One line, whatever was in it: control characters escaped, bounded in length, one line end.
fn tidy(event: &[u8], log: Log) -> Vec<u8> {
    let text = String::from_utf8_lossy(event);
    let text = text.trim_end_matches('\n');
    let shortened = (log == Log::Json && text.len() > LINE_BYTES / 4).then(|| with_short_values(text));
    let text = shortened.as_deref().unwrap_or(text);
    let mut line = String::with_capacity(text.len() + 1);
    for letter in text.chars() {
        if line.len() >= LINE_BYTES {
            line.push('…');
            break;
        }
        if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') {
            let _ = fmt::Write::write_fmt(&mut line, format_args!("\\u{:04x}", u32::from(letter)));
        } else {
            line.push(letter);
        }
    }
    line.push('\n');
    line.into_bytes()
}

fn with_short_values(json: &str) -> String {
    fn shorten(value: &mut Value) {
        match value {
            Value::String(text) => text.truncate(text.floor_char_boundary(VALUE_BYTES)),
            Value::Array(values) => values.iter_mut().for_each(shorten),
            Value::Object(fields) => fields.values_mut().for_each(shorten),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut event = serde_json::from_str(json).unwrap_or(Value::Null);
    shorten(&mut event);
    event.to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes nothing until it is told to.
    struct Stuck(Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_never_waits() {
        metrics::install(["local"]);
        let (go, gate) = mpsc::channel();
        let (seen, written) = mpsc::channel();
        let lines = Lines::start(Stuck(gate, seen), Log::Pretty).unwrap();
        let before = metrics::value("voxrelay_log_dropped_total");
        for _ in 0..LINES + 10 {
            lines.make_writer().write_all(b"line\n").unwrap();
        }
        assert!(metrics::value("voxrelay_log_dropped_total") - before >= 9.0);
        go.send(()).unwrap();
        assert_eq!(written.recv().unwrap(), b"line\n");
    }

    #[test]
    fn forged_lines_and_terminal_escapes_stay_on_their_line() {
        let tidied = tidy("a\r\nb\u{1b}[2J\u{2028}\n".as_bytes(), Log::Pretty);
        assert_eq!(String::from_utf8(tidied).unwrap(), "a\\u000d\\u000ab\\u001b[2J\\u2028\n");
    }

    #[test]
    fn a_line_has_a_greatest_length() {
        assert!(tidy(&vec![b'x'; 1 << 20], Log::Pretty).len() <= LINE_BYTES + 8);
    }

    #[test]
    fn a_long_line_of_json_stays_json() {
        let event = serde_json::json!({ "message": "é\u{2028}".repeat(100_000), "span": { "id": 7 } });
        let line = tidy(event.to_string().as_bytes(), Log::Json);
        let read: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(read["span"]["id"], 7);
        assert!(read["message"].as_str().unwrap().len() <= VALUE_BYTES);
    }

    #[test]
    fn a_filter_that_does_not_parse_is_named() {
        let error =
            filter(|name| (name == "VOXRELAY_LOG").then(|| "voxrelay=loud=very".to_owned())).unwrap_err();
        assert!(error.to_string().starts_with("VOXRELAY_LOG "), "{error}");
    }
}
