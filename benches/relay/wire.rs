//! What both ends of the bench agree on: chunks that say when they were sent and prove that they
//! arrived whole, and the one clock they are timed by.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// 20 ms of 24 kHz 16-bit PCM, in bytes.
pub const CHUNK_BYTES: usize = 960;
/// The head of every chunk, in bytes: a multiple of three, so that it is base64 of its own.
pub const STAMP_BYTES: usize = 24;
/// Between two chunks of a stream.
pub const PERIOD: Duration = Duration::from_millis(20);

const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Nanoseconds of `CLOCK_MONOTONIC`, which all processes of a machine share.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Which chunk of which stream, and when it was handed to the fake's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub sent_ns: u64,
    pub stream: u32,
    pub number: u32,
}

impl Stamp {
    pub fn bytes(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        bytes[..8].copy_from_slice(&self.sent_ns.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.stream.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..].copy_from_slice(&self.check().to_le_bytes());
        bytes
    }

    /// `None` when it does not check.
    pub fn read(chunk: &[u8]) -> Option<Self> {
        let eight = |at: usize| Some(u64::from_le_bytes(chunk.get(at..at + 8)?.try_into().ok()?));
        let both = eight(8)?;
        let stamp = Self { sent_ns: eight(0)?, stream: both as u32, number: (both >> 32) as u32 };
        (stamp.check() == eight(16)?).then_some(stamp)
    }

    fn check(self) -> u64 {
        let which = u64::from(self.stream) << 32 | u64::from(self.number);
        (self.sent_ns ^ which.rotate_left(23)).wrapping_mul(MIX)
    }
}

/// What follows the stamp in every chunk of a stream, other than in its neighbours'.
pub fn filling(stream: u32) -> Vec<u8> {
    (0..CHUNK_BYTES - STAMP_BYTES).map(|at| (at as u32 * 31 + stream * 7) as u8).collect()
}

/// The text that asks the fake for a stream of so many chunks.
pub fn order(stream: u32, chunks: u32) -> String {
    format!("bench {stream} {chunks}")
}

/// The stream and the number of chunks a text asks for.
pub fn parse_order(text: &str) -> Option<(u32, u32)> {
    let (stream, chunks) = text.strip_prefix("bench ")?.split_once(' ')?;
    Some((stream.parse().ok()?, chunks.parse().ok()?))
}
