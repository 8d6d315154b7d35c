//! `voxrelay login`, and where the commands that speak to a relay find its address and their key.

use std::fs::OpenOptions;
use std::io::{BufRead, ErrorKind, IsTerminal, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use voxrelay_protocol::request::Credential;

use super::error::CliError;
use crate::keys::Secret;

/// Where a relay without a config listens.
const LOCAL_URL: &str = "http://127.0.0.1:8080";
/// A line of input and a settings file are at most this long, in bytes.
const LONGEST: u64 = 4096;

/// `voxrelay login`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The relay's address; asked for on a terminal
    #[arg(long, env = "VOXRELAY_URL")]
    url: Option<String>,
}

/// How to reach a relay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientSettings {
    /// The relay's address; absent when nobody said.
    pub url: Option<String>,
    /// The key to show it; absent when nobody said, or when the key that is kept is for another relay.
    pub key: Option<Credential>,
}

/// Asks for the address of a relay and a key, and keeps both. The key comes from the terminal without
/// an echo, or as a line of standard input; it cannot be an argument, which others could see.
///
/// # Errors
/// The key is none, or the file cannot be written.
pub async fn run(args: Args) -> Result<(), CliError> {
    let (url, key) = ask(args.url)?;
    let url = check_url(&url)?;
    let secret = Secret::parse(key.expose().trim()).map_err(|fault| CliError::Failed(fault.to_string()))?;
    let path = settings_path(&|name| std::env::var(name).ok())?;
    keep(&path, &url, &secret)?;
    eprintln!("The address and the key are kept in {}.", path.display());
    Ok(())
}

/// The address and key for a command: what it was given as arguments, else `VOXRELAY_URL` and
/// `VOXRELAY_API_KEY`, else what `voxrelay login` keeps. The key that is kept goes only to the relay it is
/// kept for.
///
/// # Errors
/// The file that keeps them cannot be used.
pub fn client_settings(url: Option<String>, key: Option<String>) -> Result<ClientSettings, CliError> {
    choose(url, key, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

fn choose(
    url: Option<String>,
    key: Option<String>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<ClientSettings, CliError> {
    let kept = match settings_path(variable) {
        Ok(path) => read_kept(&path)?,
        Err(_) => ClientSettings::default(),
    };
    let url = url.or_else(|| variable("VOXRELAY_URL")).or_else(|| kept.url.clone());
    let same_relay = url.as_deref().map(bare) == kept.url.as_deref().map(bare);
    let key = key.or_else(|| variable("VOXRELAY_API_KEY")).map(Credential::new);
    Ok(ClientSettings { url, key: key.or(kept.key.filter(|_| same_relay)) })
}

fn bare(url: &str) -> &str {
    url.trim_end_matches('/')
}

fn ask(url: Option<String>) -> Result<(String, Credential), CliError> {
    if !std::io::stdin().is_terminal() {
        let mut line = zeroize::Zeroizing::new(String::new());
        std::io::stdin().lock().take(LONGEST).read_line(&mut line).map_err(CliError::io("standard input"))?;
        return Ok((url.unwrap_or_else(|| LOCAL_URL.to_owned()), Credential::new(line.trim())));
    }
    let terminal = console::Term::stderr();
    let failed = || CliError::io("the terminal");
    let url = match url {
        Some(url) => url,
        None => {
            terminal.write_str(&format!("Address of the relay [{LOCAL_URL}]: ")).map_err(failed())?;
            let line = terminal.read_line().map_err(failed())?;
            if line.trim().is_empty() { LOCAL_URL.to_owned() } else { line.trim().to_owned() }
        }
    };
    terminal.write_str("Key (not shown): ").map_err(failed())?;
    Ok((url, Credential::new(terminal.read_secure_line().map_err(failed())?)))
}

fn check_url(url: &str) -> Result<String, CliError> {
    let fits = url.split_once("://").is_some_and(|(scheme, rest)| {
        matches!(scheme, "http" | "https" | "ws" | "wss") && !bare(rest).is_empty() && !rest.contains('@')
    });
    if fits {
        return Ok(bare(url).to_owned());
    }
    Err(CliError::Failed(format!("the address of a relay looks like {LOCAL_URL}")))
}

fn settings_path(variable: &dyn Fn(&str) -> Option<String>) -> Result<PathBuf, CliError> {
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))
        .map(|folder| folder.join("voxrelay/config.toml"))
        .ok_or_else(|| CliError::Failed("there is no home folder: set HOME".to_owned()))
}

fn keep(path: &Path, url: &str, secret: &Secret) -> Result<(), CliError> {
    let failed = || CliError::io(path.display().to_string());
    let url = toml::Value::from(url);
    let text = zeroize::Zeroizing::new(format!("url = {url}\nkey = \"{}\"\n", secret.expose()));
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed())?;
    }
    // A draft of its own, so that a file with wider permissions never holds the key.
    let draft = path.with_extension(format!("toml.{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed())?;
    file.set_permissions(PermissionsExt::from_mode(0o600)).map_err(failed())?;
    file.write_all(text.as_bytes()).map_err(failed())?;
    file.sync_all().map_err(failed())?;
    std::fs::rename(&draft, path).map_err(failed())
}

fn read_kept(path: &Path) -> Result<ClientSettings, CliError> {
    let failed = || CliError::io(path.display().to_string());
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(ClientSettings::default()),
        opened => opened.map_err(failed())?,
    };
    let mode = file.metadata().map_err(failed())?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        let shown = path.display();
        return Err(CliError::Failed(format!(
            "{shown} holds a key and may be read by others (mode {mode:04o}); run: chmod 600 {shown}"
        )));
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    file.take(LONGEST).read_to_string(&mut text).map_err(failed())?;
    let table: toml::Table = text.parse().map_err(|_| {
        CliError::Failed(format!("{} is not what voxrelay login writes; run it again", path.display()))
    })?;
    let field = |name: &str| table.get(name).and_then(toml::Value::as_str).map(str::to_owned);
    Ok(ClientSettings { url: field("url"), key: field("key").map(Credential::new) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_go_before_the_environment_and_that_before_what_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let secret = Secret::generate().unwrap();
        keep(&folder.path().join("voxrelay/config.toml"), "https://kept", &secret).unwrap();
        let home = folder.path().display().to_string();
        let bare = |name: &str| (name == "XDG_CONFIG_HOME").then(|| home.clone());
        let full = |name: &str| match name {
            "VOXRELAY_URL" => Some("https://variable".to_owned()),
            "VOXRELAY_API_KEY" => Some("variable-key".to_owned()),
            _ => bare(name),
        };
        let settings = |url: &str, key: Option<&str>| ClientSettings {
            url: Some(url.to_owned()),
            key: key.map(Credential::new),
        };
        let argument = || Some("https://argument".to_owned());

        assert_eq!(choose(None, None, &bare).unwrap(), settings("https://kept", Some(secret.expose())));
        assert_eq!(choose(None, None, &full).unwrap(), settings("https://variable", Some("variable-key")));
        let given = choose(argument(), Some("given-key".to_owned()), &full).unwrap();
        assert_eq!(given, settings("https://argument", Some("given-key")));
        let elsewhere = choose(argument(), None, &bare).unwrap();
        assert_eq!(
            elsewhere,
            settings("https://argument", None),
            "the key that is kept is for another relay"
        );
    }
}
