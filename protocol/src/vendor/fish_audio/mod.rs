//! Fish Audio's live socket: MessagePack both ways, one run at a time, no names.

pub mod codec;
pub mod messages;
pub mod options;
pub mod provider;
