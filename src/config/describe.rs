//! Every effective value as key and value, with secrets as `***`.

use std::time::Duration;

use voxrelay_protocol::request::Credential;

use super::{AuthMode, Config, Limits, Log, Upstream, Voice};

impl Config {
    /// Every effective value in the order of the config, as its dotted key and as TOML. A secret shows
    /// as `"***"`; what is not set shows as an empty value.
    #[must_use]
    pub fn describe(&self) -> Vec<(String, String)> {
        let mut rows = Rows(Vec::new());
        rows.add("server.listen", quoted(self.server.listen));
        rows.add("server.origins", format!("{:?}", self.server.origins));
        rows.add("operator.listen", quoted(self.operator.listen));
        rows.add("operator.admin_token", secret(self.operator.admin_token.as_ref()));
        rows.add("auth.mode", quoted(if self.auth.mode == AuthMode::Open { "open" } else { "keys" }));
        rows.add("auth.allow_open_on_public", self.auth.allow_open_on_public);
        rows.add("auth.first_frame_timeout", duration(self.auth.first_frame_timeout));
        rows.add("auth.pepper", secret(self.auth.pepper.as_ref()));
        rows.add("store.url", quoted(format_args!("sqlite:{}", self.store.path.display())));
        limits(&self.limits, &mut rows);
        rows.add("drain", duration(self.drain));
        rows.add("log.format", quoted(if self.log == Log::Json { "json" } else { "pretty" }));
        for (name, plan) in &self.plans {
            rows.add(&format!("plans.{name}.streams"), plan.streams);
        }
        for upstream in &self.upstreams {
            describe_upstream(upstream, &mut rows);
        }
        for voice in &self.voices {
            describe_voice(voice, &mut rows);
        }
        rows.0
    }
}

struct Rows(Vec<(String, String)>);

impl Rows {
    fn add(&mut self, key: &str, value: impl ToString) {
        self.0.push((key.to_owned(), value.to_string()));
    }
}

fn quoted(value: impl std::fmt::Display) -> String {
    format!("{:?}", value.to_string())
}

fn duration(value: Duration) -> String {
    quoted(humantime::format_duration(value).to_string().replace(' ', ""))
}

fn secret(value: Option<&Credential>) -> String {
    value.map_or_else(String::new, |_| quoted("***"))
}

fn limits(limits: &Limits, rows: &mut Rows) {
    rows.add("limits.sessions", limits.sessions);
    rows.add("limits.unauthenticated_sessions", limits.unauthenticated_sessions);
    rows.add("limits.unauthenticated_per_source", limits.unauthenticated_per_source);
    rows.add("limits.session_streams", limits.session_streams);
    rows.add("limits.characters_per_stream", limits.characters_per_stream);
    rows.add("limits.message_bytes", limits.message_bytes);
    rows.add("limits.messages_per_second", limits.messages_per_second);
    rows.add("limits.messages_burst", limits.messages_burst);
    rows.add("limits.controls_per_second", limits.controls_per_second);
    rows.add("limits.controls_burst", limits.controls_burst);
    rows.add("limits.text_buffer", limits.text_buffer);
    rows.add("limits.stream_buffer", limits.stream_buffer);
    rows.add("limits.head_timeout", duration(limits.head_timeout));
    rows.add("limits.idle_timeout", duration(limits.idle_timeout));
    rows.add("limits.text_idle", duration(limits.text_idle));
    rows.add("limits.ping", duration(limits.ping));
    rows.add("limits.pong_timeout", duration(limits.pong_timeout));
    rows.add("limits.write_timeout", duration(limits.write_timeout));
    rows.add("limits.queue_timeout", duration(limits.queue_timeout));
    rows.add("limits.queue_streams", limits.queue_streams);
}

fn describe_upstream(upstream: &Upstream, rows: &mut Rows) {
    let mut add = |key: &str, value: String| rows.add(&format!("upstream.{}.{key}", upstream.name), value);
    add("kind", quoted(upstream.provider.kind()));
    add("url", quoted(&upstream.account.url));
    if !upstream.account.api.is_empty() {
        add("api", quoted(upstream.account.api));
    }
    add("api_key", secret(upstream.account.api_key.as_ref()));
    add("streams", upstream.streams.to_string());
    add("pool.warm", upstream.pool.warm.to_string());
    add("pool.max_links", upstream.pool.max_links.to_string());
    add("pool.idle", duration(upstream.pool.idle));
    add("pool.max_age", duration(upstream.pool.max_age));
    add("pool.dials_per_second", upstream.pool.dials_per_second.to_string());
    add("watchdogs.connect", duration(upstream.watchdogs.connect));
    add("watchdogs.first_audio", duration(upstream.watchdogs.first_audio));
    add("watchdogs.gap", duration(upstream.watchdogs.gap));
    add("watchdogs.end", duration(upstream.watchdogs.end));
    add("watchdogs.audio", duration(upstream.watchdogs.audio));
}

fn describe_voice(voice: &Voice, rows: &mut Rows) {
    let mut add = |key: &str, value: String| rows.add(&format!("voice.{}.{key}", voice.name), value);
    add("language", voice.language.as_deref().map(quoted).unwrap_or_default());
    for (index, route) in voice.routes.iter().enumerate() {
        add(&format!("routes.{index}.upstream"), quoted(&route.upstream.name));
        add(&format!("routes.{index}.model"), route.model.as_deref().map(quoted).unwrap_or_default());
        add(&format!("routes.{index}.voice"), quoted(&route.voice));
    }
}
