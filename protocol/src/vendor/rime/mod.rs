//! Rime's sockets: `/ws3` and `/ws2` (JSON, one synthesis at a time), `/ws` (bare text in, bare audio
//! out) and the newer v1 socket (many contexts).

pub mod faults;
pub mod json;
pub mod messages;
pub mod options;
pub mod plain;
pub mod provider;
pub mod v1;
