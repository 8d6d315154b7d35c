//! Ears: what can be told of speech without understanding it, and a recogniser for digits.

use std::process::Command;

pub const DIGITS: [&str; 10] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

const RATE: f64 = 16_000.0;

/// Fails unless the audio is as loud as speech, has its lows and highs where speech has them, and
/// moves as speech does. Silence, noise, a tone and a hum all fail.
pub fn assert_speech(samples: &[i16]) {
    let level = 20.0 * (rms(samples) / 32_768.0).log10();
    assert!((-30.0..-6.0).contains(&level), "level {level:.1} dBFS");
    let (low, speech, high) = (band(samples, 0, 80), band(samples, 80, 4_000), band(samples, 4_000, 8_000));
    let whole = low + speech + high;
    assert!(speech / whole > 0.8, "{:.2} of the energy from 80 to 4,000 Hz", speech / whole);
    assert!(high / whole > 0.0001, "{:.5} of the energy above 4,000 Hz", high / whole);
    let frames: Vec<_> = samples.chunks(320).map(rms).collect();
    let (loudest, quietest) =
        (frames.iter().fold(0.0, |a, b| b.max(a)), frames.iter().fold(1e9, |a, b| b.min(a)));
    assert!(loudest > 20.0 * quietest.max(1.0), "from {quietest:.0} to {loudest:.0}: no pauses");
}

/// The pitch of a held vowel, in Hz: where its loudest stretch resembles itself most.
pub fn pitch(samples: &[i16]) -> f64 {
    let loudest = (0..samples.len().saturating_sub(1_600)).step_by(160);
    let at =
        loudest.max_by(|&a, &b| rms(&samples[a..a + 1_600]).total_cmp(&rms(&samples[b..b + 1_600]))).unwrap();
    let piece: Vec<f64> = samples[at..at + 1_600].iter().map(|&s| f64::from(s)).collect();
    let alike =
        |lag: usize| piece.iter().zip(&piece[lag..]).map(|(a, b)| a * b).sum::<f64>() / (1_600 - lag) as f64;
    let best = (40..320).map(alike).fold(f64::MIN, f64::max);
    // The shortest lag that is nearly as good as the best: longer ones are its multiples.
    let period = (41..319).find(|&lag| {
        alike(lag) > 0.85 * best && alike(lag) >= alike(lag - 1) && alike(lag) >= alike(lag + 1)
    });
    RATE / period.unwrap() as f64
}

fn rms(samples: &[i16]) -> f64 {
    let sum: f64 = samples.iter().map(|&sample| f64::from(sample).powi(2)).sum();
    (sum / samples.len().max(1) as f64).sqrt()
}

/// Energy between two frequencies in Hz, by a discrete Fourier transform over pieces of 20 ms.
fn band(samples: &[i16], from: u32, to: u32) -> f64 {
    (from / 50..to / 50)
        .map(|bin| samples.chunks_exact(320).map(|piece| goertzel(piece, bin)).sum::<f64>())
        .sum()
}

fn goertzel(piece: &[i16], bin: u32) -> f64 {
    let turn = 2.0 * (std::f64::consts::TAU * f64::from(bin) / piece.len() as f64).cos();
    let (mut one, mut two) = (0.0, 0.0);
    for &sample in piece {
        (one, two) = (f64::from(sample) + turn * one - two, one);
    }
    one * one + two * two - turn * one * two
}

/// Compares what was said with what `tests/python/recognise.py` hears.
pub struct Recogniser {
    python: Option<std::ffi::OsString>,
    folder: tempfile::TempDir,
    said: Vec<String>,
}

impl Recogniser {
    pub fn new() -> Self {
        let python = std::env::var_os("VOXRELAY_TEST_PYTHON");
        Self { python, folder: tempfile::tempdir().unwrap(), said: Vec::new() }
    }

    pub fn listen(&mut self, said: &str, samples: &[i16]) {
        let path = self.folder.path().join(format!("{}.wav", self.said.len()));
        std::fs::write(path, wav(samples)).unwrap();
        self.said.push(said.into());
    }

    /// Fails when more than one digit in twenty was missed, added or taken for another.
    pub fn verdict(self) {
        let Some(python) = self.python else {
            eprintln!("VOXRELAY_TEST_PYTHON is not set: checked level, duration and spectrum only");
            return;
        };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/recognise.py");
        let files = (0..self.said.len()).map(|number| self.folder.path().join(format!("{number}.wav")));
        let output = Command::new(python).arg(script).args(files).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let heard: Vec<_> =
            String::from_utf8(output.stdout).unwrap().lines().map(|line| line.replace(' ', "")).collect();
        assert_eq!(heard.len(), self.said.len());
        let wrong: usize = self.said.iter().zip(&heard).map(|(said, heard)| distance(said, heard)).sum();
        let digits: usize = self.said.iter().map(String::len).sum();
        eprintln!("{} of {digits} digits understood", digits - wrong.min(digits));
        assert!(wrong * 20 <= digits, "said {:?}, heard {heard:?}", self.said);
    }
}

/// A WAV file of mono 16-bit samples at 16,000 Hz.
fn wav(samples: &[i16]) -> Vec<u8> {
    let bytes = u32::try_from(samples.len() * 2).unwrap();
    let mut file = Vec::with_capacity(samples.len() * 2 + 44);
    file.extend(*b"RIFF");
    file.extend((bytes + 36).to_le_bytes());
    file.extend(*b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    file.extend([1_u16, 1].into_iter().flat_map(u16::to_le_bytes)); // PCM, mono
    file.extend([16_000_u32, 32_000].into_iter().flat_map(u32::to_le_bytes));
    file.extend([2_u16, 16].into_iter().flat_map(u16::to_le_bytes));
    file.extend(*b"data");
    file.extend(bytes.to_le_bytes());
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

/// How many digits must be changed, added or removed to make one of the other.
fn distance(said: &str, heard: &str) -> usize {
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (i, a) in said.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in heard.bytes().enumerate() {
            let cost = (diagonal + usize::from(a != b)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[heard.len()]
}

/// Text that no speech engine was made for.
pub fn hostile_texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "\u{1f642}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} family \u{1f1e8}\u{1f1ed}",
        "\u{0}\u{1}\u{2}\u{1b}[31mred\u{1b}[0m\u{7f}\u{85}",
        "<speed level=\"0\"><pitch level=\"-1\"><<<>>></speed></speed></voice><voice name=\"x\">a",
        "<phoneme ph=\"\\\"\\\\\"/><play file=\"/dev/zero\"/><usesig file=\"/dev/zero\">x</usesig>",
        "e\u{301}\u{301}\u{301}\u{301} z\u{335}\u{321}a\u{334}lgo \u{202e}backwards\u{202c} \u{feff}",
        "\u{10ffff}\u{e000}\u{fffd}\u{2028}\u{2029}a",
        "%s%n%x \\x00 \\ \\\\ ../../etc/passwd; rm -rf / $(a) `b` ' \" '' \"\"",
    ]
    .map(String::from)
    .into();
    for unit in
        ["x", "\u{e9}", "\u{df}", "1", "a1", "0", "(a", "a'", "a-", "-", ".a", "@a", "\u{2014}", "\u{1f642}a"]
    {
        texts.push(unit.repeat(300));
    }
    texts.push("word ".repeat(2_600)); // 13 kB without a stop
    texts.push("x".repeat(13_000));
    let mut seed = 0x9e37_79b9_u32;
    for _ in 0..60 {
        texts.push(random_text(&mut seed));
    }
    texts
}

/// Up to 200 characters, half of them from the first 1,024 of Unicode and the rest from anywhere.
fn random_text(seed: &mut u32) -> String {
    let mut next = |below: u32| {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 17;
        *seed ^= *seed << 5;
        *seed % below
    };
    let length = next(200);
    (0..length)
        .filter_map(|_| {
            let range = if next(2) == 0 { 0x400 } else { 0x11_0000 };
            char::from_u32(next(range))
        })
        .collect()
}
