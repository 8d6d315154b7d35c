//! ElevenLabs as an upstream: where it lives and what it can do. The wire facts are the vendor's pages
//! under <https://elevenlabs.io/docs>; what they do not say is marked as assumed.

use std::time::Duration;

use serde_json::{Map, Value};

use super::codec::{Api, ElevenLabsCodec};
use super::options;
use crate::provider::{Account, Capabilities, Dial, Provider, ProviderCodec, Sharing};
use crate::request::Credential;
use crate::vendor::address::Address;
use crate::{AudioFormat, Container, Encoding, Fault, FaultCode, SynthesisSpec};

const MULTI: &str = "multi-stream-input";
const SINGLE: &str = "stream-input";

/// Rates of `pcm_<rate>`, in Hz, ascending.
const RATES: [u32; 7] = [8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];

/// The longest inactivity the vendor can be asked to bear, in seconds.
const INACTIVITY_S: u64 = 180;

/// Longest voice id taken, in bytes.
const VOICE_MAX: usize = 128;

/// The vendor ElevenLabs.
pub struct ElevenLabs;

fn api(account: &Account) -> Api {
    if account.api == SINGLE { Api::Single } else { Api::Multi }
}

impl Provider for ElevenLabs {
    fn kind(&self) -> &'static str {
        "elevenlabs"
    }

    fn default_url(&self) -> &'static str {
        "wss://api.elevenlabs.io"
    }

    fn apis(&self) -> &'static [&'static str] {
        &[MULTI, SINGLE]
    }

    fn capabilities(&self, account: &Account) -> Capabilities {
        let (sharing, cancel_grace) = match api(account) {
            // Documented: five contexts, and one too many closes the socket for all. A closed context
            // keeps its place until the vendor's last word, hence one is left free; how long that can
            // take is assumed.
            Api::Multi => (Sharing::Contexts { per_link: 4 }, Duration::from_secs(3)),
            // The only way to stop it is to close the socket.
            Api::Single => (Sharing::Once, Duration::ZERO),
        };
        // Below the inactivity asked for in the address, so that it does not matter whether a sign of
        // life without a context counts.
        Capabilities { sharing, words: true, idle: Duration::from_secs(INACTIVITY_S - 10), cancel_grace }
    }

    fn format(&self, wanted: &AudioFormat) -> AudioFormat {
        let made = match wanted.encoding {
            Encoding::PcmS16le => RATES.contains(&wanted.sample_rate),
            Encoding::Mulaw | Encoding::Alaw => wanted.sample_rate == 8_000,
            Encoding::PcmF32le | Encoding::Mp3 | Encoding::Opus => false,
        };
        if made {
            return AudioFormat { container: Container::Raw, ..*wanted };
        }
        let rate = RATES.into_iter().find(|rate| *rate >= wanted.sample_rate).unwrap_or(48_000);
        AudioFormat::raw(Encoding::PcmS16le, rate)
    }

    fn validate(&self, voice: &str, options: &Map<String, Value>) -> Result<(), Fault> {
        let fits = (1..=VOICE_MAX).contains(&voice.len()) && !voice.chars().any(char::is_control);
        if !fits {
            return Err(Fault::new(FaultCode::UnknownVoice, "not a voice id of elevenlabs"));
        }
        options::validate(options)
    }

    /// Voice, model, format and language are part of the address: only streams alike in these share
    /// links.
    fn dial(&self, account: &Account, spec: &SynthesisSpec) -> Dial {
        let path = if api(account) == Api::Single { SINGLE } else { MULTI };
        let mut address = Address::new(&account.url)
            .segment("v1")
            .segment("text-to-speech")
            .segment(&spec.voice)
            .segment(path)
            .ask("output_format", &format_name(&spec.format));
        for (name, value) in [("model_id", &spec.model), ("language_code", &spec.language)] {
            if let Some(value) = value {
                address = address.ask(name, value);
            }
        }
        address = address.ask("inactivity_timeout", &INACTIVITY_S.to_string()).ask("sync_alignment", "true");
        for (name, value) in options::of_the_address(&spec.options) {
            address = address.ask(name, &value);
        }
        let key = account.api_key.as_ref().map_or("", Credential::expose);
        Dial::WebSocket { url: address.finish(), headers: vec![("xi-api-key", Credential::new(key))] }
    }

    fn codec(&self, account: &Account, seed: u64) -> Box<dyn ProviderCodec> {
        Box::new(ElevenLabsCodec::new(api(account), seed))
    }
}

/// As in `output_format`. That `pcm_…` is signed 16-bit little-endian mono is assumed.
fn format_name(format: &AudioFormat) -> String {
    let encoding = match format.encoding {
        Encoding::Mulaw => "ulaw",
        Encoding::Alaw => "alaw",
        Encoding::PcmS16le | Encoding::PcmF32le | Encoding::Mp3 | Encoding::Opus => "pcm",
    };
    format!("{encoding}_{}", format.sample_rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(voice: &str) -> SynthesisSpec {
        SynthesisSpec {
            voice: voice.into(),
            model: Some("eleven_flash_v2_5".into()),
            language: None,
            format: AudioFormat::default(),
            words: false,
            options: Map::new(),
        }
    }

    fn dial(api: &'static str, spec: &SynthesisSpec) -> (String, Dial) {
        let account = Account { url: "ws://x/".into(), api_key: Some(Credential::new("canary")), api };
        let dial = ElevenLabs.dial(&account, spec);
        let Dial::WebSocket { url, .. } = &dial else { panic!("not a WebSocket") };
        (url.clone(), dial)
    }

    #[test]
    fn the_address_names_all_that_is_fixed_and_not_the_key() {
        let mut wanted = spec("v/1");
        wanted.format = AudioFormat::raw(Encoding::Mulaw, 8_000);
        wanted.language = Some("de".into());
        wanted.options = serde_json::json!({"seed": 7, "speed": 1.1}).as_object().unwrap().clone();
        let (url, dial) = dial(SINGLE, &wanted);
        assert_eq!(
            url,
            "ws://x/v1/text-to-speech/v%2F1/stream-input?output_format=ulaw_8000&model_id=eleven_flash_v2_5\
             &language_code=de&inactivity_timeout=180&sync_alignment=true&seed=7"
        );
        assert!(!format!("{dial:?}").contains("canary"));
    }

    #[test]
    fn streams_share_links_when_voice_and_model_are_the_same() {
        let (url, dialled) = dial(MULTI, &spec("a"));
        assert!(url.contains("/a/multi-stream-input?output_format=pcm_24000"));
        let mut slow = spec("a");
        slow.options = serde_json::json!({"speed": 0.8}).as_object().unwrap().clone();
        assert_eq!(dialled, dial("", &slow).1, "the voice's settings travel with the context");
        assert_ne!(dialled, dial(MULTI, &spec("b")).1);
        let mut other = spec("a");
        other.model = None;
        assert_ne!(dialled, dial(MULTI, &other).1);
    }

    #[test]
    fn a_format_the_vendor_makes_is_asked_for_as_it_is() {
        for wanted in RATES
            .map(|rate| AudioFormat::raw(Encoding::PcmS16le, rate))
            .into_iter()
            .chain([Encoding::Mulaw, Encoding::Alaw].map(|encoding| AudioFormat::raw(encoding, 8_000)))
        {
            assert_eq!(ElevenLabs.format(&wanted), wanted);
        }
        let ask = |encoding, rate| ElevenLabs.format(&AudioFormat::raw(encoding, rate));
        assert_eq!(ask(Encoding::Mulaw, 16_000), AudioFormat::raw(Encoding::PcmS16le, 16_000));
        assert_eq!(ask(Encoding::PcmF32le, 24_000), AudioFormat::raw(Encoding::PcmS16le, 24_000));
        assert_eq!(ask(Encoding::Mp3, 96_000), AudioFormat::raw(Encoding::PcmS16le, 48_000));
    }

    #[test]
    fn a_voice_that_cannot_be_an_id_is_unknown() {
        for voice in ["", "a\nb", &"v".repeat(VOICE_MAX + 1)] {
            let fault = ElevenLabs.validate(voice, &Map::new()).unwrap_err();
            assert_eq!(fault.code, FaultCode::UnknownVoice);
        }
    }
}
