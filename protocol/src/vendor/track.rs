//! The audio of one stream as it comes in: cut to whole samples, and measured, for vendors who count
//! word times from something smaller than the stream.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{AudioFormat, Event, FaultKind, UpstreamFault, Word};

/// No stream lasts longer than this; a later word time is nonsense.
const LATEST_MS: f64 = 24.0 * 3_600_000.0;

/// The audio of one stream so far.
#[derive(Debug)]
pub(super) struct Track {
    format: AudioFormat,
    /// The first bytes of a sample whose rest has not come.
    rest: Bytes,
    bytes: u64,
    last_word_ms: u64,
}

impl Track {
    /// `format` is raw and has samples of a fixed size.
    pub(super) const fn new(format: AudioFormat) -> Self {
        Self { format, rest: Bytes::new(), bytes: 0, last_word_ms: 0 }
    }

    /// The whole samples among what has come; `None` when there are none yet.
    pub(super) fn audio(&mut self, mut audio: Bytes) -> Option<Event> {
        if !self.rest.is_empty() {
            let mut joined = BytesMut::with_capacity(self.rest.len() + audio.len());
            joined.put_slice(&self.rest);
            joined.put_slice(&audio);
            audio = joined.freeze();
        }
        let sample = self.format.encoding.sample_bytes().unwrap_or(1);
        self.rest = audio.split_off(audio.len() - audio.len() % sample);
        self.bytes = self.bytes.saturating_add(audio.len() as u64);
        (!audio.is_empty()).then_some(Event::Audio(audio))
    }

    /// What was begun is over: half a sample belongs to nothing that follows.
    pub(super) fn cut(&mut self) {
        self.rest = Bytes::new();
    }

    /// Audio so far, in ms.
    pub(super) fn ms(&self) -> u64 {
        self.format.ms(self.bytes)
    }

    /// A word told in seconds from `offset_ms` on.
    ///
    /// # Errors
    /// `bad_frame` for times that cannot be.
    pub(super) fn word(
        &mut self,
        text: &str,
        start: f64,
        end: f64,
        offset_ms: u64,
    ) -> Result<Word, UpstreamFault> {
        let start_ms = (ms(start)?.saturating_add(offset_ms)).max(self.last_word_ms);
        let end_ms = (ms(end)?.saturating_add(offset_ms)).max(start_ms);
        self.last_word_ms = start_ms;
        Ok(Word { text: text.to_owned(), start_ms, end_ms })
    }
}

fn ms(seconds: f64) -> Result<u64, UpstreamFault> {
    let ms = (seconds * 1000.0).round();
    if (0.0..=LATEST_MS).contains(&ms) {
        Ok(ms as u64)
    } else {
        Err(UpstreamFault::new(FaultKind::BadFrame, "a word time out of range"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Encoding;

    #[test]
    fn samples_are_whole_however_they_were_cut() {
        let mut track = Track::new(AudioFormat::raw(Encoding::PcmS16le, 1000));
        let pieces: Vec<_> = [&b"abc"[..], b"d", b"e", b"", b"fgh"]
            .into_iter()
            .map(|bytes| track.audio(Bytes::from_static(bytes)))
            .collect();
        let audio = |bytes: &'static [u8]| Some(Event::Audio(Bytes::from_static(bytes)));
        assert_eq!(pieces, [audio(b"ab"), audio(b"cd"), None, None, audio(b"efgh")]);
        assert_eq!(track.ms(), 4);
    }

    #[test]
    fn half_a_sample_does_not_reach_the_next_run() {
        let mut track = Track::new(AudioFormat::default());
        assert_eq!(track.audio(Bytes::from_static(b"a")), None);
        track.cut();
        assert_eq!(track.audio(Bytes::from_static(b"bc")), Some(Event::Audio(Bytes::from_static(b"bc"))));
    }

    #[test]
    fn words_never_go_back_and_never_out_of_range() {
        let mut track = Track::new(AudioFormat::default());
        let mut word = |start, end| track.word("w", start, end, 100).map(|word| (word.start_ms, word.end_ms));
        assert_eq!(word(0.5, 0.7), Ok((600, 800)));
        assert_eq!(word(0.2, 0.3), Ok((600, 600)));
        for (start, end) in [(-1.0, 0.0), (f64::NAN, 1.0), (0.0, 1e300)] {
            assert_eq!(word(start, end).unwrap_err().kind, FaultKind::BadFrame);
        }
    }
}
