//! Audio formats, and the way from one to another. Everything is mono.

mod convert;
mod g711;
mod resample;
mod samples;
mod wav;

pub use convert::{Converter, available, unknown};

use serde::{Deserialize, Serialize};

/// How one sample is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Signed 16-bit little-endian.
    PcmS16le,
    /// 32-bit float little-endian, -1.0 to 1.0.
    PcmF32le,
    /// G.711 mu-law.
    Mulaw,
    /// G.711 A-law.
    Alaw,
    /// MPEG-1/2 layer III.
    Mp3,
    /// Opus.
    Opus,
}

impl Encoding {
    /// As written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PcmS16le => "pcm_s16le",
            Self::PcmF32le => "pcm_f32le",
            Self::Mulaw => "mulaw",
            Self::Alaw => "alaw",
            Self::Mp3 => "mp3",
            Self::Opus => "opus",
        }
    }

    /// Bytes of one sample; `None` where samples have no fixed size.
    #[must_use]
    pub const fn sample_bytes(self) -> Option<usize> {
        match self {
            Self::PcmS16le => Some(2),
            Self::PcmF32le => Some(4),
            Self::Mulaw | Self::Alaw => Some(1),
            Self::Mp3 | Self::Opus => None,
        }
    }
}

/// What is around the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Container {
    /// Nothing.
    #[default]
    Raw,
    /// A RIFF/WAVE header before the first sample, its lengths left open (0xFFFFFFFF).
    Wav,
    /// Ogg pages.
    Ogg,
}

impl Container {
    /// As written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Wav => "wav",
            Self::Ogg => "ogg",
        }
    }
}

/// A mono audio format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AudioFormat {
    /// How a sample is written.
    pub encoding: Encoding,
    /// Samples per second, in Hz.
    pub sample_rate: u32,
    /// What is around the samples.
    #[serde(default)]
    pub container: Container,
}

impl Default for AudioFormat {
    /// Raw `pcm_s16le` at 24,000 Hz.
    fn default() -> Self {
        Self::raw(Encoding::PcmS16le, 24_000)
    }
}

impl AudioFormat {
    /// A format without a container.
    #[must_use]
    pub const fn raw(encoding: Encoding, sample_rate: u32) -> Self {
        Self { encoding, sample_rate, container: Container::Raw }
    }

    /// Audio bytes per second; `None` where they vary.
    #[must_use]
    pub fn bytes_per_second(&self) -> Option<u64> {
        Some(self.encoding.sample_bytes()? as u64 * u64::from(self.sample_rate))
    }

    /// The duration of that many audio bytes, in ms, rounded down; 0 where it cannot be told.
    #[must_use]
    pub fn ms(&self, bytes: u64) -> u64 {
        self.bytes_per_second().map_or(0, |rate| bytes.saturating_mul(1000) / rate.max(1))
    }
}
