//! Which voice a client means, and how it can be spoken.

use std::sync::Arc;

use voxrelay_protocol::provider::provider;
use voxrelay_protocol::request::Start;
use voxrelay_protocol::session::RouteFacts;
use voxrelay_protocol::{Fault, FaultCode, SynthesisSpec};

use crate::auth::Caller;
use crate::config::{Config, Route, Upstream, Voice};
use crate::keys::Scope;

/// One way to speak a stream: where, and with what settings.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The account.
    pub upstream: Arc<Upstream>,
    /// The settings.
    pub spec: SynthesisSpec,
}

impl Plan {
    /// What the pure session must know of it.
    #[must_use]
    pub fn facts(&self) -> RouteFacts {
        RouteFacts {
            provider: self.upstream.name.to_string(),
            voice: self.spec.voice.clone(),
            model: self.spec.model.clone(),
            format: self.spec.format,
            first_audio: self.upstream.watchdogs.first_audio,
            gap: self.upstream.watchdogs.gap,
            end: self.upstream.watchdogs.end,
            audio: self.upstream.watchdogs.audio,
        }
    }
}

/// Every way to speak what the client wants, in order of preference; never empty.
///
/// # Errors
/// `forbidden`, `unknown_voice`, or what the voice's providers say of the options.
pub fn plan(config: &Config, caller: &Caller, start: &Start) -> Result<Vec<Plan>, Fault> {
    caller.may(Scope::Synthesize)?;
    let wanted = start.voice.voice.as_deref().unwrap_or_default();
    let routes = match &start.voice.provider {
        None => configured(config, caller, wanted)?,
        Some(name) => vec![direct(config, caller, name, wanted, start.voice.model.as_deref())?],
    };
    let language = |voice: Option<&Voice>| {
        start.language.clone().or_else(|| voice.and_then(|voice| voice.language.clone()))
    };
    let voice = config.voices.iter().find(|voice| &*voice.name == wanted && start.voice.provider.is_none());
    let mut plans = Vec::with_capacity(routes.len());
    let mut refused = None;
    for route in routes {
        match route.upstream.provider.validate(&route.voice, &start.options) {
            Ok(()) => plans.push(spec(route, start, language(voice.map(|voice| &**voice)))),
            Err(fault) => refused = refused.or(Some(fault)),
        }
    }
    match refused {
        Some(fault) if plans.is_empty() => Err(fault),
        _ => Ok(plans),
    }
}

fn configured(config: &Config, caller: &Caller, name: &str) -> Result<Vec<Route>, Fault> {
    caller.may_use_voice(name)?;
    let voice = config.voices.iter().find(|voice| &*voice.name == name);
    voice.map(|voice| voice.routes.clone()).ok_or_else(unknown)
}

/// An upstream by its name, else the first of that kind, with its own voice. A key that is limited
/// to some voices is limited to configured ones.
fn direct(
    config: &Config,
    caller: &Caller,
    name: &str,
    voice: &str,
    model: Option<&str>,
) -> Result<Route, Fault> {
    if caller.voices.is_some() {
        return Err(Fault::new(FaultCode::Forbidden, "the key may use configured voices only"));
    }
    let by_name = config.upstreams.iter().find(|upstream| &*upstream.name == name);
    let by_kind = || config.upstreams.iter().find(|upstream| upstream.provider.kind() == name);
    match by_name.or_else(by_kind) {
        Some(upstream) => {
            Ok(Route { upstream: upstream.clone(), model: model.map(str::to_owned), voice: voice.to_owned() })
        }
        None if provider(name).is_some() => {
            Err(Fault::new(FaultCode::UnknownVoice, "no upstream of that provider is configured"))
        }
        None => Err(Fault::invalid("provider", "is neither the name nor the kind of an upstream")),
    }
}

fn spec(route: Route, start: &Start, language: Option<String>) -> Plan {
    let spec = SynthesisSpec {
        format: route.upstream.provider.format(&start.format),
        voice: route.voice,
        model: route.model,
        language,
        // A paced stream tells on cancel what was heard, and needs the words for that.
        words: start.words || start.pace.is_some(),
        options: start.options.clone(),
    };
    Plan { upstream: route.upstream, spec }
}

fn unknown() -> Fault {
    Fault::new(FaultCode::UnknownVoice, "no voice of that name is configured; GET /v1/voices lists them")
}
