//! One folder per wire protocol: `messages.rs` shared by both ends, `provider.rs` (what we speak to
//! it), `dialect.rs` (what we speak as it).

pub mod cartesia;
pub mod deepgram;
pub mod elevenlabs;
pub mod embedded;
pub mod fish_audio;
pub mod native;
pub mod rime;

mod address;
mod runs;
mod track;
