//! Change of sample rate for one stream, with little delay.
//!
//! A windowed sinc of 64 taps of the lower rate (48 below 12 kHz): an output sample waits for half
//! of them, 1.3 ms at 24 kHz, 2 ms at 16 kHz, 3 ms at 8 kHz. The FFT resampler of the same library
//! is cheaper but waits for 10 ms. The filter's stop band lies 75 dB down.

use audioadapter_buffers::direct::SequentialSlice;
use rubato::{
    Async, FixedAsync, Resampler as _, SincInterpolationParameters, SincInterpolationType, WindowFunction,
};

use crate::{Fault, FaultCode};

/// Taps at the lower of the two rates: more keep more treble, and wait longer.
const TAPS: u32 = 64;
/// Below this rate a tap lasts so long that fewer are used.
const SLOW_HZ: u32 = 12_000;
const SLOW_TAPS: u32 = 48;
/// Up to this many phases each has its own filter; above, filters are interpolated. Bounds the
/// table of a stream: 32 phases of 64 taps are 8 KiB.
const MAX_PHASES: u32 = 32;

pub(super) struct Resampler {
    inner: Async<f32>,
    from: u32,
    to: u32,
    /// Samples in one step of `inner`. Always the same, so that the result cannot depend on how
    /// the input was cut.
    step: usize,
    /// Input that does not fill a step yet.
    pending: Vec<f32>,
    /// Output of one step.
    made: Vec<f32>,
    /// Steps after which the last input has surely come out.
    tail_steps: usize,
    /// Output samples still to be dropped, which come before the first input sample.
    skip: usize,
    taken: u64,
    given: u64,
}

impl Resampler {
    /// From one rate in Hz to another; both above 0.
    pub(super) fn new(from: u32, to: u32) -> Result<Self, Fault> {
        let ratio = f64::from(to) / f64::from(from);
        let (parameters, taps, phases) = filter(from, to);
        let step = (from / 1000).max(1) as usize;
        let inner = Async::new_sinc(ratio, 1.0, &parameters, step, 1, FixedAsync::Input)
            .map_err(|_| Fault::new(FaultCode::Internal, "the resampler could not be made"))?;
        // Where the library's filter puts its first output: taps / 2 - 1 / phases input samples early.
        let skip = ((f64::from(taps) / 2.0 - 1.0 / f64::from(phases)) * ratio).round() as usize - 1;
        let made = vec![0.0; inner.output_frames_max()];
        let tail_steps = taps as usize / step + 3;
        let pending = Vec::new();
        Ok(Self { inner, from, to, step, pending, made, tail_steps, skip, taken: 0, given: 0 })
    }

    /// Takes input and appends the output that is certain by now.
    pub(super) fn push(&mut self, input: &[f32], out: &mut Vec<f32>) {
        self.taken += input.len() as u64;
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(input);
        let mut steps = pending.chunks_exact(self.step);
        for step in &mut steps {
            self.advance(step, out);
        }
        let whole = pending.len() - steps.remainder().len();
        pending.drain(..whole);
        self.pending = pending;
    }

    /// Appends the rest: in total the output lasts exactly as long as the input, to the sample.
    pub(super) fn finish(&mut self, out: &mut Vec<f32>) {
        let (from, to) = (u64::from(self.from), u64::from(self.to));
        let total = (self.taken * to + from / 2) / from;
        let mut last = std::mem::take(&mut self.pending);
        last.resize(self.step, 0.0);
        let start = out.len();
        let given = self.given;
        for _ in 0..self.tail_steps {
            self.advance(&last, out);
            last.fill(0.0);
        }
        out.truncate(start + total.saturating_sub(given) as usize);
        self.given = total;
    }

    /// One step of input, zeros at the end.
    fn advance(&mut self, input: &[f32], out: &mut Vec<f32>) {
        let room = self.made.len();
        let (Ok(input), Ok(mut output)) =
            (SequentialSlice::new(input, 1, self.step), SequentialSlice::new_mut(&mut self.made, 1, room))
        else {
            return;
        };
        let Ok((_, made)) = self.inner.process_into_buffer(&input, &mut output, None) else { return };
        let skipped = self.skip.min(made);
        self.skip -= skipped;
        self.given += (made - skipped) as u64;
        out.extend_from_slice(&self.made[skipped..made]);
    }
}

/// The filter with its length in taps of the input rate and its number of phases.
fn filter(from: u32, to: u32) -> (SincInterpolationParameters, u32, u32) {
    let taps = if from.min(to) < SLOW_HZ { SLOW_TAPS } else { TAPS };
    // A filter that must cut below the input's own band is longer by as much.
    let taps = (taps * from.max(to)).div_ceil(to).next_multiple_of(8);
    let exact = to / gcd(from, to);
    let (phases, interpolation) = if exact <= MAX_PHASES {
        (exact, SincInterpolationType::Nearest)
    } else {
        (MAX_PHASES, SincInterpolationType::Cubic)
    };
    let parameters = SincInterpolationParameters::new(taps as usize, WindowFunction::Blackman)
        .oversampling_factor(phases as usize)
        .interpolation(interpolation);
    (parameters, taps, phases)
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
