//! Fish Audio as an upstream: where it lives and what it can do. The wire facts are the vendor's pages
//! under <https://docs.fish.audio>; what they do not say is marked as assumed.

use std::time::Duration;

use serde_json::{Map, Value};

use super::codec::FishCodec;
use super::options;
use crate::provider::{Account, Capabilities, Dial, Provider, ProviderCodec, Sharing};
use crate::request::Credential;
use crate::{AudioFormat, Encoding, Fault, FaultCode, SynthesisSpec};

/// The model when a voice names none; the vendor's own choice for a missing one, said aloud.
const DEFAULT_MODEL: &str = "s2.1-pro";

/// Sample rates of `pcm`, in Hz, ascending.
const RATES: [u32; 5] = [8_000, 16_000, 24_000, 32_000, 44_100];

/// Longest voice id taken, in bytes.
const VOICE_MAX: usize = 128;
/// Longest model name taken, in bytes.
const MODEL_MAX: usize = 64;

/// The vendor Fish Audio.
pub struct FishAudio;

impl Provider for FishAudio {
    fn kind(&self) -> &'static str {
        "fish-audio"
    }

    fn default_url(&self) -> &'static str {
        "wss://api.fish.audio"
    }

    /// The first has word times, and is the one for which the vendor documents that a socket may be used
    /// again after a run; both take the same messages.
    fn apis(&self) -> &'static [&'static str] {
        &["live-with-timestamp", "live"]
    }

    fn capabilities(&self, account: &Account) -> Capabilities {
        Capabilities {
            sharing: Sharing::Lease,
            words: account.api != "live",
            // Assumed: the vendor's limit is not published.
            idle: Duration::from_secs(60),
            // Nothing stops a run: the link is dirty at once.
            cancel_grace: Duration::ZERO,
        }
    }

    fn format(&self, wanted: &AudioFormat) -> AudioFormat {
        let rate = RATES.into_iter().find(|rate| *rate >= wanted.sample_rate).unwrap_or(44_100);
        AudioFormat::raw(Encoding::PcmS16le, rate)
    }

    fn validate(&self, voice: &str, options: &Map<String, Value>) -> Result<(), Fault> {
        let fits = (1..=VOICE_MAX).contains(&voice.len()) && !voice.chars().any(char::is_control);
        if !fits {
            return Err(Fault::new(FaultCode::UnknownVoice, "not a voice id of fish-audio"));
        }
        options::validate(options)
    }

    /// The model is fixed for a link; voice, rate and settings travel in each start.
    fn dial(&self, account: &Account, spec: &SynthesisSpec) -> Dial {
        let path = if account.api == "live" { "live" } else { "live/with-timestamp" };
        let key = account.api_key.as_ref().map_or("", Credential::expose);
        let model = spec.model.as_deref().filter(|model| is_name(model)).unwrap_or(DEFAULT_MODEL);
        Dial::WebSocket {
            url: format!("{}/v1/tts/{path}", account.url.trim_end_matches('/')),
            headers: vec![
                ("authorization", Credential::new(format!("Bearer {key}"))),
                ("model", Credential::new(model)),
            ],
        }
    }

    fn codec(&self, _account: &Account, _seed: u64) -> Box<dyn ProviderCodec> {
        Box::new(FishCodec::default())
    }
}

/// Whether it can stand in a header.
fn is_name(model: &str) -> bool {
    (1..=MODEL_MAX).contains(&model.len()) && model.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_shared_by_model_and_path_alone() {
        let account = |api| Account { url: "ws://x/".into(), api_key: Some(Credential::new("canary")), api };
        let spec = |voice: &str, model: Option<&str>| SynthesisSpec {
            voice: voice.into(),
            model: model.map(Into::into),
            language: None,
            format: AudioFormat::default(),
            words: false,
            options: Map::new(),
        };
        let dial = FishAudio.dial(&account("live-with-timestamp"), &spec("a", None));
        assert_eq!(dial, FishAudio.dial(&account("live-with-timestamp"), &spec("b", Some("s2.1-pro"))));
        assert_ne!(dial, FishAudio.dial(&account("live-with-timestamp"), &spec("a", Some("s1"))));
        assert_ne!(dial, FishAudio.dial(&account("live"), &spec("a", None)));
        assert!(!format!("{dial:?}").contains("canary"));
        let Dial::WebSocket { url, headers } = dial else { panic!("not a WebSocket") };
        assert_eq!(url, "ws://x/v1/tts/live/with-timestamp");
        assert_eq!(headers[1].1.expose(), "s2.1-pro");
    }

    #[test]
    fn a_model_that_cannot_be_a_header_is_not_sent() {
        assert!(is_name("s2.1-pro"));
        assert!(!is_name("a\r\nb: c") && !is_name("") && !is_name(&"m".repeat(65)));
    }

    #[test]
    fn every_format_is_made_from_pcm() {
        let ask = |encoding, rate| FishAudio.format(&AudioFormat::raw(encoding, rate));
        assert_eq!(ask(Encoding::PcmS16le, 24_000), AudioFormat::raw(Encoding::PcmS16le, 24_000));
        assert_eq!(ask(Encoding::Mulaw, 8_000), AudioFormat::raw(Encoding::PcmS16le, 8_000));
        assert_eq!(ask(Encoding::PcmS16le, 22_050), AudioFormat::raw(Encoding::PcmS16le, 24_000));
        assert_eq!(ask(Encoding::PcmS16le, 48_000), AudioFormat::raw(Encoding::PcmS16le, 44_100));
    }
}
