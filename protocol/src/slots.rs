//! Who may run next where only so many may: round robin over those who ask, so that one who asks for
//! ten times its share waits behind itself and not before everybody else. Pure: it keeps the order,
//! whoever uses it keeps the time.
//!
//! The queue is bounded. When it is full, the newest of whoever has most in it makes room for one who
//! has fewer, so that nobody can fill it for the others.

use std::collections::VecDeque;

/// What a slot is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Somebody hears nothing until there is one: served before every [`Self::Later`].
    FirstAudio,
    /// More of what is being heard already.
    Later,
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// The answer to one who asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked<W> {
    /// It has a slot; here is its waiter back.
    Granted(W),
    /// It has a place in the queue. `displaced` has lost its own to it.
    Waiting {
        /// Its place.
        ticket: Ticket,
        /// Who must be told that the queue is full.
        displaced: Option<W>,
    },
    /// The queue is full.
    Full(W),
}

/// Slots, and who waits for them. `K` is who asks, `W` is how a waiter is told.
#[derive(Debug)]
pub struct FairSlots<K, W> {
    limit: usize,
    queue: usize,
    running: usize,
    /// Those who wait, by need, in the order in which they are served next. No line is empty.
    lanes: [VecDeque<Line<K, W>>; 2],
    next: u64,
}

/// Everybody who waits on behalf of one key, in order of asking.
#[derive(Debug)]
struct Line<K, W> {
    key: K,
    waiters: VecDeque<(Ticket, W)>,
}

impl<K: PartialEq, W> FairSlots<K, W> {
    /// `limit` slots, and at most `queue` who wait for one.
    #[must_use]
    pub fn new(limit: usize, queue: usize) -> Self {
        Self { limit, queue, running: 0, lanes: [VecDeque::new(), VecDeque::new()], next: 0 }
    }

    /// Asks for a slot on behalf of `key`.
    pub fn ask(&mut self, key: K, need: Need, waiter: W) -> Asked<W> {
        if self.running < self.limit && self.waiting() == 0 {
            self.running += 1;
            return Asked::Granted(waiter);
        }
        let mut displaced = None;
        if self.waiting() >= self.queue {
            match self.displace(&key, need) {
                Some(other) => displaced = Some(other),
                None => return Asked::Full(waiter),
            }
        }
        self.next += 1;
        let ticket = Ticket(self.next);
        let lane = &mut self.lanes[need as usize];
        match lane.iter_mut().find(|line| line.key == key) {
            Some(line) => line.waiters.push_back((ticket, waiter)),
            None => lane.push_back(Line { key, waiters: VecDeque::from([(ticket, waiter)]) }),
        }
        Asked::Waiting { ticket, displaced }
    }

    /// The next waiter, if there is a slot for it; it counts as running from now on.
    pub fn grant(&mut self) -> Option<W> {
        if self.running >= self.limit {
            return None;
        }
        let lane = self.lanes.iter_mut().find(|lane| !lane.is_empty())?;
        let mut line = lane.pop_front()?;
        let (_, waiter) = line.waiters.pop_front()?;
        if !line.waiters.is_empty() {
            lane.push_back(line);
        }
        self.running += 1;
        Some(waiter)
    }

    /// Whoever waited there has gone; false when it was not waiting any more.
    pub fn leave(&mut self, ticket: Ticket) -> bool {
        let before = self.waiting();
        for lane in &mut self.lanes {
            for line in lane.iter_mut() {
                line.waiters.retain(|(waiting, _)| *waiting != ticket);
            }
            lane.retain(|line| !line.waiters.is_empty());
        }
        self.waiting() < before
    }

    /// A slot is free again. Ask [`Self::grant`] who gets it.
    pub fn give_back(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// From now on only so many may run. Those above it run on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// How many may run.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lanes.iter().flatten().map(|line| line.waiters.len()).sum()
    }

    /// Takes its place from the newest of whoever has most in the queue, where that is fair: one who
    /// needs it later, or one who has at least two more there than `key`.
    fn displace(&mut self, key: &K, need: Need) -> Option<W> {
        let [first, later] = &mut self.lanes;
        let (lane, own) = match need {
            Need::FirstAudio if !later.is_empty() => (later, None),
            Need::FirstAudio => (first, Some(key)),
            Need::Later => (later, Some(key)),
        };
        let count = |line: &Line<K, W>| line.waiters.len();
        let own = own.map(|key| lane.iter().find(|line| line.key == *key).map_or(0, count));
        let longest = lane.iter_mut().max_by_key(|line| line.waiters.len())?;
        if own.is_some_and(|own| longest.waiters.len() < own + 2) {
            return None;
        }
        let (_, displaced) = longest.waiters.pop_back()?;
        lane.retain(|line| !line.waiters.is_empty());
        Some(displaced)
    }
}
