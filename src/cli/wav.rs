//! The WAV file that `say` writes. The relay sends the header with open lengths; they are filled in
//! when all of it is there.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use voxrelay_protocol::{AudioFormat, Container, Encoding};

/// A WAV file being written, or standard output, which cannot be filled in afterwards.
pub struct WavFile {
    file: Option<BufWriter<File>>,
    format: AudioFormat,
    bytes: u64,
}

impl WavFile {
    /// Creates the file; `-` is standard output. `format` must have the container `wav`.
    pub fn create(path: &Path, format: AudioFormat) -> io::Result<Self> {
        debug_assert_eq!(format.container, Container::Wav);
        let file = if path == Path::new("-") { None } else { Some(BufWriter::new(File::create(path)?)) };
        Ok(Self { file, format, bytes: 0 })
    }

    /// Appends what the relay sent.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => io::stdout().write_all(bytes),
        }
    }

    /// Fills in the lengths.
    pub fn finish(self) -> io::Result<()> {
        let header = self.format.header_bytes() as u64;
        let Some(mut file) = self.file else { return io::stdout().flush() };
        let length = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
        let audio = self.bytes.saturating_sub(header);
        let mut put = |at: u64, value: [u8; 4]| -> io::Result<()> {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&value)
        };
        put(4, length(self.bytes.saturating_sub(8)))?;
        if self.format.encoding != Encoding::PcmS16le {
            // The `fact` chunk counts samples; it stands right before `data`.
            put(header - 12, length(audio / self.format.encoding.sample_bytes().unwrap_or(1) as u64))?;
        }
        put(header - 4, length(audio))?;
        file.flush()
    }
}
