//! Samples in and out of their encodings. 16 bits are the common ground where the rate stays;
//! floats where it changes.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Encoding, g711};

/// Full scale of 16-bit PCM.
const SCALE: f32 = 32_768.0;

/// Whole samples of `from`, written as `to`. Encodings without samples of a fixed size yield nothing.
pub(super) fn recode(from: Encoding, to: Encoding, bytes: &[u8]) -> Bytes {
    let count = bytes.len() / from.sample_bytes().unwrap_or(1);
    let mut out = BytesMut::with_capacity(count * to.sample_bytes().unwrap_or(0));
    match from {
        Encoding::PcmS16le => write(to, bytes.as_chunks().0.iter().map(|b| i16::from_le_bytes(*b)), &mut out),
        Encoding::PcmF32le => write(to, floats(bytes).map(quantize), &mut out),
        Encoding::Mulaw => write(to, bytes.iter().map(|b| g711::from_mulaw(*b)), &mut out),
        Encoding::Alaw => write(to, bytes.iter().map(|b| g711::from_alaw(*b)), &mut out),
        Encoding::Mp3 | Encoding::Opus => {}
    }
    out.freeze()
}

/// Appends whole samples as floats, -1.0 to 1.0.
pub(super) fn decode(from: Encoding, bytes: &[u8], out: &mut Vec<f32>) {
    match from {
        Encoding::PcmS16le => {
            out.extend(bytes.as_chunks().0.iter().map(|b| unit(i16::from_le_bytes(*b))));
        }
        Encoding::PcmF32le => out.extend(floats(bytes)),
        Encoding::Mulaw => out.extend(bytes.iter().map(|b| unit(g711::from_mulaw(*b)))),
        Encoding::Alaw => out.extend(bytes.iter().map(|b| unit(g711::from_alaw(*b)))),
        Encoding::Mp3 | Encoding::Opus => {}
    }
}

/// Floats, written as `to`.
pub(super) fn encode(to: Encoding, samples: &[f32]) -> Bytes {
    let mut out = BytesMut::with_capacity(samples.len() * to.sample_bytes().unwrap_or(0));
    match to {
        // A resampler rings past full scale at edges of speech.
        Encoding::PcmF32le => samples.iter().for_each(|s| out.put_f32_le(s.clamp(-1.0, 1.0))),
        _ => write(to, samples.iter().map(|s| quantize(*s)), &mut out),
    }
    out.freeze()
}

fn write(to: Encoding, samples: impl Iterator<Item = i16>, out: &mut BytesMut) {
    match to {
        Encoding::PcmS16le => samples.for_each(|s| out.put_i16_le(s)),
        Encoding::PcmF32le => samples.for_each(|s| out.put_f32_le(unit(s))),
        Encoding::Mulaw => out.extend(samples.map(g711::to_mulaw)),
        Encoding::Alaw => out.extend(samples.map(g711::to_alaw)),
        Encoding::Mp3 | Encoding::Opus => {}
    }
}

/// One NaN or infinity would ring through the whole length of the resampler, so it becomes silence.
fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let samples = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
    samples.map(|s| if s.is_finite() { s } else { 0.0 })
}

fn unit(sample: i16) -> f32 {
    f32::from(sample) / SCALE
}

/// The nearest 16-bit sample; too loud is clipped.
fn quantize(sample: f32) -> i16 {
    // Adding half before a floor-like cast would be faster, and wrong below zero.
    (sample * SCALE).round() as i16
}
