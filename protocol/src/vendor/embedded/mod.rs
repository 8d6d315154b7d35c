//! The embedded voice: the relay's own speech engine, in a child process.

pub mod messages;
pub mod provider;
