//! The relay's end of the native protocol.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};

use super::fields::Fields;
use super::messages::ServerMessage;
use crate::dialect::ClientDialect;
use crate::request::{Credential, Framing};
use crate::{Fault, Frame, FrameRef, Reply, Request, StreamName};

/// Bytes of the header before each tagged audio frame: u16 stream index, u16 flags, u64 position.
pub const TAG_BYTES: usize = 12;
/// The flag of a stream's last tagged frame.
pub const TAG_LAST: u16 = 1;

/// Speaks the native protocol to one client.
#[derive(Debug)]
pub struct Native {
    request_id: String,
}

impl Native {
    /// `request_id` is told with every error.
    pub fn new(request_id: impl Into<String>) -> Self {
        Self { request_id: request_id.into() }
    }
}

impl ClientDialect for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn decode(&mut self, frame: FrameRef<'_>) -> Result<Request, Fault> {
        let FrameRef::Text(text) = frame else {
            return Err(Fault::invalid("message", "must be a text frame"));
        };
        let mut fields = Fields::parse(text)?;
        let kind = fields.required("type")?;
        match kind.as_str() {
            "auth" => Ok(Request::Auth(Credential::new(fields.required("token")?))),
            "start" => {
                let name = fields.stream()?;
                Ok(match fields.start() {
                    Ok(start) => Request::Start(name, Box::new(start)),
                    Err(fault) => Request::BadStart(name, fault),
                })
            }
            "text" => Ok(Request::Text(fields.stream()?, fields.required("text")?)),
            "flush" => Ok(Request::Flush(fields.stream()?, fields.mark()?)),
            "end" => Ok(Request::End(fields.stream()?)),
            "cancel" => Ok(Request::Cancel(fields.stream()?, fields.milliseconds("played_ms")?)),
            _ => Err(Fault::invalid("type", "is not one of auth, start, text, flush, end, cancel")),
        }
    }

    fn encode(&mut self, reply: &Reply, out: &mut Vec<Frame>) {
        match reply {
            Reply::Audio { stream, index, audio, position, last, framing } => {
                out.extend(match framing {
                    Framing::Raw => (!audio.is_empty()).then(|| Frame::Binary(audio.clone())),
                    Framing::Tagged => Some(Frame::Binary(tagged(*index, *last, *position, audio))),
                    Framing::Json => (!audio.is_empty()).then(|| Frame::Text(json(stream, audio, *position))),
                });
            }
            other => {
                let message = ServerMessage::of(other, &self.request_id);
                // These types hold nothing that serde_json can refuse: string keys, finite numbers.
                out.extend(serde_json::to_string(&message).ok().map(Frame::Text));
            }
        }
    }
}

fn tagged(index: u16, last: bool, position: u64, audio: &Bytes) -> Bytes {
    let mut frame = BytesMut::with_capacity(TAG_BYTES + audio.len());
    frame.put_u16(index);
    frame.put_u16(if last { TAG_LAST } else { 0 });
    frame.put_u64(position);
    frame.put_slice(audio);
    frame.freeze()
}

/// Written by hand: a stream's name and base64 need no escaping, so that the audio is written once.
fn json(stream: &StreamName, audio: &Bytes, position: u64) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(audio.len().div_ceil(3) * 4 + 128);
    let _ = write!(text, r#"{{"type":"audio","stream":"{stream}","audio":""#);
    STANDARD.encode_string(audio, &mut text);
    let _ = write!(text, r#"","position":{position}}}"#);
    text
}
