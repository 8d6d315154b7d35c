//! Cartesia's `tts/websocket`: many contexts on one socket, JSON both ways, audio as base64.

pub mod codec;
pub mod messages;
pub mod options;
pub mod provider;
