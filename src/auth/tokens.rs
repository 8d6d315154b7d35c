//! Single-use, short-lived tokens: for browsers and bridges, which must not hold a key. They live in
//! this process: another relay does not know them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;
use voxrelay_protocol::{Fault, FaultCode};

use super::Caller;
use crate::keys::{Scope, random_base62};

/// What a token begins with; a key begins otherwise.
pub const PREFIX: &str = "vt-";
/// The longest life of a token.
pub const LONGEST: Duration = Duration::from_secs(60);
/// Random characters: 190 bits.
const RANDOM: usize = 32;
/// Unused tokens at once on this relay; when full, new ones are refused.
const TOKENS: usize = 10_000;

/// The tokens that have not been used yet. Holds their hashes, so a copy of the memory is no use.
#[derive(Debug, Default)]
pub struct Tokens {
    waiting: Mutex<HashMap<[u8; 32], Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    caller: Arc<Caller>,
    until: Instant,
}

impl Tokens {
    /// A token for this caller, good once within `life`; with `voices` for these only.
    ///
    /// # Errors
    /// `forbidden` when the caller may not speak or not with these voices, `overloaded` when too many
    /// tokens wait to be used.
    pub fn issue(
        &self,
        caller: &Arc<Caller>,
        life: Duration,
        voices: Option<Vec<String>>,
        now: Instant,
    ) -> Result<String, Fault> {
        let caller = Arc::new(restricted(caller, voices)?);
        let random = random_base62(RANDOM)
            .map_err(|_| Fault::new(FaultCode::Internal, "the system gives no random bytes"))?;
        let token = format!("{PREFIX}{random}");
        let mut waiting = self.waiting();
        if waiting.len() >= TOKENS {
            waiting.retain(|_, token| token.until > now);
        }
        if waiting.len() >= TOKENS {
            let fault = Fault::new(FaultCode::Overloaded, "too many tokens wait to be used");
            return Err(fault.retry_after(1000));
        }
        waiting.insert(hash(&token), Waiting { caller, until: now + life.min(LONGEST) });
        Ok(token)
    }

    /// Uses a token up: the first to come gets its caller, everybody else nothing.
    pub fn redeem(&self, token: &str, now: Instant) -> Option<Arc<Caller>> {
        let used = self.waiting().remove(&hash(token))?;
        (used.until > now).then_some(used.caller)
    }

    /// What this mutex guards is whole between any two statements, so a panic elsewhere spoils nothing.
    fn waiting(&self) -> MutexGuard<'_, HashMap<[u8; 32], Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the bearer of a token may: speak, with the voices asked for among those of the key.
fn restricted(caller: &Arc<Caller>, voices: Option<Vec<String>>) -> Result<Caller, Fault> {
    caller.may(Scope::Synthesize)?;
    for voice in voices.iter().flatten() {
        caller.may_use_voice(voice)?;
    }
    Ok(Caller {
        scopes: vec![Scope::Synthesize],
        voices: voices.or_else(|| caller.voices.clone()),
        behind: Some(caller.clone()),
        ..(**caller).clone()
    })
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Plan;

    #[test]
    fn a_token_is_good_once_and_only_in_its_time() {
        let (tokens, caller, now) = (Tokens::default(), caller(None), Instant::now());
        let token = tokens.issue(&caller, Duration::from_secs(5), None, now).unwrap();
        assert!(token.starts_with(PREFIX) && token.len() == PREFIX.len() + RANDOM);
        assert!(tokens.redeem("vt-00000000000000000000000000000000", now).is_none());
        assert!(tokens.redeem(&token, now).is_some());
        assert!(tokens.redeem(&token, now).is_none(), "a second use");
        let late = tokens.issue(&caller, Duration::from_secs(3600), None, now).unwrap();
        assert!(tokens.redeem(&late, now + LONGEST).is_none(), "no token lives longer than a minute");
    }

    #[test]
    fn a_token_can_do_no_more_than_its_key_and_only_speak() {
        let (tokens, now) = (Tokens::default(), Instant::now());
        let limited = caller(Some(vec!["a".into(), "b".into()]));
        let life = Duration::from_secs(5);
        assert!(tokens.issue(&limited, life, Some(vec!["c".into()]), now).is_err());
        let token = tokens.issue(&limited, life, Some(vec!["b".into()]), now).unwrap();
        let bearer = tokens.redeem(&token, now).unwrap();
        assert!(bearer.may_use_voice("b").is_ok() && bearer.may_use_voice("a").is_err());
        assert!(bearer.may(Scope::Synthesize).is_ok() && bearer.may(Scope::VoicesRead).is_err());
        assert!(tokens.issue(&bearer, life, Some(vec!["a".into()]), now).is_err());
    }

    #[test]
    fn unused_tokens_are_bounded_and_those_out_of_time_make_room() {
        let (tokens, caller, now) = (Tokens::default(), caller(None), Instant::now());
        for _ in 0..TOKENS {
            tokens.issue(&caller, LONGEST, None, now).unwrap();
        }
        assert_eq!(tokens.issue(&caller, LONGEST, None, now).unwrap_err().code, FaultCode::Overloaded);
        assert!(tokens.issue(&caller, LONGEST, None, now + LONGEST).is_ok());
    }

    fn caller(voices: Option<Vec<String>>) -> Arc<Caller> {
        Arc::new(Caller { voices, ..Caller::open(&Plan::default()) })
    }
}
