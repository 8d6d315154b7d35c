//! Stub.
use crate::provider::*;
use crate::{AudioFormat, Fault, SynthesisSpec};
/// Stub.
pub struct Cartesia;
impl Provider for Cartesia {
    fn kind(&self) -> &'static str {
        "cartesia"
    }
    fn default_url(&self) -> &'static str {
        "wss://api.cartesia.ai"
    }
    fn capabilities(&self) -> Capabilities {
        unimplemented!()
    }
    fn format(&self, wanted: &AudioFormat) -> AudioFormat {
        *wanted
    }
    fn validate(&self, _: &str, _: &serde_json::Map<String, serde_json::Value>) -> Result<(), Fault> {
        Ok(())
    }
    fn dial(&self, _: &Account, _: &SynthesisSpec) -> Dial {
        Dial::VoiceWorker
    }
    fn codec(&self, _: u64) -> Box<dyn ProviderCodec> {
        unimplemented!()
    }
}
