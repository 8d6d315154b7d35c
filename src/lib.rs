//! The relay: a thin shell around `voxrelay-protocol` that waits, obeys and counts.

pub mod accept;
mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod drain;
pub mod keys;
pub mod lease;
pub mod link;
pub mod metrics;
pub mod operator;
mod outbox;
pub mod pool;
pub mod quota;
mod relay;
mod server;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod transport;
pub mod voice;
mod voices;

pub use relay::{FirstKey, Relay, StartError};
