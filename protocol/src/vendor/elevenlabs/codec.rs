//! ElevenLabs' wire, translated for one link.

use std::collections::BTreeMap;
use std::time::Duration;

use super::faults::error_fault;
use super::messages::{ClientMessage, ServerMessage};
use super::turn::{Turn, audio, bad};
use crate::provider::{KeepAlive, ProviderCodec};
use crate::{Command, ContextId, Event, Frame, FrameRef, SynthesisSpec, UpstreamFault};
use base64::engine::Simd;
use base64::engine::general_purpose::PAD;

/// Well within the shortest inactivity limit of the vendor, 20 s.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Which of the two sockets is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `multi-stream-input`: contexts with names.
    Multi,
    /// `stream-input`: one stream without a name.
    Single,
}

/// The state of one connection: what each open context was started with.
pub struct ElevenLabsCodec {
    api: Api,
    prefix: String,
    base64: Simd,
    turns: BTreeMap<ContextId, Turn>,
    /// On `stream-input`, whose answers these are.
    only: ContextId,
}

impl ElevenLabsCodec {
    /// A codec whose context names are `vr-<seed>-<number>`.
    #[must_use]
    pub fn new(api: Api, seed: u64) -> Self {
        Self {
            api,
            prefix: format!("vr-{seed:016x}-"),
            base64: Simd::standard(PAD),
            turns: BTreeMap::new(),
            only: ContextId::FOREIGN,
        }
    }

    fn start(&mut self, context: ContextId, spec: &SynthesisSpec) {
        self.turns.insert(context, Turn::new(spec));
        self.only = context;
    }

    fn text(&mut self, context: ContextId, text: &str, out: &mut Vec<Frame>) {
        let Some(text) = self.turns.get_mut(&context).and_then(|turn| turn.text(text)) else { return };
        self.open(context, out);
        out.extend(self.frame(context, ClientMessage { text: Some(&text), ..ClientMessage::default() }));
    }

    /// Opens the context where that has not been done: only before there is something to say, because
    /// it takes one of the vendor's five places.
    fn open(&mut self, context: ContextId, out: &mut Vec<Frame>) {
        let Some(turn) = self.turns.get(&context).filter(|turn| !turn.opened) else { return };
        out.extend(self.frame(context, turn.opening()));
        if let Some(turn) = self.turns.get_mut(&context) {
            turn.opened = true;
        }
    }

    fn flush(&mut self, context: ContextId, out: &mut Vec<Frame>) {
        self.open(context, out);
        if let Some(turn) = self.turns.get_mut(&context) {
            turn.flush();
        }
        // On `stream-input` a message needs text, and empty text would end the stream.
        let text = if self.api == Api::Single { Some(" ") } else { None };
        out.extend(self.frame(context, ClientMessage { text, flush: true, ..ClientMessage::default() }));
    }

    /// On `multi-stream-input` what is buffered is spoken only when flushed before the context is
    /// closed.
    fn end(&mut self, context: ContextId, out: &mut Vec<Frame>) {
        self.open(context, out);
        if let Some(turn) = self.turns.get_mut(&context) {
            turn.ended = true;
        }
        if self.api == Api::Single {
            return out
                .extend(self.frame(context, ClientMessage { text: Some(""), ..ClientMessage::default() }));
        }
        out.extend(self.frame(context, ClientMessage { flush: true, ..ClientMessage::default() }));
        out.extend(self.close(context));
    }

    fn close(&self, context: ContextId) -> Option<Frame> {
        self.frame(context, ClientMessage { close_context: true, ..ClientMessage::default() })
    }

    fn frame(&self, context: ContextId, message: ClientMessage<'_>) -> Option<Frame> {
        let name = (self.api == Api::Multi).then(|| format!("{}{}", self.prefix, context.0));
        let message = ClientMessage { context_id: name.as_deref(), ..message };
        serde_json::to_string(&message).ok().map(Frame::Text)
    }

    fn context(&self, message: &ServerMessage<'_>) -> Option<ContextId> {
        if self.api == Api::Single {
            return Some(self.only);
        }
        let number = message.context()?.strip_prefix(self.prefix.as_str()).and_then(|n| n.parse().ok());
        Some(number.map_or(ContextId::FOREIGN, ContextId))
    }
}

impl ProviderCodec for ElevenLabsCodec {
    fn encode(&mut self, context: ContextId, command: &Command, out: &mut Vec<Frame>) {
        match command {
            Command::Start(spec) => self.start(context, spec),
            Command::Text(text) => self.text(context, text, out),
            Command::Flush => self.flush(context, out),
            Command::End => self.end(context, out),
            Command::Cancel => {
                let turn = self.turns.remove(&context);
                // `stream-input` has no word for it: its link is closed. After an end too, since that may
                // not have been sent yet; that a second close does nothing is assumed.
                if self.api == Api::Multi && turn.is_some_and(|turn| turn.opened) {
                    out.extend(self.close(context));
                }
            }
        }
    }

    fn decode(
        &mut self,
        frame: FrameRef<'_>,
        out: &mut Vec<(ContextId, Event)>,
    ) -> Result<(), UpstreamFault> {
        let FrameRef::Text(text) = frame else {
            return Err(bad("binary where text is due"));
        };
        let message: ServerMessage<'_> = serde_json::from_str(text).map_err(|_| bad("not a message"))?;
        let context = self.context(&message);
        if message.is_error() {
            let named = context.filter(|_| self.api == Api::Multi);
            let fault = error_fault(&message, named.is_some());
            // Without a context the error is the socket's own, and a close follows.
            let context = named.ok_or_else(|| fault.clone())?;
            self.turns.remove(&context);
            out.push((context, Event::Failed(fault)));
            return Ok(());
        }
        if message.audio.is_none()
            && !message.is_last()
            && message.kind.is_none()
            && message.alignment.is_none()
        {
            // Messages of later versions.
            return Ok(());
        }
        let context = context.ok_or_else(|| bad("a message without a context"))?;
        let mut events = Vec::new();
        match self.turns.get_mut(&context) {
            Some(turn) => turn.hear(&message, &self.base64, &mut events)?,
            None => {
                let late = audio(&message, &self.base64)?;
                events.extend((!late.is_empty()).then_some(Event::Audio(late)));
                events.extend(message.is_last().then_some(Event::Done));
            }
        }
        if message.is_last() {
            self.turns.remove(&context);
        }
        out.extend(events.into_iter().map(|event| (context, event)));
        Ok(())
    }

    /// On `multi-stream-input` empty text, for each open context or for the socket; on `stream-input`
    /// a space, once the stream is open. Never for a context that was not opened or has ended: it would
    /// open one.
    fn keep_alive(&self) -> Option<KeepAlive> {
        let open = self.turns.iter().filter(|(_, turn)| turn.opened && !turn.ended);
        let text = Some(if self.api == Api::Multi { "" } else { " " });
        let said = ClientMessage { text, ..ClientMessage::default() };
        let mut frames: Vec<_> =
            open.filter_map(|(context, _)| Some((*context, self.frame(*context, said.clone())?))).collect();
        if self.api == Api::Multi && frames.is_empty() {
            frames.extend(
                serde_json::to_string(&said).ok().map(|text| (ContextId::FOREIGN, Frame::Text(text))),
            );
        }
        Some(KeepAlive { every: KEEP_ALIVE, frames })
    }
}

#[cfg(test)]
mod tests;
