//! `[[upstream]]` and `[[voice]]`: accounts at vendors, and the voices routed to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Map;
use voxrelay_protocol::provider::{Account, Provider, provider, providers};

use super::defaults::{LOCAL, UPSTREAM_STREAMS, default_voice, local_upstream};
use super::fault::{Place, advice};
use super::load::name_problem;
use super::reader::Section;
use super::secret::{Surroundings, secret};
use super::tree::Node;
use super::{PoolSettings, Route, Upstream, Voice, Watchdogs};

/// Kinds of the contract, whether or not this build has them.
const KINDS: [&str; 10] = [
    "cartesia",
    "rime",
    "elevenlabs",
    "deepgram",
    "openai",
    "neospeech",
    "fishspeech",
    "speechbase",
    "fish-audio",
    "embedded",
];

const HOUR: Duration = Duration::from_secs(3600);

/// Every upstream that was named, and where; `None` behind the name when it has faults of its own.
type Named<'t> = BTreeMap<&'t str, (Place, Option<Arc<Upstream>>)>;

/// Reads both lists. Without any upstream there is the embedded one, named `local`; it is also there
/// when a voice names it. Without any upstream and voice there is the voice `default` on it.
pub(super) fn read<'t>(
    top: &mut Section<'t>,
    around: &Surroundings,
) -> (Vec<Arc<Upstream>>, Vec<Arc<Voice>>) {
    let mut upstreams = Vec::new();
    let mut named = Named::new();
    let entries = top.list("upstream");
    for node in entries {
        upstreams.extend(upstream(node, top, &mut named, around));
    }
    let voice_entries = top.list("voice");
    let local_wanted = entries.is_empty() || voice_entries.iter().any(names_local);
    if let Some(local) = local_upstream().filter(|_| local_wanted && !named.contains_key(LOCAL.0)) {
        named.insert(LOCAL.0, (Place::Whole, Some(local.clone())));
        upstreams.push(local);
    }
    let mut taken = BTreeMap::new();
    let mut voices: Vec<_> =
        voice_entries.iter().filter_map(|node| voice(node, top, &named, &mut taken)).collect();
    if entries.is_empty() && voice_entries.is_empty() {
        voices.extend(upstreams.first().map(default_voice));
    }
    (upstreams, voices)
}

/// Whether a voice has a route to the embedded upstream by its usual name.
fn names_local(voice: &Node) -> bool {
    let field = |node: &Node, key: &str| match &node.value {
        super::tree::Value::Table(table) => table.get(key).cloned(),
        _ => None,
    };
    match field(voice, "routes").map(|routes| routes.value) {
        Some(super::tree::Value::List(routes)) => routes
            .iter()
            .any(|route| field(route, "upstream").is_some_and(|name| name.text() == Some(LOCAL.0))),
        _ => false,
    }
}

fn upstream<'t>(
    node: &'t Node,
    top: &Section<'t>,
    named: &mut Named<'t>,
    around: &Surroundings,
) -> Option<Arc<Upstream>> {
    let mut section = entry(node, "upstream", top);
    let name = section.required_text("name", "cartesia-eu");
    let kind = section.required_text("kind", "cartesia");
    let provider = kind.and_then(|kind| known_provider(kind, &section));
    let url = section.text("url");
    let key_place = section.place_of("api_key");
    let has_key = section.node("api_key").is_some();
    let api_key = secret(&mut section, "api_key", &key_variable(kind), around);
    let api = provider.map_or("", |provider| api(provider, &mut section));
    let streams = section.count("streams", UPSTREAM_STREAMS, 1..=100_000);
    let pool = pool(section.section("pool"));
    let watchdogs = watchdogs(section.section("watchdogs"));
    if let Some(provider) = provider {
        check_key(provider, has_key, &key_place, &section);
        if let Some(url) = url {
            check_url(provider, url, &section);
        }
    }
    let read = name.zip(provider).map(|(name, provider)| {
        let url = url.unwrap_or_else(|| provider.default_url()).trim_end_matches('/').to_owned();
        let account = Account { url, api_key, api };
        Arc::new(Upstream { name: name.into(), provider, account, streams, pool, watchdogs })
    });
    if let Some(name) = name {
        claim_name(name, &section, named, read.clone());
    }
    section.done();
    read
}

/// Which of the vendor's wire protocols is spoken.
fn api(provider: &'static dyn Provider, section: &mut Section<'_>) -> &'static str {
    let apis: Vec<_> = provider.apis().iter().map(|api| (*api, *api)).collect();
    match apis.first() {
        Some((_, default)) => section.choice("api", *default, &apis),
        None => "",
    }
}

/// The section of one list entry, called by its name where it has one.
fn entry<'t>(node: &'t Node, what: &str, top: &Section<'t>) -> Section<'t> {
    let name = match &node.value {
        super::tree::Value::Table(table) => table.get("name").and_then(Node::text),
        _ => None,
    };
    let label = name.map_or_else(|| what.to_owned(), |name| format!("{what} \"{name}\""));
    Section::new(node, &label, top.faults)
}

fn known_provider(kind: &str, section: &Section<'_>) -> Option<&'static dyn Provider> {
    let found = provider(kind);
    if found.is_none() {
        let built = providers().iter().map(|provider| provider.kind());
        let message = if KINDS.contains(&kind) {
            let built: Vec<_> = built.collect();
            format!("kind \"{kind}\" is not supported by this build yet; it has {}", built.join(", "))
        } else {
            format!("kind \"{kind}\" is unknown; {}", advice(kind, KINDS))
        };
        section.fault(&section.place_of("kind"), message);
    }
    found
}

fn key_variable(kind: Option<&str>) -> String {
    format!("{}_API_KEY", kind.unwrap_or("vendor").to_uppercase().replace('-', "_"))
}

fn check_key(provider: &dyn Provider, has_key: bool, place: &Place, section: &Section<'_>) {
    let kind = provider.kind();
    if provider.needs_key() && !has_key {
        let variable = key_variable(Some(kind));
        section.faults.add_missing(
            place,
            section.labelled(&format!(
                "kind \"{kind}\" needs an api_key; add api_key = {{ env = \"{variable}\" }} or {{ file = \"…\" }}"
            )),
        );
    }
    if !provider.needs_key() && has_key {
        section.fault(place, format!("kind \"{kind}\" takes no api_key; remove it"));
    }
}

fn check_url(provider: &dyn Provider, url: &str, section: &Section<'_>) {
    let place = section.place_of("url");
    let standard = provider.default_url();
    if standard.is_empty() {
        section.fault(&place, format!("kind \"{}\" has no address; remove url", provider.kind()));
        return;
    }
    let schemes = if standard.starts_with("ws") { ["wss", "ws"] } else { ["https", "http"] };
    let fits = url.split_once("://").is_some_and(|(scheme, rest)| {
        let host = rest.split(['/', '?']).next().unwrap_or("");
        schemes.contains(&scheme) && !host.is_empty() && !host.contains(['@', ' '])
    });
    if !fits {
        let [secure, plain] = schemes;
        section.fault(
            &place,
            format!("url must begin with {secure}:// or {plain}:// and a host; write it like \"{standard}\""),
        );
    }
}

fn claim_name<'t>(name: &'t str, section: &Section<'_>, named: &mut Named<'t>, read: Option<Arc<Upstream>>) {
    let place = section.place_of("name");
    if let Some(problem) = name_problem(name) {
        section.fault(&place, format!("name {problem}"));
    }
    match named.get(name) {
        Some((first, _)) => section.fault(&place, taken(first)),
        None => {
            named.insert(name, (place, read));
        }
    }
}

fn taken(first: &Place) -> String {
    match first {
        Place::Line(line) => format!("the name is taken by line {line}; choose another"),
        _ => "the name is taken; choose another".to_owned(),
    }
}

fn pool(mut section: Section<'_>) -> PoolSettings {
    let defaults = PoolSettings::default();
    let pool = PoolSettings {
        warm: section.count("warm", defaults.warm, 0..=1_000),
        max_links: section.count("max_links", defaults.max_links, 1..=100_000),
        idle: section.duration("idle", defaults.idle, 24 * HOUR),
        max_age: section.duration("max_age", defaults.max_age, 24 * HOUR),
        dials_per_second: section.number("dials_per_second", defaults.dials_per_second, 10_000.0),
    };
    if pool.warm > pool.max_links {
        section.fault(
            &section.place_of("warm"),
            format!("warm is {}, more than max_links {}; lower it", pool.warm, pool.max_links),
        );
    }
    section.done();
    pool
}

fn watchdogs(mut section: Section<'_>) -> Watchdogs {
    let defaults = Watchdogs::default();
    let most = Duration::from_secs(600);
    let watchdogs = Watchdogs {
        connect: section.duration("connect", defaults.connect, most),
        first_audio: section.duration("first_audio", defaults.first_audio, most),
        gap: section.duration("gap", defaults.gap, most),
        end: section.duration("end", defaults.end, most),
        audio: section.duration("audio", defaults.audio, 24 * HOUR),
    };
    section.done();
    watchdogs
}

fn voice<'t>(
    node: &'t Node,
    top: &Section<'t>,
    named: &Named<'t>,
    taken_names: &mut BTreeMap<&'t str, Place>,
) -> Option<Arc<Voice>> {
    let mut section = entry(node, "voice", top);
    let name = section.required_text("name", "narrator");
    let language = section.text("language").map(str::to_owned);
    let entries = section.list("routes");
    if entries.is_empty() {
        section.faults.add_missing(
            &section.place_of("routes"),
            section.labelled("has no routes; add routes = [ { upstream = \"…\", voice = \"…\" } ]"),
        );
    }
    let label = section.labelled("route");
    let routes: Vec<_> = entries
        .iter()
        .filter_map(|entry| route(Section::new(entry, &label, section.faults), named))
        .collect();
    if let Some(name) = name {
        let place = section.place_of("name");
        match taken_names.get(name) {
            Some(first) => section.fault(&place, taken(first)),
            None => {
                taken_names.insert(name, place);
            }
        }
    }
    section.done();
    Some(Arc::new(Voice { name: name?.into(), language, routes }))
}

fn route(mut section: Section<'_>, named: &Named<'_>) -> Option<Route> {
    let upstream = section.required_text("upstream", "cartesia-eu");
    let model = section.text("model").map(str::to_owned);
    let voice = section.required_text("voice", "default");
    let found = upstream.and_then(|name| {
        let found = named.get(name);
        if found.is_none() {
            let advice = advice(name, named.keys().copied());
            let place = section.place_of("upstream");
            section.fault(&place, format!("upstream \"{name}\" is not configured; {advice}"));
        }
        found.and_then(|(_, upstream)| upstream.clone())
    });
    if let (Some(upstream), Some(voice)) = (&found, voice)
        && let Err(fault) = upstream.provider.validate(voice, &Map::new())
    {
        section.fault(&section.place_of("voice"), format!("voice \"{voice}\": {}", fault.detail));
    }
    section.done();
    Some(Route { upstream: found?, model, voice: voice?.to_owned() })
}
