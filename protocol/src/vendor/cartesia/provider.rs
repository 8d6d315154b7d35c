//! Cartesia as an upstream: where it lives and what it can do. The wire facts are the vendor's pages
//! under <https://docs.cartesia.ai>; what they do not say is marked as assumed.

use std::time::Duration;

use serde_json::{Map, Value};

use super::codec::CartesiaCodec;
use super::options;
use crate::provider::{Account, Capabilities, Dial, Provider, ProviderCodec, Sharing};
use crate::request::Credential;
use crate::{AudioFormat, Container, Encoding, Fault, FaultCode, SynthesisSpec};

/// The API version spoken: the first whose errors carry `error_code`.
pub const VERSION: &str = "2026-03-01";

/// Sample rates the vendor makes, in Hz, ascending.
const RATES: [u32; 6] = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000];

/// Longest voice id taken, in bytes.
const VOICE_MAX: usize = 128;

/// The vendor Cartesia.
pub struct Cartesia;

impl Provider for Cartesia {
    fn kind(&self) -> &'static str {
        "cartesia"
    }

    fn default_url(&self) -> &'static str {
        "wss://api.cartesia.ai"
    }

    fn capabilities(&self, _account: &Account) -> Capabilities {
        Capabilities {
            // "Dozens" are documented; twenty bound the damage of one disconnect (assumed).
            sharing: Sharing::Contexts { per_link: 20 },
            words: true,
            // Documented: closed after five minutes without traffic.
            idle: Duration::from_secs(240),
            // Assumed: a cancelled context that is silent for a second is over.
            cancel_grace: Duration::from_secs(1),
        }
    }

    fn format(&self, wanted: &AudioFormat) -> AudioFormat {
        let made = matches!(
            wanted.encoding,
            Encoding::PcmS16le | Encoding::PcmF32le | Encoding::Mulaw | Encoding::Alaw
        );
        if made && RATES.contains(&wanted.sample_rate) {
            return AudioFormat { container: Container::Raw, ..*wanted };
        }
        let rate = RATES.into_iter().find(|rate| *rate >= wanted.sample_rate).unwrap_or(48_000);
        AudioFormat::raw(Encoding::PcmS16le, rate)
    }

    fn validate(&self, voice: &str, options: &Map<String, Value>) -> Result<(), Fault> {
        let fits = (1..=VOICE_MAX).contains(&voice.len()) && !voice.chars().any(char::is_control);
        if !fits {
            return Err(Fault::new(FaultCode::UnknownVoice, "not a voice id of cartesia"));
        }
        options::validate(options)
    }

    /// Voice, model and format travel in each message, so every stream of an account shares links.
    fn dial(&self, account: &Account, _spec: &SynthesisSpec) -> Dial {
        let key = account.api_key.as_ref().map_or("", Credential::expose);
        Dial::WebSocket {
            url: format!("{}/tts/websocket", account.url.trim_end_matches('/')),
            headers: vec![
                ("authorization", Credential::new(format!("Bearer {key}"))),
                ("cartesia-version", Credential::new(VERSION)),
            ],
        }
    }

    fn codec(&self, _account: &Account, seed: u64) -> Box<dyn ProviderCodec> {
        Box::new(CartesiaCodec::new(seed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_the_vendor_makes_is_asked_for_as_it_is() {
        for encoding in [Encoding::PcmS16le, Encoding::PcmF32le, Encoding::Mulaw, Encoding::Alaw] {
            for rate in RATES {
                let wanted = AudioFormat::raw(encoding, rate);
                assert_eq!(Cartesia.format(&wanted), wanted);
            }
        }
    }

    #[test]
    fn any_other_format_is_made_from_the_next_better_one() {
        let ask = |encoding, rate| Cartesia.format(&AudioFormat::raw(encoding, rate));
        assert_eq!(ask(Encoding::Mp3, 24_000), AudioFormat::raw(Encoding::PcmS16le, 24_000));
        assert_eq!(ask(Encoding::PcmS16le, 11_025), AudioFormat::raw(Encoding::PcmS16le, 16_000));
        assert_eq!(ask(Encoding::PcmF32le, 96_000), AudioFormat::raw(Encoding::PcmS16le, 48_000));
        let wav = AudioFormat { container: Container::Wav, ..AudioFormat::raw(Encoding::Mulaw, 8_000) };
        assert_eq!(Cartesia.format(&wav), AudioFormat::raw(Encoding::Mulaw, 8_000));
    }

    #[test]
    fn a_voice_that_cannot_be_an_id_is_unknown() {
        for voice in ["", "a\nb", &"v".repeat(VOICE_MAX + 1)] {
            let fault = Cartesia.validate(voice, &Map::new()).unwrap_err();
            assert_eq!(fault.code, FaultCode::UnknownVoice);
        }
    }

    #[test]
    fn streams_of_one_account_share_a_dial_and_the_key_is_not_in_its_debug_form() {
        let account = Account { url: "ws://x/".into(), api_key: Some(Credential::new("canary")), api: "" };
        let spec = |voice: &str| SynthesisSpec {
            voice: voice.into(),
            model: None,
            language: None,
            format: AudioFormat::default(),
            words: false,
            options: Map::new(),
        };
        let dial = Cartesia.dial(&account, &spec("a"));
        assert_eq!(dial, Cartesia.dial(&account, &spec("b")));
        assert!(!format!("{dial:?}").contains("canary"));
        let Dial::WebSocket { url, .. } = dial else { panic!("not a WebSocket") };
        assert_eq!(url, "ws://x/tts/websocket");
    }
}
