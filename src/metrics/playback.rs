//! What a listener hears who starts to play at the first byte and plays at normal speed: gaps, holes
//! and the pace of the upstream. A few additions per chunk, no look-up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::upstream::UpstreamMetrics;

/// Watches the audio of one stream. Reports its pace when dropped.
#[derive(Debug)]
pub struct Playback {
    upstream: Arc<UpstreamMetrics>,
    heard: Option<Heard>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    first: Instant,
    last: Instant,
    /// When the player has played everything it was given.
    empty_at: Instant,
    audio: Duration,
}

impl Playback {
    /// A stream of that upstream from which nothing has been heard yet.
    #[must_use]
    pub fn new(upstream: Arc<UpstreamMetrics>) -> Self {
        Self { upstream, heard: None }
    }

    /// A chunk came from the upstream at `now` and holds this much audio.
    pub fn chunk(&mut self, now: Instant, audio: Duration) {
        self.upstream.audio_seconds.add(audio);
        let Some(heard) = &mut self.heard else {
            self.heard = Some(Heard { first: now, last: now, empty_at: now + audio, audio });
            return;
        };
        self.upstream.chunk_gap.record(now.saturating_duration_since(heard.last));
        let hole = now.saturating_duration_since(heard.empty_at);
        if !hole.is_zero() {
            self.upstream.underruns.increment(1);
            self.upstream.underrun_seconds.add(hole);
        }
        heard.empty_at = heard.empty_at.max(now) + audio;
        heard.last = now;
        heard.audio += audio;
    }

    /// Seconds taken per second of audio; the first chunk came in no time and does not count.
    fn factor(&self) -> Option<f64> {
        let heard = self.heard.filter(|heard| heard.last > heard.first && !heard.audio.is_zero())?;
        Some((heard.last - heard.first).as_secs_f64() / heard.audio.as_secs_f64())
    }
}

impl Drop for Playback {
    fn drop(&mut self) {
        if let Some(factor) = self.factor() {
            self.upstream.realtime_factor.record(factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{install, value};

    const CHUNK: Duration = Duration::from_millis(20);

    fn play(name: &'static str, at_ms: &[u64]) -> Playback {
        install([name]);
        let mut playback = Playback::new(UpstreamMetrics::of(name));
        let start = Instant::now();
        for ms in at_ms {
            playback.chunk(start + Duration::from_millis(*ms), CHUNK);
        }
        playback
    }

    fn read(metric: &str, upstream: &str) -> f64 {
        value(&format!("voxrelay_{metric}{{upstream=\"{upstream}\"}}"))
    }

    #[test]
    fn audio_ahead_of_the_player_leaves_no_hole() {
        let playback = play("ahead", &[0, 1, 2, 59]);
        assert!(playback.factor().is_some_and(|factor| (factor - 0.7375).abs() < 1e-9));
        assert_eq!(read("underruns_total", "ahead"), 0.0);
        assert_eq!(read("audio_seconds_total", "ahead"), 0.08);
    }

    #[test]
    fn a_late_chunk_is_a_hole_of_its_lateness() {
        drop(play("late", &[0, 50, 60]));
        assert_eq!(read("underruns_total", "late"), 1.0);
        assert_eq!(read("underrun_seconds_total", "late"), 0.03);
        assert_eq!(read("realtime_factor_count", "late"), 1.0);
        assert_eq!(read("chunk_gap_seconds_count", "late"), 2.0);
    }

    #[test]
    fn one_chunk_alone_has_no_pace() {
        assert_eq!(play("alone", &[0]).factor(), None);
    }
}
