//! The embedded voice: a child process of the relay's own binary that turns text into speech. The
//! engine is C that parses what clients send, so it never runs inside the relay.

#[cfg(feature = "embedded-voice")]
mod engine;
#[cfg(feature = "embedded-voice")]
mod inbox;
#[cfg(feature = "embedded-voice")]
mod plain;
#[cfg(feature = "embedded-voice")]
pub mod worker;

/// Whether this binary was built with the embedded voice.
pub const AVAILABLE: bool = cfg!(feature = "embedded-voice");

#[cfg(not(feature = "embedded-voice"))]
pub mod worker {
    //! The worker of a binary without a voice.

    /// Says that there is none.
    #[must_use]
    pub fn worker_main() -> std::process::ExitCode {
        eprintln!("voxrelay: built without the feature `embedded-voice`");
        std::process::ExitCode::FAILURE
    }
}
