//! The relay: a thin shell around `voxrelay-protocol` that waits, obeys and counts.

pub mod config;
pub mod drain;
pub mod transport;
pub mod voice;
