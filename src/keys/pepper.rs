//! The pepper: what a stolen store lacks. Given by the config, or kept in a 0600 file beside the store.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use voxrelay_protocol::request::Credential;
use zeroize::Zeroizing;

use super::{KeyHash, NoRandomness, fill_base62};

/// A made pepper is this many base-62 characters (256 bits and more).
const MADE: usize = 44;
/// A pepper file is at most this long, in bytes.
const LONGEST: u64 = 4096;

/// The key of the keyed hash. Neither prints nor serialises; wiped from memory when dropped.
#[derive(Clone)]
pub struct Pepper(Zeroizing<Vec<u8>>);

/// Why there is no pepper.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    /// Others may read it.
    #[error("the pepper {} may be read by others (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is too short to protect anything.
    #[error("the pepper {} is shorter than {} bytes; restore it from a backup", path.display(), Pepper::SHORTEST)]
    TooShort {
        /// The file.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("the pepper {} cannot be used: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No randomness to make one.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

impl Pepper {
    /// The shortest pepper taken, in bytes.
    pub const SHORTEST: usize = crate::config::SHORTEST_PEPPER;

    /// A pepper given by the config, which has checked its length.
    #[must_use]
    pub fn given(pepper: &Credential) -> Self {
        Self(Zeroizing::new(pepper.expose().as_bytes().to_vec()))
    }

    /// The file beside a store that keeps its pepper.
    #[must_use]
    pub fn path_beside(store: &Path) -> PathBuf {
        let mut name = store.as_os_str().to_owned();
        name.push(".pepper");
        name.into()
    }

    /// Reads the file; `None` when there is none.
    ///
    /// # Errors
    /// Others may read it, it is too short, or it cannot be read.
    pub fn read(path: &Path) -> Result<Option<Self>, PepperError> {
        let io = |source| PepperError::Io { path: path.into(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(io)?,
        };
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(PepperError::TooOpen { path: path.into(), mode });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(MADE + 1));
        file.take(LONGEST).read_to_end(&mut bytes).map_err(io)?;
        let pepper = Zeroizing::new(bytes.trim_ascii().to_vec());
        if pepper.len() < Self::SHORTEST {
            return Err(PepperError::TooShort { path: path.into() });
        }
        Ok(Some(Self(pepper)))
    }

    /// Makes the file. Whoever comes first wins; the pepper that counts is read back.
    ///
    /// # Errors
    /// The file cannot be written, or what is there cannot be used.
    pub fn make(path: &Path) -> Result<Self, PepperError> {
        let mut pepper = Zeroizing::new([0; MADE]);
        fill_base62(&mut *pepper)?;
        let draft = draft_beside(path)?;
        write_once(path, &draft, &*pepper).map_err(|source| PepperError::Io { path: path.into(), source })?;
        Self::read(path)?
            .ok_or_else(|| PepperError::Io { path: path.into(), source: ErrorKind::NotFound.into() })
    }

    /// Tells this pepper from others without giving it away; kept in the store.
    #[must_use]
    pub fn fingerprint(&self) -> KeyHash {
        KeyHash::of(b"voxrelay pepper", self)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Pepper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pepper(..)")
    }
}

fn draft_beside(path: &Path) -> Result<PathBuf, NoRandomness> {
    let mut random = [0; 8];
    fill_base62(&mut random)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", String::from_utf8_lossy(&random)));
    Ok(draft.into())
}

/// Writes a whole file at once, so that nobody can read half of it; one that is there stays.
fn write_once(path: &Path, draft: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    let linked =
        file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| {
            match std::fs::hard_link(draft, path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                linked => linked,
            }
        });
    std::fs::remove_file(draft)?;
    linked
}
