//! Takes the language data out of the engine's package, where its authors keep it without exporting
//! it, so that the crate can carry it inside.

use std::error::Error;
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

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(told("OUT_DIR")?);
    let data = package(&out)?.join("build/pico/lang");
    let mut table = String::from("&[\n");
    for (name, text, signal) in VOICES {
        let text = keep(&data.join(text), &out.join(text))?;
        let signal = keep(&data.join(signal), &out.join(signal))?;
        table += &format!(
            "Data {{ name: {name:?}, text: include_bytes!({text:?}), signal: include_bytes!({signal:?}) }},\n"
        );
    }
    fs::write(out.join("voices.rs"), table + "]")?;
    Ok(())
}

/// What cargo tells build scripts.
fn told(name: &str) -> Result<String, Box<dyn Error>> {
    env::var(name).map_err(|error| format!("{name}: {error}").into())
}

/// Copies one file, so that the build directory needs nothing outside itself afterwards.
fn keep(from: &Path, to: &Path) -> Result<String, Box<dyn Error>> {
    fs::copy(from, to).map_err(|error| format!("voice data {}: {error}", from.display()))?;
    Ok(to.display().to_string())
}

/// The folder of the engine's package, wherever cargo keeps it (registry, vendored, replaced source).
fn package(out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let here = PathBuf::from(told("CARGO_MANIFEST_DIR")?);
    let output = Command::new(told("CARGO")?)
        .current_dir(&here) // for the source replacements of .cargo/config.toml
        .args(["metadata", "--format-version=1", "--offline"])
        .args(["--filter-platform", &told("TARGET")?])
        .arg("--manifest-path")
        .arg(probe(out, &lock(&here)?)?)
        .output()?;
    let metadata = String::from_utf8_lossy(&output.stdout);
    let manifest = metadata
        .split("\"manifest_path\":\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .find(|path| path.contains("ttspico-sys"))
        .ok_or_else(|| format!("where is ttspico-sys? {}", String::from_utf8_lossy(&output.stderr)))?;
    let manifest = PathBuf::from(manifest.replace("\\\\", "\\"));
    Ok(manifest.parent().ok_or("a manifest without a folder")?.to_path_buf())
}

/// The lock file of the workspace that `here` is in.
fn lock(here: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let mut above = here.ancestors().map(|folder| folder.join("Cargo.lock"));
    above.find(|lock| lock.exists()).ok_or_else(|| "no Cargo.lock above the package".into())
}

/// The manifest of a package of our own making that depends on the engine and nothing else. Asked
/// about this workspace, cargo would want the development dependencies too, which a plain build on
/// a fresh machine has not downloaded and an offline one cannot.
fn probe(out: &Path, lock: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let folder = out.join("probe");
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("src/lib.rs"), "")?;
    let manifest = folder.join("Cargo.toml");
    let engine = "[dependencies]\nttspico-sys = \"=0.1.5\"\n";
    fs::write(&manifest, format!("[package]\nname = \"probe\"\nedition = \"2024\"\n[workspace]\n{engine}"))?;
    // The versions that the workspace has locked are the ones that are certain to be here.
    if lock.exists() {
        fs::copy(lock, folder.join("Cargo.lock"))?;
    }
    Ok(manifest)
}
