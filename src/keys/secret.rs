//! The secret of a key: `sk-`, 26 random base-62 characters, and their CRC-32 as six more.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::{ALPHABET, NoRandomness, Pepper, fill_base62};

const PREFIX: &[u8] = b"sk-";
const RANDOM: usize = 26;
const CHECK: usize = 6;
const BODY: usize = PREFIX.len() + RANDOM;
const LENGTH: usize = BODY + CHECK;

/// Why a text is no key, told without a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Not `sk-` and 32 characters of `[0-9A-Za-z]`.
    #[error("a key is \"sk-\" and 32 letters or digits")]
    Malformed,
    /// The right shape, but a character is wrong: its check does not fit.
    #[error("the key has a typo: its last six characters do not fit the rest")]
    Checksum,
}

/// A relay key's secret. Neither prints nor serialises; wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret([u8; LENGTH]);

impl Secret {
    /// A fresh secret.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut secret = Self([0; LENGTH]);
        secret.0[..PREFIX.len()].copy_from_slice(PREFIX);
        fill_base62(&mut secret.0[PREFIX.len()..BODY])?;
        let check = check(&secret.0[PREFIX.len()..BODY]);
        secret.0[BODY..].copy_from_slice(&check);
        Ok(secret)
    }

    /// Reads a secret; costs no look-up.
    ///
    /// # Errors
    /// The text has not the shape of a key, or its check does not fit.
    pub fn parse(text: &str) -> Result<Self, KeyFault> {
        let bytes: [u8; LENGTH] = text.as_bytes().try_into().map_err(|_| KeyFault::Malformed)?;
        let secret = Self(bytes);
        let body = secret.0.strip_prefix(PREFIX).ok_or(KeyFault::Malformed)?;
        if !body.iter().all(u8::is_ascii_alphanumeric) {
            return Err(KeyFault::Malformed);
        }
        let (random, told) = body.split_at(RANDOM);
        if check(random) == told { Ok(secret) } else { Err(KeyFault::Checksum) }
    }

    /// The secret itself, to show it once to its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        // Only ASCII gets in, through `generate` and `parse`.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// What the store knows of it: HMAC-SHA-256 under the pepper.
    #[must_use]
    pub fn hash(&self, pepper: &Pepper) -> KeyHash {
        KeyHash::of(&self.0, pepper)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The CRC-32 as six base-62 characters, most significant first, padded with `0`.
fn check(random: &[u8]) -> [u8; CHECK] {
    let mut rest = crc32fast::hash(random);
    let mut out = [ALPHABET[0]; CHECK];
    for place in out.iter_mut().rev() {
        *place = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    out
}

/// A keyed hash. Equality takes the same time whatever differs.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    pub(super) fn of(message: &[u8], pepper: &Pepper) -> Self {
        let mut mac = match Hmac::<Sha256>::new_from_slice(pepper.bytes()) {
            Ok(mac) => mac,
            Err(_) => unreachable!("HMAC takes a key of any length"),
        };
        mac.update(message);
        Self(mac.finalize().into_bytes().into())
    }

    /// The hash as it was stored; `None` when it is not 32 bytes.
    #[must_use]
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl std::hash::Hash for KeyHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}
