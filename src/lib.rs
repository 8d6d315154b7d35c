//! The relay: a thin shell around `voxrelay-protocol` that waits, obeys and counts.

pub mod auth;
pub mod cli;
pub mod config;
pub mod drain;
pub mod keys;
pub mod quota;
pub mod store;
