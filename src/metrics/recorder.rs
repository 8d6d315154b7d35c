//! The one recorder of the process: makes handles for rows of the catalogue and renders them all.
//! It comes to life with the first handle, so that a test needs no set-up and several relays in one
//! process share it. No idle timeout: held handles would go on counting into nothing.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label as Pair, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::catalogue::{CATALOGUE, Kind, Metric};
use super::labels::Label;
use super::process;

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

struct Recorder {
    prometheus: PrometheusRecorder,
    handle: PrometheusHandle,
}

static RECORDER: LazyLock<Recorder> = LazyLock::new(|| {
    let mut builder = PrometheusBuilder::new();
    for metric in CATALOGUE {
        if let Kind::Histogram(edges) = metric.kind {
            let matcher = Matcher::Full(metric.name.to_owned());
            #[allow(clippy::expect_used)] // a table of constants; its edges are tested not to be empty
            let with_edges = builder.set_buckets_for_metric(matcher, edges).expect("edges");
            builder = with_edges;
        }
    }
    let prometheus = builder.build_recorder();
    for metric in CATALOGUE {
        let (name, help) = (metric.name.into(), metric.help.into());
        match metric.kind {
            Kind::Counter | Kind::SecondsCounter => prometheus.describe_counter(name, None, help),
            Kind::Gauge => prometheus.describe_gauge(name, None, help),
            Kind::Histogram(_) => prometheus.describe_histogram(name, None, help),
        }
    }
    let handle = prometheus.handle();
    Recorder { prometheus, handle }
});

/// Label values, in the order of the metric's label names.
pub(super) type Values<'a> = &'a [&'a str];

fn key(metric: &'static Metric, values: Values<'_>) -> Key {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    let pairs = metric.labels.iter().zip(values);
    Key::from_parts(
        metric.name,
        pairs.map(|(name, value)| Pair::new(*name, (*value).to_owned())).collect::<Vec<_>>(),
    )
}

pub(super) fn counter(metric: &'static Metric, values: Values<'_>) -> Counter {
    RECORDER.prometheus.register_counter(&key(metric, values), &METADATA)
}

pub(super) fn gauge(metric: &'static Metric, values: Values<'_>) -> Gauge {
    RECORDER.prometheus.register_gauge(&key(metric, values), &METADATA)
}

pub(super) fn histogram(metric: &'static Metric, values: Values<'_>) -> Histogram {
    RECORDER.prometheus.register_histogram(&key(metric, values), &METADATA)
}

/// A counter of time, kept in microseconds.
#[derive(Clone)]
pub(super) struct Seconds(Counter);

impl Seconds {
    pub(super) fn new(metric: &'static Metric, values: Values<'_>) -> Self {
        debug_assert_eq!(metric.kind, Kind::SecondsCounter, "{}", metric.name);
        Self(counter(metric, values))
    }

    pub(super) fn add(&self, time: Duration) {
        self.0.increment(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
}

/// One handle for each value of a closed label, all made (and so exposed at 0) at once.
pub(super) struct Family<L, H> {
    handles: Vec<H>,
    label: std::marker::PhantomData<L>,
}

impl<L: Label, H> Family<L, H> {
    pub(super) fn new(mut make: impl FnMut(L) -> H) -> Self {
        Self { handles: L::ALL.iter().map(|value| make(*value)).collect(), label: std::marker::PhantomData }
    }

    pub(super) fn of(&self, value: L) -> &H {
        &self.handles[value.index()]
    }
}

/// Moves samples into their buckets; without it they pile up until the next scrape.
pub(super) fn upkeep() {
    RECORDER.handle.run_upkeep();
}

/// Everything in the text exposition format. Takes milliseconds: keep it off the audio path.
#[must_use]
pub fn render() -> String {
    process::observe();
    in_seconds(&RECORDER.handle.render())
}

/// Rewrites counters kept in microseconds as seconds.
fn in_seconds(exposition: &str) -> String {
    let mut out = String::with_capacity(exposition.len());
    for line in exposition.lines() {
        match line.rsplit_once(' ').filter(|(series, _)| is_micros(series)) {
            Some((series, micros)) => {
                let micros: u64 = micros.parse().unwrap_or_default();
                let _ = writeln!(out, "{series} {}.{:06}", micros / 1_000_000, micros % 1_000_000);
            }
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

fn is_micros(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or_default();
    name.ends_with("_seconds_total")
        && CATALOGUE.iter().any(|metric| metric.name == name && metric.kind == Kind::SecondsCounter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_are_exposed_as_seconds_and_nothing_else_changes() {
        let text = "# TYPE voxrelay_audio_seconds_total counter\n\
                    voxrelay_audio_seconds_total{upstream=\"a\"} 1500001\n\
                    voxrelay_characters_total{upstream=\"a\"} 1500001\n";
        let expected = "# TYPE voxrelay_audio_seconds_total counter\n\
                    voxrelay_audio_seconds_total{upstream=\"a\"} 1.500001\n\
                    voxrelay_characters_total{upstream=\"a\"} 1500001\n";
        assert_eq!(in_seconds(text), expected);
    }
}
