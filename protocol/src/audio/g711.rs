//! G.711 by table: mu-law and A-law companding of 16-bit samples (ITU-T G.711, tables 1 and 2).
//!
//! Compressing looks only at the magnitude: a negative sample is complemented bit by bit, as in the
//! ITU's own reference software (G.191), so that the two halves are mirror images.

/// By magnitude / 4 (mu-law is defined on 14 bits): the code of a positive sample.
static TO_MULAW: [u8; 8192] = mulaw_codes();
/// By magnitude / 8 (A-law is defined on 13 bits): the code of a positive sample.
static TO_ALAW: [u8; 4096] = alaw_codes();
static FROM_MULAW: [i16; 256] = mulaw_samples();
static FROM_ALAW: [i16; 256] = alaw_samples();

const SIGN: u8 = 0x80;
/// Every other bit of an A-law code is inverted on the line.
const ALAW_LINE: u8 = 0x55;
/// Moves the ends of the mu-law segments onto powers of two.
const MULAW_BIAS: u32 = 33;
/// The largest biased 14-bit magnitude that has a code.
const MULAW_CLIP: u32 = 0x1FFF;

pub(super) fn to_mulaw(sample: i16) -> u8 {
    let (magnitude, sign) = split(sample);
    TO_MULAW[magnitude >> 2] ^ sign
}

pub(super) fn to_alaw(sample: i16) -> u8 {
    let (magnitude, sign) = split(sample);
    TO_ALAW[magnitude >> 3] ^ sign
}

pub(super) fn from_mulaw(code: u8) -> i16 {
    FROM_MULAW[code as usize]
}

pub(super) fn from_alaw(code: u8) -> i16 {
    FROM_ALAW[code as usize]
}

/// Magnitude (0..=32767) and what a negative sign does to a positive code.
fn split(sample: i16) -> (usize, u8) {
    let mask = sample >> 15;
    ((sample ^ mask) as usize, mask as u8 & SIGN)
}

const fn mulaw_codes() -> [u8; 8192] {
    let mut codes = [0; 8192];
    let mut magnitude = 0;
    while magnitude < codes.len() {
        let mut biased = magnitude as u32 + MULAW_BIAS;
        if biased > MULAW_CLIP {
            biased = MULAW_CLIP;
        }
        let segment = biased.ilog2() - 5;
        let step = (biased >> (segment + 1)) & 0xF;
        codes[magnitude] = 0xFF - (segment << 4 | step) as u8;
        magnitude += 1;
    }
    codes
}

const fn mulaw_samples() -> [i16; 256] {
    let mut samples = [0; 256];
    let mut code = 0;
    while code < samples.len() {
        let bits = 0x7F - (code as u32 & 0x7F);
        let magnitude = ((2 * (bits & 0xF) + MULAW_BIAS) << (bits >> 4)) - MULAW_BIAS;
        let sample = (magnitude * 4) as i16;
        samples[code] = if code as u8 & SIGN == 0 { -sample } else { sample };
        code += 1;
    }
    samples
}

const fn alaw_codes() -> [u8; 4096] {
    let mut codes = [0; 4096];
    let mut magnitude = 0;
    while magnitude < codes.len() {
        // The first two segments have the same step, so the first is a segment without a leading one.
        let segment = if magnitude < 32 { 0 } else { (magnitude as u32).ilog2() - 4 };
        let shift = if segment == 0 { 1 } else { segment };
        let step = (magnitude as u32 >> shift) & 0xF;
        codes[magnitude] = ((segment << 4 | step) as u8 | SIGN) ^ ALAW_LINE;
        magnitude += 1;
    }
    codes
}

const fn alaw_samples() -> [i16; 256] {
    let mut samples = [0; 256];
    let mut code = 0;
    while code < samples.len() {
        let bits = (code as u8 ^ ALAW_LINE) as u32 & 0x7F;
        let (segment, step) = (bits >> 4, bits & 0xF);
        let magnitude = if segment == 0 { 2 * step + 1 } else { (2 * step + 33) << (segment - 1) };
        let sample = (magnitude * 8) as i16;
        samples[code] = if code as u8 & SIGN == 0 { -sample } else { sample };
        code += 1;
    }
    samples
}
