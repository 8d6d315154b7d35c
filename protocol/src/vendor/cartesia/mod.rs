//! Cartesia (stub).
pub mod provider;
