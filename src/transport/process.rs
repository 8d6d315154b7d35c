//! The way to the embedded voice: a child process and two pipes, as a stream and sink of frames.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use super::{Incoming, Wire};
use bytes::{Buf, BufMut, BytesMut};
use futures_util::{Sink, Stream};
use tempfile::TempDir;
use tokio::io::Join;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_util::codec::{Decoder, Encoder, Framed};
use voxrelay_protocol::vendor::embedded::messages::{HEADER, Header, Kind, PipeError};
use voxrelay_protocol::{FaultKind, Frame, UpstreamFault};

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Names the program whose `voice-worker` is run, where it is not the running one (in tests the
/// running one is the test). The first call counts; it must come before the first dial.
pub fn use_worker_program(path: impl Into<PathBuf>) {
    let _ = PROGRAM.set(path.into());
}

/// Starts a worker.
///
/// # Errors
/// `refused`: the binary has no voice in it, or the process cannot be started.
pub async fn dial_worker() -> Result<WorkerTransport, UpstreamFault> {
    if !crate::voice::AVAILABLE {
        return Err(refused("built without the feature embedded-voice"));
    }
    // Starting a process takes about a millisecond in which a thread of the runtime would serve
    // nobody else.
    let spawned = tokio::task::spawn_blocking(spawn).await;
    let Ok(Ok((mut child, folder))) = spawned else { return Err(refused("the voice worker does not start")) };
    let (Some(stdout), Some(stdin)) = (child.stdout.take(), child.stdin.take()) else {
        return Err(refused("the voice worker has no pipes"));
    };
    Ok(WorkerTransport { frames: Framed::new(tokio::io::join(stdout, stdin), PipeCodec), child, folder })
}

fn spawn() -> io::Result<(Child, TempDir)> {
    let folder = tempfile::Builder::new().prefix("voxrelay-worker-").tempdir()?;
    let mut command = Command::new(program()?);
    command.arg("voice-worker").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    // The worker parses what clients send: it gets nothing that it could give away. Files and
    // sockets of the relay are closed on exec by the standard library.
    command.env_clear().env("TMPDIR", folder.path()).kill_on_drop(true);
    #[cfg(unix)]
    command.arg0("voxrelay");
    Ok((command.spawn()?, folder))
}

fn program() -> io::Result<PathBuf> {
    match PROGRAM.get() {
        Some(path) => Ok(path.clone()),
        // Also runs when the file was replaced by a newer one: the worker is always our own version.
        None if cfg!(target_os = "linux") => Ok("/proc/self/exe".into()),
        None => std::env::current_exe(),
    }
}

/// A running worker. Dropping it kills the process.
#[derive(Debug)]
pub struct WorkerTransport {
    frames: Framed<Join<ChildStdout, ChildStdin>, PipeCodec>,
    child: Child,
    /// Where it may write. Removed after the child is killed, with whatever it had no time to remove.
    folder: TempDir,
}

impl WorkerTransport {
    /// The private folder the worker may write to.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The worker's process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }
}

impl Stream for WorkerTransport {
    type Item = Result<Incoming, UpstreamFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.frames).poll_next(cx).map_ok(Incoming::Frame).map_err(UpstreamFault::from)
    }
}

impl Wire for WorkerTransport {
    /// A pipe needs no pings: the end of the process is the end of the pipe.
    fn start_ping(self: Pin<&mut Self>) -> Result<bool, UpstreamFault> {
        Ok(false)
    }
}

impl Sink<Frame> for WorkerTransport {
    type Error = UpstreamFault;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamFault>> {
        Pin::new(&mut self.frames).poll_ready(cx).map_err(UpstreamFault::from)
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Frame) -> Result<(), UpstreamFault> {
        Pin::new(&mut self.frames).start_send(frame).map_err(UpstreamFault::from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamFault>> {
        Pin::new(&mut self.frames).poll_flush(cx).map_err(UpstreamFault::from)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamFault>> {
        Pin::new(&mut self.frames).poll_close(cx).map_err(UpstreamFault::from)
    }
}

/// The framing of the pipe.
#[derive(Debug)]
struct PipeCodec;

/// What can go wrong on the pipe.
#[derive(Debug, thiserror::Error)]
enum PipeFault {
    #[error(transparent)]
    Framing(#[from] PipeError),
    #[error("text is not UTF-8")]
    Utf8,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<PipeFault> for UpstreamFault {
    fn from(fault: PipeFault) -> Self {
        match fault {
            PipeFault::Framing(PipeError::Oversize) => Self::new(FaultKind::Oversize, "a frame of the pipe"),
            PipeFault::Framing(PipeError::Kind) | PipeFault::Utf8 => {
                Self::new(FaultKind::BadFrame, "not a frame of the pipe")
            }
            PipeFault::Io(_) => Self::new(FaultKind::Reset, "the voice worker is gone"),
        }
    }
}

impl Decoder for PipeCodec {
    type Item = Frame;
    type Error = PipeFault;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>, PipeFault> {
        let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
        let Header { kind, len } = Header::parse(*header)?;
        if bytes.len() < HEADER + len {
            bytes.reserve(HEADER + len - bytes.len());
            return Ok(None);
        }
        bytes.advance(HEADER);
        let payload = bytes.split_to(len).freeze();
        match kind {
            Kind::Audio => Ok(Some(Frame::Binary(payload))),
            Kind::Text => match String::from_utf8(payload.into()) {
                Ok(text) => Ok(Some(Frame::Text(text))),
                Err(_) => Err(PipeFault::Utf8),
            },
        }
    }
}

impl Encoder<Frame> for PipeCodec {
    type Error = PipeFault;

    fn encode(&mut self, frame: Frame, bytes: &mut BytesMut) -> Result<(), PipeFault> {
        bytes.reserve(HEADER + frame.len());
        bytes.put_slice(&Header::of(&frame)?.to_bytes());
        match &frame {
            Frame::Text(text) => bytes.put_slice(text.as_bytes()),
            Frame::Binary(payload) => bytes.put_slice(payload),
        }
        Ok(())
    }
}

fn refused(note: &'static str) -> UpstreamFault {
    UpstreamFault::new(FaultKind::Refused, note)
}
