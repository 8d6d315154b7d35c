//! What is told of a stream when it ends: to the client, and to whoever keeps the books.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Stream;
use crate::reply::{Cancelled, Done};
use crate::session::{Action, Outcome, StreamEnd};
use crate::{FaultCode, Reply};

impl Stream {
    /// Audio sent so far in ms, once any has come.
    pub(in crate::session) fn audio_sent(&self) -> Option<u64> {
        self.output.has_begun().then(|| self.output.audio_ms())
    }

    pub(in crate::session) fn cancelled(&self, now: Instant, played_ms: Option<u64>) -> Cancelled {
        let sent_ms = self.output.audio_ms();
        let paced = self.output.played_ms(now);
        // Of what was never sent nothing was heard.
        let nothing = (self.output.bytes() == 0).then_some(0);
        let heard_ms = played_ms.or(paced).map(|ms| ms.min(sent_ms)).or(nothing);
        let words = self.output.words();
        let known = heard_ms.filter(|ms| *ms == 0 || !words.is_empty());
        let split = known.map(|ms| crate::words::split_heard(words, self.script.text(), ms));
        let (heard_text, unheard_text) = split.unzip();
        Cancelled { sent_ms, heard_ms, heard_text, unheard_text }
    }

    /// The last words of a stream that was spoken to its end.
    pub(in crate::session) fn tell_done(&self, auth: Duration, actions: &mut VecDeque<Action>) {
        self.output.tell_last(actions);
        let (first_audio_ms, timing) = self.stamps.timing(auth, self.output.first_sent());
        let done = Done {
            characters: self.script.characters_sent(),
            audio_ms: self.output.audio_ms(),
            bytes: self.output.bytes(),
            first_audio_ms,
            timing,
            provider: self.provider().unwrap_or_default(),
            resumed: 0,
        };
        actions.push_back(Action::Reply(Reply::Done(self.name.clone(), Box::new(done))));
    }

    fn provider(&self) -> Option<String> {
        self.routes.get(self.route).map(|route| route.provider.clone())
    }

    pub(in crate::session) fn into_end(self, outcome: Outcome, code: Option<FaultCode>) -> StreamEnd {
        let (first_audio_ms, timing) = self.stamps.timing(Duration::ZERO, self.output.first_sent());
        StreamEnd {
            index: self.index,
            outcome,
            code,
            provider: self.provider(),
            characters: self.script.characters_sent(),
            audio_ms: self.output.audio_ms(),
            bytes: self.output.bytes(),
            first_audio_ms,
            timing,
            underruns: self.output.underruns(),
            name: self.name,
        }
    }
}
