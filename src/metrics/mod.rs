//! What operators see: the catalogue and the small functions that move it. The only module that may
//! name a metric. Handles are looked up once; on the audio path a call is one atomic addition.

mod catalogue;
pub mod labels;
mod playback;
mod process;
mod recorder;
mod relay;
mod session;
mod stream;
mod upstream;

pub use catalogue::{CATALOGUE, Kind, Metric, Unit, reference};
pub use labels::*;
pub use playback::Playback;
pub use recorder::render;
pub use relay::*;
pub use session::*;
pub use stream::*;
pub use upstream::{Held, LinkGuard, OTHER, UpstreamMetrics};

/// Makes every series of a closed set visible at 0, and label values of these upstream names (at most
/// 64 in a process, the rest count as `other`). May be called again with other names.
pub fn install(upstreams: impl IntoIterator<Item = impl AsRef<str>>) {
    expose_sessions();
    expose_streams();
    expose_relay();
    upstream::register(upstreams);
}

/// The present value of one series, written as in the exposition; NaN when there is none.
#[cfg(test)]
pub(crate) fn value(series: &str) -> f64 {
    let text = render();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_the_catalogue_is_exposed_before_anything_moves() {
        install(["local"]);
        let text = render();
        // A failover has no series before the first one.
        for metric in CATALOGUE.iter().filter(|metric| metric.name != "voxrelay_failovers_total") {
            let line = format!("# TYPE {} {}\n", metric.name, metric.kind.as_str());
            assert!(text.contains(&line), "{} is missing", metric.name);
            assert!(text.contains(&format!("# HELP {} ", metric.name)), "{} has no help", metric.name);
        }
        assert!(!text.contains("quantile="), "a histogram without buckets is a summary");
    }

    #[test]
    fn nothing_is_exposed_that_the_catalogue_does_not_know() {
        install(["local"]);
        let text = render();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = line.split(' ').next().unwrap_or_default();
            assert!(CATALOGUE.iter().any(|metric| metric.name == name), "{name}");
        }
    }

    #[test]
    fn an_upstream_outside_the_config_is_other() {
        assert_eq!(UpstreamMetrics::of("nobody configured this").name(), OTHER);
    }

    #[test]
    fn a_link_is_counted_in_one_state_at_a_time() {
        install(["links"]);
        let series = |state: &str| value(&format!("voxrelay_links{{upstream=\"links\",state=\"{state}\"}}"));
        let mut link = UpstreamMetrics::of("links").link(LinkState::Dialing);
        assert_eq!((series("dialing"), series("leased")), (1.0, 0.0));
        link.moved_to(LinkState::Leased);
        assert_eq!((series("dialing"), series("leased")), (0.0, 1.0));
        drop(link);
        assert_eq!((series("dialing"), series("leased")), (0.0, 0.0));
    }
}
