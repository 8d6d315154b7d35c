//! One stream's conversion from the upstream's format to the client's.

use std::fmt;
use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};

use super::resample::Resampler;
use super::{AudioFormat, Container, Encoding, samples, wav};
use crate::{Fault, FaultCode};

/// Sample rates that can be made, in Hz.
const SAMPLE_RATES: RangeInclusive<u32> = 8_000..=48_000;
/// Sample rates an upstream may have, in Hz; they bound the length of the filter.
const UPSTREAM_RATES: RangeInclusive<u32> = 4_000..=192_000;

/// Whether the relay can make that format out of any raw audio, so that a `start` can be refused
/// before an upstream is asked. (What an upstream gives as it is needs no conversion, whatever it is.)
///
/// # Errors
/// `unsupported_format`, naming what is available.
pub fn available(to: &AudioFormat) -> Result<(), Fault> {
    let possible = to.encoding.sample_bytes().is_some()
        && matches!(to.container, Container::Raw | Container::Wav)
        && SAMPLE_RATES.contains(&to.sample_rate);
    if possible { Ok(()) } else { Err(unsupported(to)) }
}

/// `unsupported_format` about one field whose value nobody knows, naming what is available.
#[must_use]
pub fn unknown(field: &str) -> Fault {
    refusal(&format!("{field}: is not known"))
}

fn unsupported(format: &AudioFormat) -> Fault {
    let AudioFormat { encoding, sample_rate, container } = format;
    let (encoding, container) = (encoding.as_str(), container.as_str());
    refusal(&format!("format: {encoding} in {container} at {sample_rate} Hz cannot be made"))
}

fn refusal(problem: &str) -> Fault {
    let (from, to) = (SAMPLE_RATES.start(), SAMPLE_RATES.end());
    let detail = format!(
        "{problem}; available are encodings pcm_s16le, pcm_f32le, mulaw, alaw, containers raw, wav, \
         sample rates {from} to {to}"
    );
    Fault::new(FaultCode::UnsupportedFormat, detail)
}

/// The stateful conversion of one stream. Audio that needs no change is passed on, not copied.
pub struct Converter {
    work: Work,
    /// What stands before the first audio; taken when it goes out.
    header: Bytes,
    /// Bytes of one sample of the input.
    sample: usize,
    /// The beginning of a sample whose rest has not come yet.
    partial: BytesMut,
}

enum Work {
    /// The same samples go out.
    Pass,
    /// The same rate, written otherwise.
    Recode(Encoding, Encoding),
    Resample(Box<Rate>),
}

/// A change of rate, and its buffers, which keep their room from chunk to chunk.
struct Rate {
    from: Encoding,
    to: Encoding,
    resampler: Resampler,
    input: Vec<f32>,
    output: Vec<f32>,
}

impl Converter {
    /// A conversion from what the upstream gives to what the client hears.
    ///
    /// # Errors
    /// `unsupported_format`, naming what is available.
    pub fn new(from: AudioFormat, to: AudioFormat) -> Result<Self, Fault> {
        if from == to {
            // Samples of an unknown size, or behind a header, are nobody's to cut.
            let sample = if from.container == Container::Raw { from.encoding.sample_bytes() } else { None };
            return Ok(Self::with(Work::Pass, Bytes::new(), sample.unwrap_or(1)));
        }
        available(&to)?;
        let sample = match (from.container, from.encoding.sample_bytes()) {
            (Container::Raw, Some(sample)) if UPSTREAM_RATES.contains(&from.sample_rate) => sample,
            _ => return Err(unsupported(&to)),
        };
        let work = if from.sample_rate != to.sample_rate {
            let resampler = Resampler::new(from.sample_rate, to.sample_rate)?;
            let (input, output) = (Vec::new(), Vec::new());
            Work::Resample(Box::new(Rate { from: from.encoding, to: to.encoding, resampler, input, output }))
        } else if from.encoding != to.encoding {
            Work::Recode(from.encoding, to.encoding)
        } else {
            Work::Pass
        };
        Ok(Self::with(work, wav::header(&to), sample))
    }

    fn with(work: Work, header: Bytes, sample: usize) -> Self {
        Self { work, header, sample, partial: BytesMut::new() }
    }

    /// Takes the upstream's next bytes, cut anywhere; gives the client's, which may be none yet.
    #[must_use]
    pub fn push(&mut self, audio: Bytes) -> Bytes {
        let whole = self.whole_samples(audio);
        if whole.is_empty() {
            return whole;
        }
        let out = match &mut self.work {
            Work::Pass => whole,
            Work::Recode(from, to) => samples::recode(*from, *to, &whole),
            Work::Resample(rate) => rate.push(&whole),
        };
        if out.is_empty() { out } else { self.after_header(out) }
    }

    /// Gives what is left when the upstream has said everything: the header of a stream without
    /// audio, the last milliseconds of a change of rate. Half a sample at the end is dropped.
    #[must_use]
    pub fn finish(&mut self) -> Bytes {
        let out = match &mut self.work {
            Work::Resample(rate) => rate.finish(),
            _ => Bytes::new(),
        };
        self.after_header(out)
    }

    fn after_header(&mut self, audio: Bytes) -> Bytes {
        let header = std::mem::take(&mut self.header);
        if header.is_empty() { audio } else { join(&header, &audio) }
    }

    /// Cuts at the last whole sample and keeps the rest for later.
    fn whole_samples(&mut self, audio: Bytes) -> Bytes {
        let mut audio = if self.partial.is_empty() { audio } else { join(&self.partial.split(), &audio) };
        let whole = audio.len() - audio.len() % self.sample;
        self.partial.extend_from_slice(&audio.split_off(whole));
        audio
    }
}

impl fmt::Debug for Converter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Converter(..)")
    }
}

impl Rate {
    fn push(&mut self, bytes: &[u8]) -> Bytes {
        self.input.clear();
        self.output.clear();
        samples::decode(self.from, bytes, &mut self.input);
        self.resampler.push(&self.input, &mut self.output);
        samples::encode(self.to, &self.output)
    }

    fn finish(&mut self) -> Bytes {
        self.output.clear();
        self.resampler.finish(&mut self.output);
        samples::encode(self.to, &self.output)
    }
}

fn join(head: &[u8], tail: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(head.len() + tail.len());
    out.extend_from_slice(head);
    out.extend_from_slice(tail);
    out.freeze()
}
