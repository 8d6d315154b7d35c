//! Deepgram as an upstream: where it lives and what it can do. The wire facts are the vendor's pages
//! under <https://developers.deepgram.com/docs>; what they do not say is marked as assumed.

use std::time::Duration;

use serde_json::{Map, Value};

use super::codec::{Api, DeepgramCodec};
use super::options;
use crate::provider::{Account, Capabilities, Dial, Provider, ProviderCodec, Sharing};
use crate::request::Credential;
use crate::vendor::address::Address;
use crate::{AudioFormat, Container, Encoding, Fault, FaultCode, SynthesisSpec};

const AURA: &str = "v1";
const FLUX: &str = "v2";

/// Rates of `linear16`, in Hz, ascending.
const RATES: [u32; 5] = [8_000, 16_000, 24_000, 32_000, 48_000];

/// Longest voice name taken, in bytes.
const VOICE_MAX: usize = 128;

/// The vendor Deepgram.
pub struct Deepgram;

fn api(account: &Account) -> Api {
    if account.api == FLUX { Api::Flux } else { Api::Aura }
}

impl Provider for Deepgram {
    fn kind(&self) -> &'static str {
        "deepgram"
    }

    fn default_url(&self) -> &'static str {
        "wss://api.deepgram.com"
    }

    fn apis(&self) -> &'static [&'static str] {
        &[AURA, FLUX]
    }

    fn capabilities(&self, account: &Account) -> Capabilities {
        let (sharing, cancel_grace) = match api(account) {
            // Frames carry no name: one stream at a time. How long a clear may take is assumed.
            Api::Aura => (Sharing::Lease, Duration::from_secs(2)),
            // The voice's mood is carried over from turn to turn: never to a stranger. What is
            // interrupted is closed.
            Api::Flux => (Sharing::Once, Duration::ZERO),
        };
        Capabilities {
            sharing,
            words: false,
            // No limit is published (assumed); every open socket counts against the account's, even an
            // idle one, so none is kept for long.
            idle: Duration::from_secs(60),
            cancel_grace,
        }
    }

    fn format(&self, wanted: &AudioFormat) -> AudioFormat {
        let made = match wanted.encoding {
            Encoding::PcmS16le => RATES.contains(&wanted.sample_rate),
            Encoding::Mulaw | Encoding::Alaw => matches!(wanted.sample_rate, 8_000 | 16_000),
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
            return Err(Fault::new(FaultCode::UnknownVoice, "not a voice of deepgram"));
        }
        options::validate(options)
    }

    /// Everything is part of the address. The vendor's models are its voices: `aura-2-thalia-en`.
    fn dial(&self, account: &Account, spec: &SynthesisSpec) -> Dial {
        let api = api(account);
        let mut address = Address::new(&account.url)
            .segment(if api == Api::Flux { FLUX } else { AURA })
            .segment("speak")
            .ask("model", &spec.voice)
            .ask("encoding", encoding_name(spec.format.encoding))
            .ask("sample_rate", &spec.format.sample_rate.to_string());
        for (name, value) in options::of_the_address(&spec.options, api == Api::Flux) {
            address = address.ask(name, &value);
        }
        let key = account.api_key.as_ref().map_or("", Credential::expose);
        let authorization = Credential::new(format!("Token {key}"));
        Dial::WebSocket { url: address.finish(), headers: vec![("authorization", authorization)] }
    }

    fn codec(&self, account: &Account, _seed: u64) -> Box<dyn ProviderCodec> {
        Box::new(DeepgramCodec::new(api(account)))
    }
}

const fn encoding_name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Mulaw => "mulaw",
        Encoding::Alaw => "alaw",
        Encoding::PcmS16le | Encoding::PcmF32le | Encoding::Mp3 | Encoding::Opus => "linear16",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_names_all_that_is_fixed_and_not_the_key() {
        let options = serde_json::json!({"speed": 1.1, "mip_opt_out": true, "expressivity": 2});
        let spec = SynthesisSpec {
            voice: "aura-2-thalia-en".into(),
            model: None,
            language: None,
            format: AudioFormat::raw(Encoding::Alaw, 8_000),
            words: false,
            options: options.as_object().unwrap().clone(),
        };
        for (api, wanted) in [
            (
                AURA,
                "ws://x/v1/speak?model=aura-2-thalia-en&encoding=alaw&sample_rate=8000&speed=1.1&mip_opt_out=true",
            ),
            (
                FLUX,
                "ws://x/v2/speak?model=aura-2-thalia-en&encoding=alaw&sample_rate=8000&speed=1.1&mip_opt_out=true&expressivity=2",
            ),
        ] {
            let account = Account { url: "ws://x/".into(), api_key: Some(Credential::new("canary")), api };
            let dial = Deepgram.dial(&account, &spec);
            assert!(!format!("{dial:?}").contains("canary"));
            let Dial::WebSocket { url, headers } = dial else { panic!("not a WebSocket") };
            assert_eq!(url, wanted);
            assert_eq!(headers[0].1.expose(), "Token canary");
        }
    }

    #[test]
    fn a_format_the_vendor_makes_is_asked_for_as_it_is() {
        for rate in RATES {
            let wanted = AudioFormat::raw(Encoding::PcmS16le, rate);
            assert_eq!(Deepgram.format(&wanted), wanted);
        }
        let ask = |encoding, rate| Deepgram.format(&AudioFormat::raw(encoding, rate));
        assert_eq!(ask(Encoding::Mulaw, 16_000), AudioFormat::raw(Encoding::Mulaw, 16_000));
        assert_eq!(ask(Encoding::Alaw, 24_000), AudioFormat::raw(Encoding::PcmS16le, 24_000));
        assert_eq!(ask(Encoding::PcmS16le, 22_050), AudioFormat::raw(Encoding::PcmS16le, 24_000));
        assert_eq!(ask(Encoding::Mp3, 96_000), AudioFormat::raw(Encoding::PcmS16le, 48_000));
    }

    #[test]
    fn a_voice_that_cannot_be_a_name_is_unknown() {
        for voice in ["", "a\nb", &"v".repeat(VOICE_MAX + 1)] {
            assert_eq!(Deepgram.validate(voice, &Map::new()).unwrap_err().code, FaultCode::UnknownVoice);
        }
    }
}
