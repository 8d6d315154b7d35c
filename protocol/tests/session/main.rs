//! Conversations with a session, played through without waiting: what goes in, and exactly what
//! comes out.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod cancel;
mod failover;
mod harness;
mod leave;
mod pace;
mod refuse;
mod silence;
mod turn;
