//! Stub.
use crate::provider::*;
use crate::{AudioFormat, Fault, SynthesisSpec};
/// Stub.
pub struct Embedded;
impl Provider for Embedded {
    fn kind(&self) -> &'static str {
        "embedded"
    }
    fn default_url(&self) -> &'static str {
        ""
    }
    fn needs_key(&self) -> bool {
        false
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
