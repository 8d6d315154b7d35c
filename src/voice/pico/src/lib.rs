//! SVOX Pico, the speech engine, with its six voices inside. Owns the language data and the one
//! unsafe call that the engine's bindings ask for; knows nothing of the relay.

use std::io::{self, Write};
use std::path::Path;

pub use ttspico::{Engine, EngineResetMode, EngineStatus, PicoError};
use ttspico::{System, Voice};

/// What the engine makes: 16-bit mono samples per second, in Hz.
pub const SAMPLE_RATE: u32 = 16_000;

/// Memory the engine works in, in bytes: the largest voice (fr-FR, 1.2 MB of data) with room.
const MEMORY: usize = 4 << 20;

/// One voice's language data. Made by this crate alone, so that the two halves always fit.
#[derive(Clone, Copy)]
pub struct Data {
    name: &'static str,
    text: &'static [u8],
    signal: &'static [u8],
}

/// Every voice; the first is the default.
pub const VOICES: &[Data] = include!(concat!(env!("OUT_DIR"), "/voices.rs"));

/// Why an engine could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The voice's data cannot be written to a temporary file, which the engine reads it from.
    Data(io::Error),
    /// The engine refuses.
    Engine(PicoError),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Data(error)
    }
}

impl From<PicoError> for OpenError {
    fn from(error: PicoError) -> Self {
        Self::Engine(error)
    }
}

impl Data {
    /// The voice of that name (a language tag, for example `en-US`).
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        VOICES.iter().find(|voice| voice.name == name)
    }

    /// Its language tag, which is also its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// An engine that speaks with this voice. One engine per thread.
    ///
    /// # Errors
    /// The temporary folder cannot be written, or the engine refuses the data.
    pub fn open(&self) -> Result<Engine, OpenError> {
        // The engine loads by path, the path must end in `.bin`, and it reads the whole file at
        // once: the folder (0700) lives no longer than this function.
        let folder = tempfile::Builder::new().prefix("voxrelay-voice-").tempdir()?;
        let text = write(folder.path(), "text.bin", self.text)?;
        let signal = write(folder.path(), "signal.bin", self.signal)?;
        Ok(engine(&text, &signal)?)
    }
}

fn write(folder: &Path, name: &str, data: &[u8]) -> io::Result<String> {
    let path = folder.join(name);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&path)?.write_all(data)?;
    path.into_os_string().into_string().map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))
}

fn engine(text: &str, signal: &str) -> Result<Engine, PicoError> {
    let system = System::new(MEMORY)?;
    let text = System::load_resource(system.clone(), text)?;
    let signal = System::load_resource(system.clone(), signal)?;
    let voice = System::create_voice(system, "voice")?;
    voice.borrow_mut().add_resource(text)?;
    voice.borrow_mut().add_resource(signal)?;
    // SAFETY: the bindings ask that a voice has a text and a signal resource before an engine is
    // made of it. `Data` holds one of each, both were added above, and the voice keeps them alive
    // for as long as the engine.
    #[allow(unsafe_code)]
    unsafe {
        Voice::create_engine(voice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_voice_opens() {
        for voice in VOICES {
            voice.open().unwrap();
        }
    }
}
