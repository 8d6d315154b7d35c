//! `voxrelay keys`: made, listed, shown and revoked. A running relay follows within a second.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::common::{Common, pairs, table, time};
use super::error::CliError;
use crate::keys::{Scope, Secret};
use crate::store::{DEFAULT_ORG, KeyRecord, NewKey, Store, Usage};

/// `voxrelay keys`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key and show its secret once
    Create(Create),
    /// List keys, without their secrets
    List {
        /// Only those of this organisation
        #[arg(long)]
        org: Option<String>,
    },
    /// Show one key and what it has used
    Show {
        /// Its id, key_…
        id: String,
    },
    /// Revoke a key for ever; what runs on it ends within a second
    Revoke {
        /// Its id, key_…
        id: String,
    },
    /// Not built yet
    #[command(hide = true)]
    Rotate {
        /// Its id, key_…
        id: String,
        /// How long both secrets work
        #[arg(long)]
        overlap: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// The organisation it belongs to
    #[arg(long, default_value = DEFAULT_ORG)]
    org: String,
    /// A name for people
    #[arg(long)]
    name: String,
    /// Streams at once, over the plan's limit
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    streams: Option<u64>,
    /// What it may do: synthesize, voices:read, usage:read [default: all]
    #[arg(long, value_delimiter = ',', value_parser = parse_scope)]
    scopes: Vec<Scope>,
    /// The only voices it may use [default: every voice]
    #[arg(long, value_delimiter = ',')]
    voices: Vec<String>,
    /// How long it works, such as 90d [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = parse_expiry)]
    expires: Option<SystemTime>,
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    let known: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    Scope::parse(text).ok_or_else(|| format!("the scopes are {}", known.join(", ")))
}

fn parse_expiry(text: &str) -> Result<SystemTime, String> {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    let duration = humantime::parse_duration(text).map_err(|_| "write it like 12h or 90d".to_owned())?;
    if duration.is_zero() || duration > CENTURY {
        return Err("it must be above zero and at most 100 years".to_owned());
    }
    Ok(SystemTime::now() + duration)
}

const NO_ROTATE: &str =
    "rotate is not built yet; make a new key, let its users change over, then revoke this one";

/// Runs one of the commands.
///
/// # Errors
/// The config does not load, or the store cannot do it.
pub async fn run(args: Args) -> Result<(), CliError> {
    let Args { common, command } = args;
    let config = common.load()?;
    let store = match command {
        Command::Create(_) => common.store(&config).await?,
        Command::Rotate { .. } => return Err(CliError::Failed(NO_ROTATE.to_owned())),
        _ => common.existing_store(&config).await?,
    };
    let outcome = act(&common, &store, command).await;
    store.close().await;
    outcome
}

async fn act(common: &Common, store: &Store, command: Command) -> Result<(), CliError> {
    match command {
        Command::Create(create) => {
            let (key, secret) = store.create_key(&new_key(create)?).await?;
            common.print(|| with_secret(&key, &secret), || made(&key, &secret))
        }
        Command::List { org } => {
            let keys = store.list_keys(org.as_deref()).await?;
            common.print(|| keys.iter().map(to_json).collect(), || listed(&keys))
        }
        Command::Show { id } => {
            let (key, usage) = (store.show_key(&id).await?, store.usage_of(&id).await?);
            common.print(|| with_usage(&key, &usage), || shown(&key, &usage))
        }
        Command::Revoke { id } => {
            let key = store.revoke_key(&id).await?;
            let KeyRecord { id, name, org, .. } = &key;
            common.print(
                || to_json(&key),
                || format!("Revoked {id} ({name} of {org}). What runs on it ends within a second.\n"),
            )
        }
        Command::Rotate { .. } => Err(CliError::Failed(NO_ROTATE.to_owned())),
    }
}

fn new_key(create: Create) -> Result<NewKey, CliError> {
    let Create { org, name, streams, scopes, voices, expires } = create;
    if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        return Err(CliError::Failed("the name must be 1 to 100 characters on one line".to_owned()));
    }
    let scopes = if scopes.is_empty() { Scope::ALL.to_vec() } else { scopes };
    let voices = Some(voices).filter(|voices| !voices.is_empty());
    Ok(NewKey { org, name, scopes, voices, streams, expires })
}

/// What to show of a key that was just made: its secret once, with a line to copy.
#[must_use]
pub fn made(key: &KeyRecord, secret: &Secret) -> String {
    format!(
        "Made the key {} ({} of {}). Its secret is shown this once and kept nowhere:\n\n    \
         export VOXRELAY_API_KEY={}\n",
        key.id,
        key.name,
        key.org,
        secret.expose()
    )
}

fn status(key: &KeyRecord) -> &'static str {
    if key.revoked.is_some() {
        "revoked"
    } else if key.has_expired(SystemTime::now()) {
        "expired"
    } else {
        "active"
    }
}

fn to_json(key: &KeyRecord) -> Value {
    let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    json!({
        "id": key.id,
        "org": key.org,
        "plan": key.plan,
        "name": key.name,
        "status": status(key),
        "scopes": scopes,
        "voices": key.voices,
        "streams": key.streams,
        "created": time(key.created),
        "expires": key.expires.map(time),
        "revoked": key.revoked.map(time),
        "last_used": key.last_used.map(time),
    })
}

fn with_secret(key: &KeyRecord, secret: &Secret) -> Value {
    let mut shown = to_json(key);
    shown["secret"] = secret.expose().into();
    shown
}

fn with_usage(key: &KeyRecord, usage: &Usage) -> Value {
    let mut shown = to_json(key);
    shown["usage"] = json!({
        "characters": usage.characters,
        "audio_ms": usage.audio_ms,
        "streams": usage.streams,
    });
    shown
}

fn listed(keys: &[KeyRecord]) -> String {
    let row = |key: &KeyRecord| {
        vec![
            key.id.clone(),
            key.org.clone(),
            key.name.clone(),
            status(key).to_owned(),
            key.streams.map_or("as the plan".to_owned(), |streams| streams.to_string()),
            key.expires.map_or("never".to_owned(), time),
            key.last_used.map_or("never".to_owned(), time),
        ]
    };
    let heading = ["ID", "ORGANISATION", "NAME", "STATUS", "STREAMS", "EXPIRES", "LAST USED"];
    table(&heading, &keys.iter().map(row).collect::<Vec<_>>())
}

fn shown(key: &KeyRecord, usage: &Usage) -> String {
    let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    let rows = [
        ("id", key.id.clone()),
        ("organisation", format!("{} on the plan {}", key.org, key.plan)),
        ("name", key.name.clone()),
        ("status", status(key).to_owned()),
        ("scopes", scopes.join(", ")),
        ("voices", key.voices.as_ref().map_or("every voice".to_owned(), |voices| voices.join(", "))),
        ("streams", key.streams.map_or("as the plan".to_owned(), |streams| streams.to_string())),
        ("created", time(key.created)),
        ("expires", key.expires.map_or("never".to_owned(), time)),
        ("revoked", key.revoked.map_or("no".to_owned(), time)),
        ("last used", key.last_used.map_or("never".to_owned(), time)),
        ("characters", usage.characters.to_string()),
        ("audio", format!("{} ms", usage.audio_ms)),
        ("streams ended", usage.streams.to_string()),
    ];
    pairs(&rows.map(|(name, value)| (name.to_owned(), value)))
}
