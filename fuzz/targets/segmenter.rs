#![no_main]

#[allow(dead_code)] // each target uses its own part
#[path = "../src/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::segmenter(data));
