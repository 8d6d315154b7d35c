//! `voxrelay say`: a real client of the native protocol, token by token, into a WAV file.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use voxrelay_protocol::request::Credential;
use voxrelay_protocol::vendor::native::client::ClientMessage;
use voxrelay_protocol::vendor::native::messages::ServerMessage;
use voxrelay_protocol::{AudioFormat, Container, Encoding, FaultKind, FrameRef};

use super::CliError;
use super::login::client_settings;
use super::wav::WavFile;
use crate::Relay;
use crate::config::Config;
use crate::transport::{Transport, websocket};

const STREAM: &str = "say";
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes of standard input taken at once; what is typed or piped is spoken as it comes.
const INPUT: usize = 4096;

/// Arguments of `say`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to say; without it, or with "-", standard input is spoken as it comes
    text: Option<String>,
    /// The relay; without one here, in VOXRELAY_URL or from `login`, a relay is started inside
    #[arg(long)]
    url: Option<String>,
    /// The key; better in VOXRELAY_API_KEY or kept by `login`, where no process list shows it
    #[arg(long)]
    key: Option<String>,
    /// A configured voice, or with --provider one of the provider's own
    #[arg(long, default_value = "default")]
    voice: String,
    /// An upstream's name or kind, to speak with one of its own voices
    #[arg(long)]
    provider: Option<String>,
    /// ENCODING or ENCODING:RATE, for example pcm_s16le:16000 or mulaw:8000
    #[arg(long, default_value = "pcm_s16le:24000", value_parser = parse_format)]
    format: AudioFormat,
    /// Where the WAV file goes; "-" is standard output
    #[arg(long, default_value = "voxrelay.wav")]
    out: PathBuf,
    /// Print the relay's own account of the stream as one JSON object
    #[arg(long)]
    json: bool,
}

/// Speaks.
pub async fn run(args: Args) -> Result<(), CliError> {
    let asked = client_settings(args.url.clone(), args.key.clone()).map_err(failed)?;
    let Some(url) = asked.url else { return say_inside(args).await };
    let key = asked.key.ok_or_else(|| {
        CliError::Failed("no key: set VOXRELAY_API_KEY, or run `voxrelay login` once".to_owned())
    })?;
    say(&args, &url, &key).await
}

/// A whole relay for one sentence: real socket, real key, real quota, gone afterwards.
async fn say_inside(args: Args) -> Result<(), CliError> {
    let home = tempfile::tempdir().map_err(failed)?;
    let mut config = Config::default();
    config.server.listen.set_port(0);
    config.operator.listen.set_port(0);
    config.store.path = home.path().join("voxrelay.db");
    let relay = Relay::start(config).await.map_err(failed)?;
    let Some(key) = relay.first_key.as_ref().map(|key| Credential::new(key.secret.as_str())) else {
        return Err(CliError::Failed("the relay inside made no key".to_owned()));
    };
    let told = say(&args, &format!("http://{}", relay.addr), &key).await;
    relay.stop().await;
    told
}

async fn say(args: &Args, url: &str, key: &Credential) -> Result<(), CliError> {
    let address = stream_url(url)?;
    let headers = [("authorization", Credential::new(format!("Bearer {}", key.expose())))];
    let dialled = websocket::dial(&address, &headers, CONNECT).await;
    let mut transport: Transport = Box::new(dialled.map_err(|fault| {
        let why = match fault.kind {
            FaultKind::Auth => "the relay does not accept the key",
            _ => &fault.note,
        };
        CliError::Failed(format!("cannot connect to {address}: {why} ({})", fault.kind.as_str()))
    })?);
    let start = ClientMessage::Start {
        stream: STREAM,
        voice: &args.voice,
        provider: args.provider.as_deref(),
        format: Some(args.format),
        language: None,
        words: false,
        frames: "raw",
    };
    send(&mut transport, &start).await?;
    let mut input = Input::new(args.text.as_deref());
    let mut listening = Listening::new(args)?;
    loop {
        tokio::select! {
            text = input.next(), if !input.over => match text.map_err(failed)? {
                Some(text) => {
                    listening.asked();
                    send(&mut transport, &ClientMessage::Text { stream: STREAM, text: &text }).await?;
                    // Whoever types a line wants to hear it now.
                    if input.typed && text.ends_with('\n') {
                        send(&mut transport, &ClientMessage::Flush { stream: STREAM, mark: None }).await?;
                    }
                }
                None => send(&mut transport, &ClientMessage::End { stream: STREAM }).await?,
            },
            message = transport.next() => {
                let message = message.ok_or_else(|| failed("the relay closed the connection"))?.map_err(failed)?;
                let Some(frame) = message.frame() else { continue };
                if let Some(done) = listening.hear(frame)? {
                    return listening.finish(args, &done);
                }
            }
        }
    }
}

async fn send(transport: &mut Transport, message: &ClientMessage<'_>) -> Result<(), CliError> {
    transport.send(message.frame()).await.map_err(failed)
}

/// The address of the native WebSocket on a relay: `http` and `https` name the same places.
fn stream_url(url: &str) -> Result<String, CliError> {
    let url = url.trim_end_matches('/');
    let (scheme, rest) = url.split_once("://").ok_or_else(|| {
        CliError::Failed(format!("{url} is no address: write http://HOST:PORT or wss://HOST"))
    })?;
    let scheme = match scheme {
        "http" | "ws" => "ws",
        "https" | "wss" => "wss",
        _ => {
            return Err(CliError::Failed(format!(
                "{scheme}:// is not spoken here: use http, https, ws or wss"
            )));
        }
    };
    Ok(if rest.contains('/') { format!("{scheme}://{rest}") } else { format!("{scheme}://{rest}/v1/stream") })
}

fn parse_format(text: &str) -> Result<AudioFormat, String> {
    let (name, rate) = text.split_once(':').unwrap_or((text, "24000"));
    let encoding: Encoding = serde_json::from_value(serde_json::Value::from(name))
        .map_err(|_| "the encoding is one of pcm_s16le, pcm_f32le, mulaw, alaw".to_owned())?;
    let rate = rate.parse().map_err(|_| "the rate is a number of Hz, for example 16000".to_owned())?;
    Ok(AudioFormat { encoding, sample_rate: rate, container: Container::Wav })
}

/// The text: given whole, cut into words as a language model would send them, or standard input.
struct Input {
    words: Option<std::vec::IntoIter<String>>,
    stdin: tokio::io::Stdin,
    held: Vec<u8>,
    typed: bool,
    over: bool,
}

impl Input {
    fn new(text: Option<&str>) -> Self {
        let words = text.filter(|text| *text != "-").map(|text| {
            text.split_inclusive(char::is_whitespace).map(str::to_owned).collect::<Vec<_>>().into_iter()
        });
        let typed = words.is_none() && std::io::stdin().is_terminal();
        Self { words, stdin: tokio::io::stdin(), held: Vec::new(), typed, over: false }
    }

    /// The next piece; `None` once at the end. Cancel-safe: a read that is dropped has taken nothing.
    async fn next(&mut self) -> std::io::Result<Option<String>> {
        if let Some(words) = &mut self.words {
            let word = words.next();
            self.over = word.is_none();
            return Ok(word);
        }
        loop {
            let mut piece = [0; INPUT];
            let read = self.stdin.read(&mut piece).await?;
            self.held.extend_from_slice(&piece[..read]);
            if read == 0 {
                self.over = true;
                return Ok(None);
            }
            // A character may be cut by the read: its first bytes wait for the rest.
            let whole = match std::str::from_utf8(&self.held) {
                Ok(_) => self.held.len(),
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                Err(_) => return Err(std::io::Error::other("standard input is not UTF-8 text")),
            };
            if whole > 0 {
                let rest = self.held.split_off(whole);
                let text = String::from_utf8(std::mem::replace(&mut self.held, rest));
                return text.map(Some).map_err(std::io::Error::other);
            }
        }
    }
}

/// What has been heard so far, and the file it goes into.
struct Listening {
    file: WavFile,
    format: AudioFormat,
    bytes: u64,
    /// When the first text was sent.
    began: Option<Instant>,
    first: Option<Duration>,
    bar: ProgressBar,
}

impl Listening {
    fn new(args: &Args) -> Result<Self, CliError> {
        let bar = if std::io::stderr().is_terminal() && !args.json {
            let style = ProgressStyle::with_template("{spinner} {msg}").map_err(failed)?;
            let bar =
                ProgressBar::new_spinner().with_style(style).with_message("waiting for the first audio");
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        } else {
            ProgressBar::hidden()
        };
        let file = WavFile::create(&args.out, args.format).map_err(|error| writing(&args.out, &error))?;
        Ok(Self { file, format: args.format, bytes: 0, began: None, first: None, bar })
    }

    fn asked(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    /// One message of the relay; the last one when the stream has ended well.
    fn hear(&mut self, message: FrameRef<'_>) -> Result<Option<ServerMessage>, CliError> {
        let text = match message {
            FrameRef::Binary(audio) => {
                let began = self.began;
                let first =
                    *self.first.get_or_insert_with(|| began.map_or(Duration::ZERO, |at| at.elapsed()));
                self.file.write(audio).map_err(failed)?;
                self.bytes += audio.len() as u64;
                #[allow(clippy::cast_precision_loss)] // for people
                let seconds =
                    self.format.ms(self.bytes.saturating_sub(self.format.header_bytes() as u64)) as f64 / 1e3;
                self.bar.set_message(format!(
                    "first audio after {} ms, {seconds:.1} s so far",
                    first.as_millis()
                ));
                return Ok(None);
            }
            FrameRef::Text(text) => text,
        };
        match serde_json::from_str(text).map_err(failed)? {
            done @ ServerMessage::Done { .. } => Ok(Some(done)),
            ServerMessage::Error { problem, .. } => Err(CliError::Failed(format!(
                "{}: {} (request {})",
                problem.code, problem.detail, problem.request_id
            ))),
            _ => Ok(None),
        }
    }

    fn finish(self, args: &Args, done: &ServerMessage) -> Result<(), CliError> {
        self.file.finish().map_err(|error| writing(&args.out, &error))?;
        self.bar.finish_and_clear();
        let ServerMessage::Done { characters, audio_ms, first_audio_ms, timing, provider, .. } = done else {
            return Ok(());
        };
        let mut told = std::io::stderr();
        if args.json {
            let told = serde_json::to_string(done).map_err(failed)?;
            // With the audio on standard output there is no other place for it.
            if args.out == Path::new("-") {
                eprintln!("{told}")
            } else {
                println!("{told}")
            }
            return Ok(());
        }
        let heard = self.first.map_or(0, |first| first.as_millis());
        #[allow(clippy::cast_precision_loss)] // for people
        let seconds = *audio_ms as f64 / 1e3;
        writeln!(
            told,
            "{}: {seconds:.2} s of speech from {characters} characters by {provider}",
            args.out.display()
        )
        .map_err(failed)?;
        writeln!(
            told,
            "first audio {:.1} ms at the relay (queue {:.1}, connect {:.1}, upstream {:.1}, relay {:.1}), {heard} ms here",
            first_audio_ms.unwrap_or(0.0),
            timing.queue_ms,
            timing.connect_ms,
            timing.upstream_ms,
            timing.relay_ms,
        )
        .map_err(failed)
    }
}

fn writing(path: &Path, error: &std::io::Error) -> CliError {
    CliError::Failed(format!("cannot write {}: {error}", path.display()))
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::Failed(error.to_string())
}
