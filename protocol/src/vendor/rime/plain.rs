//! `/ws`: bare text in, bare audio out, and nothing that says where an utterance ends but the close
//! after `<EOS>`. So a link serves one stream, and all its flushes are answered by its end.

use super::faults;
use super::messages::plain::{CLEAR, EOS, FLUSH};
use crate::provider::ProviderCodec;
use crate::vendor::track::Track;
use crate::{Command, ContextId, Event, FaultKind, Frame, FrameRef, UpstreamFault};

/// Close codes that say nothing went wrong; 1000 is assumed for the vendor's own.
const CLEAN: [u16; 3] = [1000, 1001, 1005];

/// The state of one connection.
#[derive(Default)]
pub struct PlainCodec {
    turn: Option<Turn>,
    /// Ended by the close.
    over: Option<ContextId>,
}

struct Turn {
    context: ContextId,
    track: Track,
    ended: bool,
}

impl ProviderCodec for PlainCodec {
    fn encode(&mut self, context: ContextId, command: &Command, out: &mut Vec<Frame>) {
        if let Command::Start(spec) = command {
            self.turn = Some(Turn { context, track: Track::new(spec.format), ended: false });
            return;
        }
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.context == context) else { return };
        match command {
            Command::Start(_) => {}
            Command::Text(text) => out.extend(pieces(text).map(frame)),
            Command::Flush => out.push(frame(FLUSH)),
            Command::End => {
                turn.ended = true;
                out.push(frame(EOS));
            }
            Command::Cancel => out.push(frame(CLEAR)),
        }
    }

    fn decode(
        &mut self,
        frame: FrameRef<'_>,
        out: &mut Vec<(ContextId, Event)>,
    ) -> Result<(), UpstreamFault> {
        let FrameRef::Binary(audio) = frame else {
            return Err(UpstreamFault::new(FaultKind::BadFrame, "text where audio is due"));
        };
        match &mut self.turn {
            Some(turn) => {
                out.extend(turn.track.audio(audio.clone()).map(|event| (turn.context, event)));
            }
            None => out.push((ContextId::FOREIGN, Event::Audio(audio.clone()))),
        }
        Ok(())
    }

    fn settle(&mut self, _frames: &mut Vec<(ContextId, Frame)>, events: &mut Vec<(ContextId, Event)>) {
        events.extend(self.over.take().map(|context| (context, Event::Done)));
    }

    fn closed(&mut self, code: u16, reason: &str) -> Option<UpstreamFault> {
        let fault = faults::told(reason);
        let may_end = fault.is_none() && CLEAN.contains(&code);
        self.over = self.turn.take_if(|turn| turn.ended && may_end).map(|turn| turn.context);
        fault
    }
}

fn frame(text: &str) -> Frame {
    Frame::Text(text.to_owned())
}

/// The text; in two pieces where it would be taken for a command.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let at = if [CLEAR, FLUSH, EOS].contains(&text) { 1 } else { 0 };
    let (first, rest) = text.split_at(at);
    [first, rest].into_iter().filter(|piece| !piece.is_empty())
}
