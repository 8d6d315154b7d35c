#![no_main]

use voxrelay::keys::Secret;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(secret) = Secret::parse(text) {
        assert_eq!(secret.expose(), text);
    }
});
