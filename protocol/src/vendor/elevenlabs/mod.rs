//! ElevenLabs' text-to-speech sockets, JSON both ways with audio as base64: `multi-stream-input`
//! carries several contexts, `stream-input` one utterance and is closed behind it.

pub mod alignment;
pub mod codec;
mod faults;
pub mod messages;
pub mod options;
pub mod provider;
mod turn;
