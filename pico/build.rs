//! Takes the language data out of the engine's package, where its authors keep it without exporting
//! it, so that the crate can carry it inside.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Text analysis and signal generation data of each voice, by their file names in the package.
const VOICES: [(&str, &str, &str); 6] = [
    ("en-US", "en-US_ta.bin", "en-US_lh0_sg.bin"),
    ("en-GB", "en-GB_ta.bin", "en-GB_kh0_sg.bin"),
    ("de-DE", "de-DE_ta.bin", "de-DE_gl0_sg.bin"),
    ("es-ES", "es-ES_ta.bin", "es-ES_zl0_sg.bin"),
    ("fr-FR", "fr-FR_ta.bin", "fr-FR_nk0_sg.bin"),
    ("it-IT", "it-IT_ta.bin", "it-IT_cm0_sg.bin"),
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let data = package(&out).join("build/pico/lang");
    let mut table = String::from("&[\n");
    for (name, text, signal) in VOICES {
        let [text, signal] = [text, signal].map(|file| keep(&data.join(file), &out.join(file)));
        table += &format!(
            "Data {{ name: {name:?}, text: include_bytes!({text:?}), signal: include_bytes!({signal:?}) }},\n"
        );
    }
    fs::write(out.join("voices.rs"), table + "]").expect("OUT_DIR can be written");
}

/// Copies one file, so that the build directory needs nothing outside itself afterwards.
fn keep(from: &Path, to: &Path) -> String {
    if let Err(error) = fs::copy(from, to) {
        panic!("the voice data {} cannot be copied: {error}", from.display());
    }
    to.display().to_string()
}

/// The folder of the engine's package, wherever cargo keeps it (registry, vendored, replaced source).
///
/// Cargo is asked about a package of our own making that depends on the engine and nothing else:
/// asked about this workspace it would want the development dependencies too, which a plain build
/// on a fresh machine has not downloaded and an offline one cannot.
fn package(out: &Path) -> PathBuf {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let probe = out.join("probe");
    fs::create_dir_all(probe.join("src")).expect("OUT_DIR can be written");
    fs::write(probe.join("src/lib.rs"), "").expect("OUT_DIR can be written");
    let manifest = "[package]\nname = \"probe\"\nedition = \"2024\"\n[workspace]\n[dependencies]\nttspico-sys = \"=0.1.5\"\n";
    fs::write(probe.join("Cargo.toml"), manifest).expect("OUT_DIR can be written");
    // The versions this workspace has locked are the ones that are certain to be here.
    let lock = here.join("../Cargo.lock");
    if lock.exists() {
        fs::copy(lock, probe.join("Cargo.lock")).expect("OUT_DIR can be written");
    }
    let output = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"))
        .current_dir(&here) // for the source replacements of .cargo/config.toml
        .args(["metadata", "--format-version=1", "--offline", "--filter-platform"])
        .arg(env::var("TARGET").expect("cargo sets TARGET"))
        .arg("--manifest-path")
        .arg(probe.join("Cargo.toml"))
        .output()
        .expect("cargo can be run");
    let told = String::from_utf8_lossy(&output.stdout);
    let manifest = told
        .split("\"manifest_path\":\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .find(|path| path.contains("ttspico-sys"));
    let Some(manifest) = manifest else {
        panic!("cargo does not say where ttspico-sys is: {}", String::from_utf8_lossy(&output.stderr));
    };
    PathBuf::from(manifest.replace("\\\\", "\\")).parent().expect("a manifest lies in a folder").to_path_buf()
}
