//! What is in the frames.

/// The header of a tagged frame.
pub struct Tag {
    pub index: u64,
    pub last: bool,
    pub position: u64,
}

impl Tag {
    /// Reads it from a frame.
    pub fn of(frame: &[u8]) -> Self {
        let flags = u16::from_be_bytes([frame[2], frame[3]]);
        assert!(flags <= 1, "unknown flags {flags}");
        Self {
            index: u16::from_be_bytes([frame[0], frame[1]]).into(),
            last: flags == 1,
            position: u64::from_be_bytes(frame[4..12].try_into().unwrap()),
        }
    }
}

/// The loudest sample of 16 bits.
pub fn loudest(audio: &[u8]) -> u16 {
    let samples = audio.as_chunks::<2>().0.iter();
    samples.map(|bytes| i16::from_le_bytes(*bytes).unsigned_abs()).max().unwrap_or(0)
}
