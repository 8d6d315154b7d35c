//! The RIFF/WAVE header of a stream whose length nobody knows yet.

use bytes::{BufMut, Bytes, BytesMut};

use super::{AudioFormat, Container, Encoding};

/// What a length says when it is not known; players then read to the end.
const OPEN: u32 = u32::MAX;
/// Header of PCM: RIFF 12, `fmt ` 8 + 16, `data` 8 bytes.
const PCM_BYTES: usize = 44;
/// Header of anything else: `fmt ` ends with an extension size (2 bytes) and a `fact` chunk (12) follows.
const OTHER_BYTES: usize = PCM_BYTES + 2 + 12;

impl AudioFormat {
    /// Bytes that stand before the first sample of a stream in this format: 44 or 58 for WAV, else 0.
    /// They are no audio: positions in ms are counted without them.
    #[must_use]
    pub fn header_bytes(&self) -> usize {
        match (self.container, wave_format(self.encoding)) {
            (Container::Wav, Some(1)) => PCM_BYTES,
            (Container::Wav, Some(_)) => OTHER_BYTES,
            _ => 0,
        }
    }
}

/// The header of a mono stream; empty where the format has none.
pub(super) fn header(format: &AudioFormat) -> Bytes {
    let (Container::Wav, Some(tag), Some(sample)) =
        (format.container, wave_format(format.encoding), format.encoding.sample_bytes())
    else {
        return Bytes::new();
    };
    let sample = sample as u16;
    let mut out = BytesMut::with_capacity(OTHER_BYTES);
    out.put_slice(b"RIFF");
    out.put_u32_le(OPEN);
    out.put_slice(b"WAVEfmt ");
    out.put_u32_le(if tag == 1 { 16 } else { 18 });
    out.put_u16_le(tag);
    out.put_u16_le(1);
    out.put_u32_le(format.sample_rate);
    out.put_u32_le(format.sample_rate * u32::from(sample));
    out.put_u16_le(sample);
    out.put_u16_le(sample * 8);
    if tag != 1 {
        out.put_u16_le(0);
        out.put_slice(b"fact");
        out.put_u32_le(4);
        out.put_u32_le(OPEN);
    }
    out.put_slice(b"data");
    out.put_u32_le(OPEN);
    out.freeze()
}

/// The registered WAVE format number.
const fn wave_format(encoding: Encoding) -> Option<u16> {
    match encoding {
        Encoding::PcmS16le => Some(1),
        Encoding::PcmF32le => Some(3),
        Encoding::Alaw => Some(6),
        Encoding::Mulaw => Some(7),
        Encoding::Mp3 | Encoding::Opus => None,
    }
}
