#![no_main]

use voxrelay::config::Config;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A secret's file may be any file of this machine.
    if text.contains("file") {
        return;
    }
    match Config::parse(text, []) {
        Ok(config) => assert!(!config.describe().is_empty()),
        Err(faults) => assert!(!faults.is_empty()),
    }
});
