//! Rime as an upstream: where it lives and what it can do. The wire facts are the vendor's pages under
//! <https://docs.rime.ai>; what they do not say is marked as assumed.

use std::time::Duration;

use serde_json::{Map, Value};

use super::json::JsonCodec;
use super::options;
use super::plain::PlainCodec;
use super::v1::V1Codec;
use crate::provider::{Account, Capabilities, Dial, Provider, ProviderCodec, Sharing};
use crate::request::Credential;
use crate::vendor::address::Address;
use crate::{AudioFormat, Container, Encoding, Fault, FaultCode, SynthesisSpec};

const DEFAULT_URL: &str = "wss://users-ws.rime.ai";
/// v1 lives on a host per family of models.
const V1_CODA: &str = "wss://coda.api.rime.ai";
const V1_MIST: &str = "wss://mist.api.rime.ai";

/// Sample rates every model makes on a socket, in Hz, ascending.
const RATES: [u32; 5] = [8_000, 16_000, 22_050, 24_000, 44_100];

/// Longest speaker's name taken, in bytes.
const VOICE_MAX: usize = 128;

/// The vendor Rime.
pub struct Rime;

impl Provider for Rime {
    fn kind(&self) -> &'static str {
        "rime"
    }

    fn default_url(&self) -> &'static str {
        DEFAULT_URL
    }

    fn apis(&self) -> &'static [&'static str] {
        &["ws3", "ws2", "ws", "v1"]
    }

    fn capabilities(&self, account: &Account) -> Capabilities {
        // Seen: an unused `/ws3` is closed after about 30 s, and clients keep one for 20 s.
        let idle = Duration::from_secs(20);
        match account.api {
            // No end mark: dirty as soon as it is cancelled.
            "ws" => Capabilities { sharing: Sharing::Once, words: false, idle, cancel_grace: Duration::ZERO },
            "v1" => Capabilities {
                // How many it takes is not documented: eight are assumed, and bound the damage of one
                // disconnect.
                sharing: Sharing::Contexts { per_link: 8 },
                words: true,
                // Seen: clients keep one for 300 s; the vendor's own limit is assumed to be longer than this.
                idle: Duration::from_secs(60),
                // Seen: clients give `cancelled` one second.
                cancel_grace: Duration::from_secs(1),
            },
            // Assumed: what is being synthesised at a cancel is done within this, or still sends audio.
            _ => Capabilities {
                sharing: Sharing::Lease,
                words: true,
                idle,
                cancel_grace: Duration::from_secs(2),
            },
        }
    }

    fn format(&self, wanted: &AudioFormat) -> AudioFormat {
        let made = matches!(wanted.encoding, Encoding::PcmS16le | Encoding::Mulaw);
        if made && RATES.contains(&wanted.sample_rate) {
            return AudioFormat { container: Container::Raw, ..*wanted };
        }
        let rate = RATES.into_iter().find(|rate| *rate >= wanted.sample_rate).unwrap_or(44_100);
        AudioFormat::raw(Encoding::PcmS16le, rate)
    }

    fn validate(&self, voice: &str, options: &Map<String, Value>) -> Result<(), Fault> {
        let fits = (1..=VOICE_MAX).contains(&voice.len()) && !voice.chars().any(char::is_control);
        if !fits {
            return Err(Fault::new(FaultCode::UnknownVoice, "not a speaker of rime"));
        }
        options::validate(options)
    }

    /// On the older sockets voice, model, format and every setting are fixed by the address; on v1 they
    /// travel in each start.
    fn dial(&self, account: &Account, spec: &SynthesisSpec) -> Dial {
        let url = if account.api == "v1" { v1_url(account, spec) } else { classic_url(account, spec) };
        let key = account.api_key.as_ref().map_or("", Credential::expose);
        Dial::WebSocket { url, headers: vec![("authorization", Credential::new(format!("Bearer {key}")))] }
    }

    fn codec(&self, account: &Account, seed: u64) -> Box<dyn ProviderCodec> {
        match account.api {
            "ws" => Box::new(PlainCodec::default()),
            "v1" => Box::new(V1Codec::new(seed)),
            _ => Box::new(JsonCodec::new(seed)),
        }
    }
}

fn v1_url(account: &Account, spec: &SynthesisSpec) -> String {
    let is_coda = spec.model.as_deref().is_some_and(|model| model.starts_with("coda"));
    let host = match account.url.trim_end_matches('/') {
        DEFAULT_URL if is_coda => V1_CODA,
        DEFAULT_URL => V1_MIST,
        other => other,
    };
    format!("{host}/ws")
}

fn classic_url(account: &Account, spec: &SynthesisSpec) -> String {
    // Left out, the vendor would take Mist v3; `/ws2` has no Mist v3.
    let (path, model) = match account.api {
        "ws2" => ("ws2", "mistv2"),
        "ws" => ("ws", "mistv3"),
        _ => ("ws3", "mistv3"),
    };
    let mut address = Address::new(&account.url)
        .segment(path)
        .ask("speaker", &spec.voice)
        .ask("modelId", spec.model.as_deref().unwrap_or(model))
        .ask("audioFormat", if spec.format.encoding == Encoding::Mulaw { "mulaw" } else { "pcm" })
        .ask("samplingRate", &spec.format.sample_rate.to_string());
    if let Some(language) = &spec.language {
        address = address.ask("lang", language);
    }
    if path != "ws" {
        // The one mode in which each flush has exactly one end.
        address = address.ask("segment", "never");
    }
    options::query(&spec.options).fold(address, |address, (name, value)| address.ask(name, &value)).finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec() -> SynthesisSpec {
        SynthesisSpec {
            voice: "cove".into(),
            model: None,
            language: None,
            format: AudioFormat::default(),
            words: false,
            options: Map::new(),
        }
    }

    fn url(api: &'static str, base: &str, spec: &SynthesisSpec) -> String {
        let account = Account { url: base.into(), api_key: Some(Credential::new("canary")), api };
        let dial = Rime.dial(&account, spec);
        assert!(!format!("{dial:?}").contains("canary"));
        let Dial::WebSocket { url, .. } = dial else { panic!("not a WebSocket") };
        url
    }

    #[test]
    fn every_setting_of_an_older_socket_is_in_its_address() {
        assert_eq!(
            url("ws3", "wss://users-ws.rime.ai", &spec()),
            "wss://users-ws.rime.ai/ws3?speaker=cove&modelId=mistv3&audioFormat=pcm&samplingRate=24000&segment=never"
        );
        let full = SynthesisSpec {
            voice: "a b&c".into(),
            model: Some("coda".into()),
            language: Some("spa".into()),
            format: AudioFormat::raw(Encoding::Mulaw, 8_000),
            options: json!({"timeScaleFactor": 1.5}).as_object().unwrap().clone(),
            ..spec()
        };
        assert_eq!(
            url("ws", "ws://x/", &full),
            "ws://x/ws?speaker=a%20b%26c&modelId=coda&audioFormat=mulaw&samplingRate=8000&lang=spa&timeScaleFactor=1.5"
        );
        assert!(url("ws2", "ws://x", &spec()).contains("/ws2?speaker=cove&modelId=mistv2"));
    }

    #[test]
    fn v1_is_found_by_the_model_and_shares_its_links() {
        let coda = SynthesisSpec { model: Some("coda".into()), ..spec() };
        assert_eq!(url("v1", DEFAULT_URL, &coda), "wss://coda.api.rime.ai/ws");
        assert_eq!(url("v1", DEFAULT_URL, &spec()), "wss://mist.api.rime.ai/ws");
        let other = SynthesisSpec { voice: "other".into(), ..coda.clone() };
        assert_eq!(url("v1", "ws://x", &coda), url("v1", "ws://x", &other));
    }

    #[test]
    fn any_other_format_is_made_from_the_next_better_one() {
        let ask = |encoding, rate| Rime.format(&AudioFormat::raw(encoding, rate));
        assert_eq!(ask(Encoding::Mulaw, 8_000), AudioFormat::raw(Encoding::Mulaw, 8_000));
        assert_eq!(ask(Encoding::Alaw, 8_000), AudioFormat::raw(Encoding::PcmS16le, 8_000));
        assert_eq!(ask(Encoding::PcmS16le, 11_025), AudioFormat::raw(Encoding::PcmS16le, 16_000));
        assert_eq!(ask(Encoding::PcmS16le, 48_000), AudioFormat::raw(Encoding::PcmS16le, 44_100));
    }
}
