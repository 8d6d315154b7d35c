//! Sessions: who came in, who was refused, how it ended.

use std::sync::LazyLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};
use voxrelay_protocol::{FaultCode, QuotaScope};

use super::catalogue as row;
use super::labels::{
    AuthResult, AuthWay, CloseCode, ClosedBy, Dialect, Label, Limit, StoreOp, UpgradeResult,
};
use super::recorder::{Family, counter, gauge, histogram};
use super::upstream::Held;

struct Sessions {
    open: Family<Dialect, Gauge>,
    total: Family<Dialect, Family<AuthWay, Counter>>,
    refusals: Family<FaultCode, Counter>,
    frames_refused: Family<FaultCode, Counter>,
    closes: Family<CloseCode, Family<ClosedBy, Counter>>,
    seconds: Family<ClosedBy, Histogram>,
    upgrades: Family<UpgradeResult, Histogram>,
    auth: Family<AuthResult, Counter>,
    auth_seconds: Histogram,
    quota: Family<Limit, Family<QuotaScope, Counter>>,
    leases: Gauge,
    store: Family<StoreOp, Histogram>,
    store_errors: Family<StoreOp, Counter>,
}

static SESSIONS: LazyLock<Sessions> = LazyLock::new(|| Sessions {
    open: Family::new(|dialect: Dialect| gauge(&row::SESSIONS, &[dialect.text()])),
    total: Family::new(|dialect: Dialect| {
        Family::new(|auth: AuthWay| counter(&row::SESSIONS_TOTAL, &[dialect.text(), auth.text()]))
    }),
    refusals: Family::new(|code: FaultCode| counter(&row::SESSION_REFUSALS, &[code.text()])),
    frames_refused: Family::new(|code: FaultCode| counter(&row::FRAMES_REFUSED, &[code.text()])),
    closes: Family::new(|code: CloseCode| {
        Family::new(|by: ClosedBy| counter(&row::SESSION_CLOSES, &[code.text(), by.text()]))
    }),
    seconds: Family::new(|by: ClosedBy| histogram(&row::SESSION_SECONDS, &[by.text()])),
    upgrades: Family::new(|result: UpgradeResult| histogram(&row::UPGRADE_SECONDS, &[result.text()])),
    auth: Family::new(|result: AuthResult| counter(&row::AUTH_ATTEMPTS, &[result.text()])),
    auth_seconds: histogram(&row::AUTH_SECONDS, &[]),
    quota: Family::new(|limit: Limit| {
        Family::new(|scope: QuotaScope| counter(&row::QUOTA_REFUSALS, &[limit.text(), scope.text()]))
    }),
    leases: gauge(&row::LEASES, &[]),
    store: Family::new(|op: StoreOp| histogram(&row::STORE_SECONDS, &[op.text()])),
    store_errors: Family::new(|op: StoreOp| counter(&row::STORE_ERRORS, &[op.text()])),
});

pub(super) fn expose_sessions() {
    LazyLock::force(&SESSIONS);
}

/// A session became ready; it is open until the guard is dropped.
pub fn session_opened(dialect: Dialect, auth: AuthWay) -> Held {
    SESSIONS.total.of(dialect).of(auth).increment(1);
    Held::one(SESSIONS.open.of(dialect))
}

/// A WebSocket was closed, ready or not, after this long.
pub fn session_closed(code: CloseCode, by: ClosedBy, lasted: Duration) {
    SESSIONS.closes.of(code).of(by).increment(1);
    SESSIONS.seconds.of(by).record(lasted);
}

/// A session or request was refused before it could do anything.
pub fn session_refused(code: FaultCode) {
    SESSIONS.refusals.of(code).increment(1);
}

/// A client message was answered with an error.
pub fn frame_refused(code: FaultCode) {
    SESSIONS.frames_refused.of(code).increment(1);
}

/// A WebSocket upgrade was answered.
pub fn upgraded(result: UpgradeResult, took: Duration) {
    SESSIONS.upgrades.of(result).record(took);
}

/// A key was checked.
pub fn auth_attempt(result: AuthResult, took: Duration) {
    SESSIONS.auth.of(result).increment(1);
    SESSIONS.auth_seconds.record(took);
}

/// A quota said no.
pub fn quota_refused(limit: Limit, scope: QuotaScope) {
    SESSIONS.quota.of(limit).of(scope).increment(1);
}

/// A quota lease is held until the guard is dropped.
pub fn lease_taken() -> Held {
    Held::one(&SESSIONS.leases)
}

/// The key store did something, well or not.
pub fn store_used(op: StoreOp, took: Duration, ok: bool) {
    SESSIONS.store.of(op).record(took);
    if !ok {
        SESSIONS.store_errors.of(op).increment(1);
    }
}
