//! Deepgram's wire, translated for one link. Nothing on it carries a name, so all that comes belongs to
//! the one stream that runs, and what cannot belong to it is a stranger's.

use super::faults;
use super::messages::{ClientMessage, ServerMessage};
use super::turn::{Ending, Turn, bad, json};
use crate::provider::ProviderCodec;
use crate::{Command, ContextId, Event, FaultKind, Frame, FrameRef, UpstreamFault};

/// Which of the two sockets is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `v1/speak`: a flush is over with `Flushed`.
    Aura,
    /// `v2/speak`: a flush is over with `SpeechMetadata`.
    Flux,
}

/// The state of one connection: the stream that runs on it.
pub struct DeepgramCodec {
    api: Api,
    turn: Option<Turn>,
}

impl DeepgramCodec {
    /// A codec for a new link.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { api, turn: None }
    }

    fn message(&mut self, message: &ServerMessage<'_>) -> Result<Vec<Event>, UpstreamFault> {
        let mark = if self.api == Api::Flux { "SpeechMetadata" } else { "Flushed" };
        let kind = &*message.kind;
        let code = message.code.as_deref().unwrap_or_default();
        if kind == "Error" {
            return Err(faults::of_error(code));
        }
        let Some(turn) = &mut self.turn else {
            // A greeting or a note; but nobody here waits for an answer.
            let answer = kind == mark || kind == "Cleared";
            return Ok(if answer { vec![Event::Flushed] } else { Vec::new() });
        };
        match kind {
            _ if kind == mark => turn.flushed(),
            "Cleared" if self.api == Api::Aura => turn.cleared(),
            // A flush with no text behind the one before it. Text that cannot be spoken has a turn of its
            // own, though a silent one.
            "Warning" if self.api == Api::Flux && code == "NO_ACTIVE_SPEECH" && turn.waits() => {
                turn.flushed()
            }
            "Warning" if turn.waits() && about_flushes(message) => {
                let note = "too many flushes in a minute";
                Ok(vec![Event::Failed(UpstreamFault::new(FaultKind::Throttled, note))])
            }
            // Greetings, notes, and types of later versions.
            _ => Ok(Vec::new()),
        }
    }
}

impl ProviderCodec for DeepgramCodec {
    fn encode(&mut self, context: ContextId, command: &Command, out: &mut Vec<Frame>) {
        if let Command::Start(spec) = command {
            self.turn = Some(Turn::new(context, spec.format.encoding.sample_bytes().unwrap_or(1)));
            return;
        }
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.context == context) else { return };
        match command {
            Command::Start(_) => {}
            Command::Text(text) => turn.text(text, out),
            Command::Flush => {
                turn.flushes = turn.flushes.saturating_add(1);
                turn.flush(out);
            }
            Command::End if turn.unflushed || turn.flushes == 0 => {
                turn.ending = Ending::OwnFlush;
                turn.flush(out);
            }
            Command::End => turn.ending = Ending::WithFlush,
            Command::Cancel => {
                turn.ending = Ending::Cleared;
                // `v2` has no reliable way back: its link is closed.
                if self.api == Api::Aura {
                    out.extend(json(ClientMessage::Clear));
                }
            }
        }
    }

    fn decode(
        &mut self,
        frame: FrameRef<'_>,
        out: &mut Vec<(ContextId, Event)>,
    ) -> Result<(), UpstreamFault> {
        // Before anything was given to speak, audio is what is left of a stranger's.
        let begun = self.turn.as_ref().filter(|turn| turn.begun);
        let (context, events) = match frame {
            FrameRef::Binary(audio) => {
                let context = begun.map_or(ContextId::FOREIGN, |turn| turn.context);
                let audio = match &mut self.turn {
                    Some(turn) if turn.begun => turn.audio(audio),
                    _ => audio.clone(),
                };
                (context, if audio.is_empty() { Vec::new() } else { vec![Event::Audio(audio)] })
            }
            FrameRef::Text(text) => {
                let message: ServerMessage<'_> =
                    serde_json::from_str(text).map_err(|_| bad("not a message"))?;
                let context = self.turn.as_ref().map_or(ContextId::FOREIGN, |turn| turn.context);
                (context, self.message(&message)?)
            }
        };
        if events.last().is_some_and(Event::is_last) {
            self.turn = None;
        }
        out.extend(events.into_iter().map(|event| (context, event)));
        Ok(())
    }

    fn closed(&mut self, code: u16, reason: &str) -> Option<UpstreamFault> {
        faults::of_close(code, reason)
    }
}

/// The vendor's words for "no flush is processed until the window passes" are not published: any
/// warning about flushes while one is due is taken for it (assumed).
fn about_flushes(message: &ServerMessage<'_>) -> bool {
    [&message.code, &message.description, &message.warn_msg]
        .into_iter()
        .flatten()
        .any(|words| words.to_ascii_lowercase().contains("flush"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::turn::SPEAK_MAX;
    use super::*;
    use crate::{AudioFormat, SynthesisSpec};

    fn started(api: Api) -> DeepgramCodec {
        let mut codec = DeepgramCodec::new(api);
        start(&mut codec, 1);
        for command in [Command::Text("x".into()), Command::Flush, Command::Text("y".into()), Command::End] {
            encode(&mut codec, 1, &command);
        }
        codec
    }

    fn start(codec: &mut DeepgramCodec, context: u64) {
        let spec = SynthesisSpec {
            voice: "v".into(),
            model: None,
            language: None,
            format: AudioFormat::default(),
            words: false,
            options: serde_json::Map::new(),
        };
        encode(codec, context, &Command::Start(Box::new(spec)));
    }

    fn encode(codec: &mut DeepgramCodec, context: u64, command: &Command) -> Vec<Frame> {
        let mut out = Vec::new();
        codec.encode(ContextId(context), command, &mut out);
        out
    }

    #[test]
    fn a_stream_that_never_reached_the_vendor_leaves_the_link_as_it_was() {
        let mut codec = started(Api::Aura);
        encode(&mut codec, 1, &Command::Cancel);
        start(&mut codec, 2);
        assert!(encode(&mut codec, 1, &Command::Cancel).is_empty(), "a clear for the wrong stream");
        encode(&mut codec, 2, &Command::Text("x".into()));
        encode(&mut codec, 2, &Command::End);
        let mut out = Vec::new();
        codec.decode(FrameRef::Text(r#"{"type":"Flushed","sequence_id":0}"#), &mut out).unwrap();
        assert_eq!(out, [(ContextId(2), Event::Done)]);
    }

    fn told() -> impl Strategy<Value = String> {
        let frames: Vec<String> = [
            include_str!("../../../transcripts/deepgram/errors_of_the_link.jsonl"),
            include_str!("../../../transcripts/deepgram/flux_flush.jsonl"),
            include_str!("../../../transcripts/deepgram/cancel_late_frames.jsonl"),
        ]
        .iter()
        .flat_map(|file| file.lines())
        .filter_map(|line| {
            Some(serde_json::from_str::<Value>(line).ok()?["receive"].get("json")?.to_string())
        })
        .collect();
        (proptest::sample::select(frames), any::<prop::sample::Index>(), any::<char>()).prop_map(
            |(frame, place, letter)| {
                let place = frame.floor_char_boundary(place.index(frame.len()));
                let rest = &frame[place..];
                let skipped = rest.chars().next().map_or(0, char::len_utf8);
                format!("{}{letter}{}", &frame[..place], &rest[skipped..])
            },
        )
    }

    proptest! {
        #[test]
        fn no_frame_panics(
            texts in proptest::collection::vec(prop_oneof![".{0,200}", told()], 1..8), binary in any::<Vec<u8>>(),
            reason in ".{0,123}", code in any::<u16>(),
        ) {
            for api in [Api::Aura, Api::Flux] {
                let mut codec = started(api);
                for text in &texts {
                    let _ = codec.decode(FrameRef::Text(text), &mut Vec::new());
                    let _ = codec.decode(FrameRef::Binary(&Bytes::from(binary.clone())), &mut Vec::new());
                }
                let _ = codec.closed(code, &reason);
            }
        }

        #[test]
        fn text_arrives_verbatim(pieces in proptest::collection::vec("[a-z\u{e4}\u{4f60} \n]{0,9}|.{0,3000}", 1..8)) {
            let mut codec = DeepgramCodec::new(Api::Aura);
            start(&mut codec, 1);
            let mut sent = String::new();
            for piece in &pieces {
                for frame in encode(&mut codec, 1, &Command::Text(piece.clone())) {
                    let Frame::Text(frame) = frame else { panic!("binary") };
                    let value: Value = serde_json::from_str(&frame).unwrap();
                    let text = value["text"].as_str().unwrap();
                    prop_assert!(text.chars().count() <= SPEAK_MAX);
                    sent += text;
                }
            }
            let whole = pieces.concat();
            prop_assert_eq!(sent.trim_end(), whole.trim_end());
        }

        #[test]
        fn audio_arrives_exactly_however_it_is_cut(
            samples in proptest::collection::vec(any::<i16>(), 1..500), cuts in proptest::collection::vec(1_usize..40, 1..50),
        ) {
            let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            let (mut codec, mut rest, mut heard) = (started(Api::Aura), &bytes[..], Vec::new());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, behind) = rest.split_at((*cut).min(rest.len()));
                rest = behind;
                let mut out = Vec::new();
                codec.decode(FrameRef::Binary(&Bytes::copy_from_slice(piece)), &mut out).unwrap();
                for (_, event) in out {
                    let Event::Audio(audio) = event else { panic!("{event:?}") };
                    prop_assert_eq!(audio.len() % 2, 0);
                    heard.extend_from_slice(&audio);
                }
            }
            prop_assert_eq!(heard, bytes);
        }
    }
}
