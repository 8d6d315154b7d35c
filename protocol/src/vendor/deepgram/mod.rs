//! Deepgram's speech sockets, commands as JSON and audio as bare binary frames: `v1` (Aura) runs one
//! stream after another, `v2` (Flux) keeps the voice's mood from turn to turn and is used once.

pub mod codec;
pub mod faults;
pub mod messages;
pub mod options;
pub mod provider;
mod turn;
