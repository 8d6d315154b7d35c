//! `POST /v1/speech`: one stream as one HTTP exchange. The same session drives it; this end only
//! turns one body into its three requests, and its replies into one answer.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use voxrelay_protocol::request::{Framing, Start};
use voxrelay_protocol::vendor::native::fields::Fields;
use voxrelay_protocol::{
    AudioFormat, Container, Encoding, Fault, FaultCode, Reply, Request as Ask, StreamName,
};

use super::problem::{Problem, RequestId};
use super::{body, refuse, require, source};
use crate::app::{App, Place};
use crate::auth::Caller;
use crate::metrics;
use crate::session::client::{Client, Incoming, Lost};
use crate::session::converse;

/// Pieces of audio between the session and the answer's body. Full: the session takes no more from
/// its stream, which is the backpressure; metric `backpressure_seconds_total`.
const PIECES: usize = 8;

/// Speaks a text; the audio is sent as it is made.
pub async fn speech(
    State(app): State<App>,
    connect: ConnectInfo<SocketAddr>,
    id: RequestId,
    request: Request,
) -> Response {
    let place = match app.admit() {
        Ok(place) => place,
        Err(fault) => return refuse(fault, &id),
    };
    let caller = match require(&app, request.headers(), request.uri(), source(&connect)).await {
        Ok(caller) => caller,
        Err(fault) => return refuse(fault, &id),
    };
    let (start, text) = match read(&app, request).await {
        Ok(asked) => asked,
        Err(fault) => return refuse(fault, &id),
    };
    let format = start.format;
    let (audio, body) = mpsc::channel(PIECES);
    let client = HttpClient::new(start, text, audio, app.config.limits.write_timeout);
    let tasks = app.drain.clone();
    tasks.spawn(run(client, caller, app, place));
    answer(body, format, &id).await
}

async fn run(mut client: HttpClient, caller: Arc<Caller>, app: App, place: Place) {
    let dialect = metrics::Dialect::Speech;
    converse(&mut client, &caller, &app, dialect, Duration::ZERO).await;
    // A session that ends right behind its stream, as in a drain, leaves the last audio queued. Whether
    // the caller still takes it is the caller's business.
    let _ = std::future::poll_fn(|cx| client.poll_flush(cx)).await;
    drop(place);
}

/// What is asked for: the fields of `start` and `text`.
async fn read(app: &App, request: Request) -> Result<(Start, String), Fault> {
    let limits = &app.config.limits;
    let text_limit = limits.text_buffer;
    // Every character may be escaped, and the other fields are short.
    let limit = text_limit * 6 + 16 * 1024;
    let text = body::read(request, limit, limits).await?;
    let mut fields = Fields::parse(&text)?;
    let mut start = fields.start()?;
    // One answer carries one stream: there is nothing to tell apart.
    start.framing = Framing::Raw;
    let text = fields.required("text")?;
    if text.len() > text_limit {
        let detail = format!("the text is longer than {text_limit} bytes: send it over /v1/stream");
        return Err(Fault::new(FaultCode::TextTooLong, detail));
    }
    Ok((start, text))
}

/// The answer begins when it is known whether there will be audio: an error before that has a
/// status of its own, one after it cuts the body short.
async fn answer(mut body: mpsc::Receiver<Piece>, format: AudioFormat, id: &RequestId) -> Response {
    let first = match body.recv().await {
        Some(Piece::Broken(fault)) => return Problem::new(fault, id).into_response(),
        Some(piece) => piece,
        None => {
            return Problem::new(Fault::new(FaultCode::Internal, "the stream was lost"), id).into_response();
        }
    };
    let stream = futures_util::stream::unfold((Some(first), body), |(first, mut body)| async move {
        let piece = match first {
            Some(piece) => Some(piece),
            None => body.recv().await,
        };
        match piece {
            Some(Piece::Audio(audio)) => Some((Ok(audio), (None, body))),
            Some(Piece::End) => None,
            // Cutting the chunked body is the only honest way to say that the audio is not whole.
            Some(Piece::Broken(_)) | None => {
                Some((Err(io::Error::from(io::ErrorKind::UnexpectedEof)), (None, body)))
            }
        }
    });
    let mut response = Body::from_stream(stream).into_response();
    if let Ok(kind) = HeaderValue::from_str(&content_type(&format)) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

/// Media types: RFC 2361 for WAV, RFC 4856 for G.711 at 8 kHz; raw PCM has no registered type for
/// little-endian samples, so the parameters say what it is.
fn content_type(format: &AudioFormat) -> String {
    let rate = format.sample_rate;
    match (format.container, format.encoding) {
        (Container::Wav, _) => "audio/wav".to_owned(),
        (Container::Ogg, _) => "audio/ogg".to_owned(),
        (_, Encoding::Mp3) => "audio/mpeg".to_owned(),
        (_, Encoding::Opus) => "audio/opus".to_owned(),
        (_, Encoding::Mulaw) => format!("audio/PCMU;rate={rate};channels=1"),
        (_, Encoding::Alaw) => format!("audio/PCMA;rate={rate};channels=1"),
        (_, Encoding::PcmS16le) => format!("audio/pcm;rate={rate};channels=1;encoding=pcm_s16le"),
        (_, Encoding::PcmF32le) => format!("audio/pcm;rate={rate};channels=1;encoding=pcm_f32le"),
    }
}

enum Piece {
    Audio(Bytes),
    End,
    Broken(Fault),
}

/// An HTTP caller as a client: everything it will ever ask for is known, and it leaves when its
/// stream is over.
struct HttpClient {
    asks: VecDeque<Ask>,
    out: tokio_util::sync::PollSender<Piece>,
    queue: VecDeque<Piece>,
    over: bool,
    left: Pin<Box<dyn Future<Output = ()> + Send>>,
    stuck: Option<Pin<Box<tokio::time::Sleep>>>,
    write_timeout: Duration,
}

impl HttpClient {
    fn new(start: Start, text: String, out: mpsc::Sender<Piece>, write_timeout: Duration) -> Self {
        let name = StreamName::default_name();
        let asks = VecDeque::from([
            Ask::Start(name.clone(), Box::new(start)),
            Ask::Text(name.clone(), text),
            Ask::End(name),
        ]);
        let seen = out.clone();
        Self {
            asks,
            left: Box::pin(async move { seen.closed().await }),
            out: tokio_util::sync::PollSender::new(out),
            queue: VecDeque::new(),
            over: false,
            stuck: None,
            write_timeout,
        }
    }
}

impl Client for HttpClient {
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        let answered = self.over && self.queue.is_empty();
        if answered || self.left.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Incoming::Gone);
        }
        match self.asks.pop_front() {
            Some(ask) => Poll::Ready(Incoming::Request(Ok(ask))),
            None => Poll::Pending,
        }
    }

    fn has_room(&self) -> bool {
        self.queue.is_empty()
    }

    fn tell(&mut self, reply: &Reply) {
        match reply {
            Reply::Audio { audio, .. } if !audio.is_empty() => {
                self.queue.push_back(Piece::Audio(audio.clone()));
            }
            Reply::Done(..) | Reply::Cancelled(..) if !self.over => {
                self.queue.push_back(Piece::End);
                self.over = true;
            }
            // The first refusal is the answer, whichever of the three requests it was about.
            Reply::Error { fault, .. } if !self.over => {
                self.queue.push_back(Piece::Broken(fault.clone()));
                self.asks.clear();
                self.over = true;
            }
            _ => {}
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        loop {
            match self.out.poll_reserve(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Lost::Gone)),
                Poll::Pending if self.queue.is_empty() => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    let limit = self.write_timeout;
                    let timer = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                    return timer.as_mut().poll(cx).map(|()| Err(Lost::Stalled));
                }
            }
            let Some(piece) = self.queue.pop_front() else { return Poll::Ready(Ok(())) };
            self.stuck = None;
            if self.out.send_item(piece).is_err() {
                return Poll::Ready(Err(Lost::Gone));
            }
            if self.over && self.queue.is_empty() {
                cx.waker().wake_by_ref();
            }
        }
    }
}
