//! Embedded voice (stub).
pub mod provider;
