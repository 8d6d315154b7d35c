//! The clocks of one link: liveness, writing, idleness, age. Pure; the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// A quiet link is pinged after this.
pub const PING_AFTER: Duration = Duration::from_secs(15);
/// And is dead when nothing at all has come this long after the ping.
pub const PONG_WITHIN: Duration = Duration::from_secs(10);
/// A write that makes no progress for this long has stalled.
pub const WRITE_WITHIN: Duration = Duration::from_secs(5);

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Ping,
    KeepAlive,
    Silent,
    WriteStalled,
    Idle,
    Old,
}

#[derive(Debug)]
pub(super) struct Watch {
    heard: Instant,
    pinged: Option<Instant>,
    writing: Option<Instant>,
    idle_since: Option<Instant>,
    idle: Duration,
    old_at: Option<Instant>,
    /// How often the vendor wants a sign of life, and when the next one is due.
    keep_alive: Option<(Duration, Instant)>,
    paused: bool,
    pings: bool,
}

impl Watch {
    pub(super) fn new(now: Instant, idle: Duration, max_age: Duration) -> Self {
        Self {
            heard: now,
            pinged: None,
            writing: None,
            idle_since: Some(now),
            idle,
            old_at: now.checked_add(max_age),
            keep_alive: None,
            paused: false,
            pings: true,
        }
    }

    /// The vendor wants a sign of life so often.
    pub(super) fn keeping_alive(mut self, every: Option<Duration>) -> Self {
        self.keep_alive = every.map(|every| (every, self.heard + every));
        self
    }

    /// Anything at all came in.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.pinged = None;
    }

    /// Something that was due has not come: whether anybody is there is asked at once.
    pub(super) fn doubt(&mut self, now: Instant) {
        if let Some(long_ago) = now.checked_sub(PING_AFTER) {
            self.heard = self.heard.min(long_ago);
        }
    }

    /// The transport has no pings.
    pub(super) fn no_pings(&mut self) {
        self.pings = false;
    }

    /// Reading has stopped or begun again. While it rests, silence means nothing.
    pub(super) fn set_paused(&mut self, paused: bool, now: Instant) {
        if self.paused && !paused {
            self.heard(now);
        }
        self.paused = paused;
    }

    /// Something is being written and nothing has moved before `now`.
    pub(super) fn writing(&mut self, now: Instant) {
        self.writing.get_or_insert(now);
    }

    /// Something was written; since when it had been waited for, if it had.
    pub(super) fn wrote(&mut self) -> Option<Instant> {
        self.writing.take()
    }

    /// Whether any stream is open.
    pub(super) fn set_idle(&mut self, idle: bool, now: Instant) {
        if idle {
            self.idle_since.get_or_insert(now);
        } else {
            self.idle_since = None;
        }
    }

    /// When to ask again; `None` is never.
    pub(super) fn next(&self) -> Option<Instant> {
        let liveness = (self.pings && !self.paused).then(|| match self.pinged {
            Some(at) => at + PONG_WITHIN,
            None => self.heard + PING_AFTER,
        });
        let writing = self.writing.map(|since| since + WRITE_WITHIN);
        let idle = self.idle_since.and_then(|since| since.checked_add(self.idle));
        let keep_alive = self.keep_alive.map(|(_, at)| at);
        [liveness, writing, idle, keep_alive, self.old_at].into_iter().flatten().min()
    }

    /// The first thing that is due, told once.
    pub(super) fn due(&mut self, now: Instant) -> Option<Due> {
        if self.writing.is_some_and(|since| now >= since + WRITE_WITHIN) {
            return Some(Due::WriteStalled);
        }
        if self.pings && !self.paused {
            match self.pinged {
                Some(at) if now >= at + PONG_WITHIN => return Some(Due::Silent),
                None if now >= self.heard + PING_AFTER => {
                    self.pinged = Some(now);
                    return Some(Due::Ping);
                }
                _ => {}
            }
        }
        if let Some((every, at)) = &mut self.keep_alive
            && now >= *at
        {
            *at = now + *every;
            return Some(Due::KeepAlive);
        }
        if self.idle_since.is_some_and(|since| now.duration_since(since) >= self.idle) {
            return Some(Due::Idle);
        }
        if self.old_at.is_some_and(|at| now >= at) {
            self.old_at = None;
            return Some(Due::Old);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_quiet_link_is_pinged_once_and_then_dead() {
        let start = Instant::now();
        let mut watch = Watch::new(start, HOUR, HOUR);
        assert_eq!(watch.next(), Some(start + PING_AFTER));
        assert_eq!(watch.due(start + PING_AFTER), Some(Due::Ping));
        assert_eq!(watch.due(start + PING_AFTER), None);
        assert_eq!(watch.due(start + PING_AFTER + PONG_WITHIN), Some(Due::Silent));
    }

    #[test]
    fn a_doubted_link_is_pinged_at_once() {
        let start = Instant::now() + PING_AFTER;
        let mut watch = Watch::new(start, HOUR, HOUR);
        watch.doubt(start);
        assert_eq!(watch.due(start), Some(Due::Ping));
        watch.doubt(start);
        assert_eq!(watch.due(start), None, "one ping is enough");
    }

    #[test]
    fn anything_heard_puts_the_ping_off() {
        let start = Instant::now();
        let mut watch = Watch::new(start, HOUR, HOUR);
        watch.due(start + PING_AFTER);
        watch.heard(start + PING_AFTER + PONG_WITHIN / 2);
        assert_eq!(watch.due(start + PING_AFTER + PONG_WITHIN), None);
    }

    #[test]
    fn signs_of_life_are_given_at_their_own_pace() {
        let start = Instant::now();
        let every = PING_AFTER / 3;
        let mut watch = Watch::new(start, HOUR, HOUR).keeping_alive(Some(every));
        for turn in 1..=2 {
            assert_eq!(watch.next(), Some(start + every * turn));
            assert_eq!(watch.due(start + every * turn), Some(Due::KeepAlive));
            assert_eq!(watch.due(start + every * turn), None);
            watch.heard(start + every * turn);
        }
    }

    #[test]
    fn silence_means_nothing_while_reading_rests() {
        let start = Instant::now();
        let mut watch = Watch::new(start, HOUR, HOUR);
        watch.set_paused(true, start);
        assert_eq!(watch.due(start + HOUR / 2), None);
        watch.set_paused(false, start + HOUR / 2);
        assert_eq!(watch.due(start + HOUR / 2 + PING_AFTER / 2), None);
    }

    #[test]
    fn a_write_stalls_only_without_progress() {
        let start = Instant::now();
        let mut watch = Watch::new(start, HOUR, HOUR);
        watch.writing(start);
        assert_eq!(watch.wrote(), Some(start));
        assert_eq!(watch.wrote(), None);
        watch.writing(start + WRITE_WITHIN / 2);
        assert_eq!(watch.due(start + WRITE_WITHIN), None);
        assert_eq!(watch.due(start + WRITE_WITHIN / 2 + WRITE_WITHIN), Some(Due::WriteStalled));
    }
}
