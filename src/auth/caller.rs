//! A caller who was let in.

use std::sync::Arc;
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;
use voxrelay_protocol::{Fault, FaultCode};

use crate::config::{DEFAULT_NAME, Plan};
use crate::keys::Scope;
use crate::store::{DEFAULT_ORG, KeyRecord};

/// A caller who was let in: what their key allows, as it stood when they came.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The key's id; absent in open mode.
    pub key: Option<Arc<str>>,
    /// The organisation's name.
    pub org: Arc<str>,
    /// The organisation's plan.
    pub plan: Arc<str>,
    /// What the key may do.
    pub scopes: Vec<Scope>,
    /// The only voices it may use; every voice when absent.
    pub voices: Option<Vec<String>>,
    /// Streams at once on the key.
    pub key_streams: u64,
    /// Streams at once on the organisation.
    pub org_streams: u64,
    /// When the key stops working.
    pub expires: Option<SystemTime>,
    /// Cancelled when the key is revoked or expires: sessions end their streams then. Works as long as
    /// the caller itself is held, not only the token.
    pub revoked: CancellationToken,
    /// The key's own caller behind the bearer of a token: as long as it is held, word of a revocation
    /// reaches `revoked`.
    pub behind: Option<Arc<Caller>>,
}

impl Caller {
    /// The caller of open mode: no key, and the limit of the plan `default` on everybody together.
    #[must_use]
    pub fn open(plan: &Plan) -> Self {
        Self {
            key: None,
            org: DEFAULT_ORG.into(),
            plan: DEFAULT_NAME.into(),
            scopes: Scope::ALL.to_vec(),
            voices: None,
            key_streams: plan.streams,
            org_streams: plan.streams,
            expires: None,
            revoked: CancellationToken::new(),
            behind: None,
        }
    }

    /// The holder of a key on this plan. A limit of the key or the organisation goes before the plan's.
    pub(super) fn holder(key: KeyRecord, plan: &Plan, revoked: CancellationToken) -> Self {
        Self {
            key: Some(key.id.into()),
            org: key.org.into(),
            plan: key.plan.into(),
            scopes: key.scopes,
            voices: key.voices,
            key_streams: key.streams.unwrap_or(plan.streams),
            org_streams: key.org_streams.unwrap_or(plan.streams),
            expires: key.expires,
            revoked,
            behind: None,
        }
    }

    /// Whether the key may do this.
    ///
    /// # Errors
    /// `forbidden`, naming the scope.
    pub fn may(&self, scope: Scope) -> Result<(), Fault> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        Err(Fault::new(FaultCode::Forbidden, format!("this key lacks the scope {}", scope.as_str())))
    }

    /// Whether the key may use the voice of that name.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn may_use_voice(&self, name: &str) -> Result<(), Fault> {
        match &self.voices {
            Some(voices) if !voices.iter().any(|voice| voice == name) => {
                Err(Fault::new(FaultCode::Forbidden, "this key may not use that voice"))
            }
            _ => Ok(()),
        }
    }
}
