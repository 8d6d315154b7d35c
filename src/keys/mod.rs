//! Relay keys: the shape of a secret, its keyed hash, and the pepper that keys it. Knows nothing of
//! who holds a key; that is the store's business.

mod pepper;
mod scope;
mod secret;

pub use pepper::{Pepper, PepperError};
pub use scope::Scope;
pub use secret::{KeyFault, KeyHash, Secret};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes: {0}")]
pub struct NoRandomness(#[from] getrandom::Error);

/// A fresh public id of a key: `key_` and 16 random base-62 characters.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_key_id() -> Result<String, NoRandomness> {
    Ok(format!("key_{}", random_base62(16)?))
}

/// That many random base-62 characters.
///
/// # Errors
/// The system gives no random bytes.
pub fn random_base62(length: usize) -> Result<String, NoRandomness> {
    let mut random = vec![0; length];
    fill_base62(&mut random)?;
    Ok(String::from_utf8_lossy(&random).into_owned())
}

/// Fills `out` with uniformly random base-62 characters.
fn fill_base62(out: &mut [u8]) -> Result<(), NoRandomness> {
    // A byte from 248 on would favour the first characters of the alphabet: it is thrown away.
    const FAIR: u8 = 248;
    let mut pool = zeroize::Zeroizing::new([0u8; 64]);
    let mut filled = 0;
    while filled < out.len() {
        getrandom::fill(&mut *pool)?;
        for byte in pool.iter().filter(|byte| **byte < FAIR).take(out.len() - filled) {
            out[filled] = ALPHABET[usize::from(byte % 62)];
            filled += 1;
        }
    }
    Ok(())
}
