//! The command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("voice-worker") => voxrelay::voice::worker::worker_main(),
        _ => ExitCode::from(2),
    }
}
