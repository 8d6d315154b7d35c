//! The relay: a thin shell around `voxrelay-protocol` that waits, obeys and counts.

pub mod accept;
pub mod auth;
pub mod config;
pub mod drain;
pub mod keys;
pub mod metrics;
pub mod operator;
pub mod quota;
pub mod store;
pub mod telemetry;
pub mod transport;
pub mod voice;
