//! The native protocol: `GET /v1/stream`, described for client authors in the crate's README.

pub mod client;
pub mod dialect;
pub mod fields;
pub mod messages;
