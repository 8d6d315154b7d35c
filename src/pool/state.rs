//! Who holds which seat on which link, and who waits for one. No task and no waiting: the pool asks
//! under its lock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use voxrelay_protocol::provider::Dial;

use super::dials::{Dials, MayDial};
use super::seat::Seat;
use super::starts::Starts;
use crate::lease::CheckoutKind;
use crate::link::Link;

/// Dials that are remembered, so that spares can be kept for them. The oldest goes first.
const RECENT_MAX: usize = 16;
/// A dial nobody has asked for in this time gets no spares.
const RECENT_FOR: Duration = Duration::from_secs(300);

struct Entry {
    id: u64,
    dial: Arc<Dial>,
    link: Arc<Link>,
    taken: usize,
    /// It has served a stream.
    used: bool,
    born: Instant,
    last_used: Instant,
}

/// A dial that was asked for not long ago.
struct Recent {
    dial: Arc<Dial>,
    seen: Instant,
    starts: Starts,
}

/// What a stream that waits will take.
pub(super) struct Waiter {
    pub(super) ticket: u64,
    pub(super) dial: Arc<Dial>,
    /// Only a link connected after this will do.
    pub(super) born_after: Option<Instant>,
    pub(super) hand: oneshot::Sender<(Seat, CheckoutKind)>,
}

/// What a pool knows, all under one lock.
pub(super) struct State {
    per_link: usize,
    max_links: usize,
    /// At most `max_links`, with those being dialled.
    links: Vec<Entry>,
    dialing: Vec<Arc<Dial>>,
    /// In order of asking; at most as many as the account has slots, since each waiter holds one.
    waiters: VecDeque<Waiter>,
    recent: VecDeque<Recent>,
    pub(super) dials: Dials,
    next: u64,
}

/// A seat that was taken.
pub(super) struct Place {
    pub(super) id: u64,
    pub(super) link: Arc<Link>,
    pub(super) kind: CheckoutKind,
    /// The link had served nobody before.
    new: bool,
}

/// What may be done about a stream that waits.
#[derive(Debug, PartialEq)]
pub(super) enum Reach {
    /// Dial; the place is reserved.
    Dial,
    /// All links there may be are there.
    Full,
    /// As the dials say.
    Not(MayDial),
}

impl State {
    pub(super) fn new(per_link: usize, max_links: usize, dials: Dials) -> Self {
        Self {
            per_link,
            max_links,
            links: Vec::new(),
            dialing: Vec::new(),
            waiters: VecDeque::new(),
            recent: VecDeque::new(),
            dials,
            next: 0,
        }
    }

    /// A fresh number, for links and tickets.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The one shared form of a dial, so that equal dials are compared by address from here on.
    pub(super) fn intern(&mut self, dial: Dial, now: Instant) -> Arc<Dial> {
        let known = self.recent.iter().position(|recent| *recent.dial == dial);
        let mut recent = match known.and_then(|index| self.recent.remove(index)) {
            Some(recent) => recent,
            None => {
                let links = self.links.iter().map(|entry| &entry.dial).chain(&self.dialing);
                let known = links
                    .chain(self.waiters.iter().map(|waiter| &waiter.dial))
                    .find(|known| ***known == dial)
                    .cloned();
                Recent { dial: known.unwrap_or_else(|| Arc::new(dial)), seen: now, starts: Starts::new(now) }
            }
        };
        recent.seen = now;
        recent.starts.note(now);
        let dial = Arc::clone(&recent.dial);
        self.recent.push_back(recent);
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
        dial
    }

    /// Takes a seat on the fullest usable link that has room, the freshest among equals: the others
    /// are left to become idle.
    pub(super) fn take(
        &mut self,
        dial: &Arc<Dial>,
        born_after: Option<Instant>,
        now: Instant,
    ) -> Option<Place> {
        let per_link = self.per_link;
        let entry = self
            .links
            .iter_mut()
            .filter(|entry| {
                Arc::ptr_eq(&entry.dial, dial) && entry.taken < per_link && entry.link.is_usable()
            })
            .filter(|entry| born_after.is_none_or(|after| entry.born >= after))
            .max_by_key(|entry| (entry.taken, entry.last_used))?;
        let kind = if entry.taken > 0 { CheckoutKind::Hit } else { CheckoutKind::Warm };
        let new = !entry.used;
        entry.taken += 1;
        entry.used = true;
        entry.last_used = now;
        Some(Place { id: entry.id, link: Arc::clone(&entry.link), kind, new })
    }

    /// A seat is free again.
    pub(super) fn give_back(&mut self, id: u64, now: Instant) {
        if let Some(entry) = self.links.iter_mut().find(|entry| entry.id == id) {
            entry.taken = entry.taken.saturating_sub(1);
            entry.last_used = now;
        }
    }

    pub(super) fn wait(&mut self, waiter: Waiter) {
        self.waiters.push_back(waiter);
    }

    pub(super) fn forget(&mut self, ticket: u64) {
        self.waiters.retain(|waiter| waiter.ticket != ticket);
    }

    /// The next waiter that can be served, and the seat it gets.
    pub(super) fn serve(&mut self, now: Instant) -> Option<(Waiter, Place)> {
        let mut missed: Option<(Arc<Dial>, Option<Instant>)> = None;
        for index in 0..self.waiters.len() {
            let waiter = &self.waiters[index];
            let wish = (Arc::clone(&waiter.dial), waiter.born_after);
            if missed.as_ref().is_some_and(|missed| Arc::ptr_eq(&missed.0, &wish.0) && missed.1 == wish.1) {
                continue;
            }
            match self.take(&wish.0, wish.1, now) {
                Some(mut place) => {
                    // Somebody waited for it: a link that has served nobody yet was no spare.
                    if place.new {
                        place.kind = CheckoutKind::Cold;
                    }
                    return self.waiters.remove(index).map(|waiter| (waiter, place));
                }
                None => missed = Some(wish),
            }
        }
        None
    }

    /// Whether a waiting stream may dial; if so a place for the link is reserved.
    pub(super) fn reach(&mut self, dial: &Arc<Dial>, now: Instant) -> Reach {
        if self.links.len() + self.dialing.len() >= self.max_links {
            self.make_room(dial);
            return Reach::Full;
        }
        self.reserve(dial, |dials| dials.ask(now))
    }

    fn reserve(&mut self, dial: &Arc<Dial>, ask: impl FnOnce(&mut Dials) -> MayDial) -> Reach {
        match ask(&mut self.dials) {
            MayDial::Now => {
                self.dialing.push(Arc::clone(dial));
                Reach::Dial
            }
            no => Reach::Not(no),
        }
    }

    /// Retires the longest idle link that cannot serve this dial; its place is free when it has ended.
    fn make_room(&mut self, dial: &Arc<Dial>) {
        if self.links.iter().any(|entry| entry.taken == 0 && !entry.link.is_usable()) {
            return;
        }
        let idle = self.links.iter().filter(|entry| entry.taken == 0 && !Arc::ptr_eq(&entry.dial, dial));
        if let Some(entry) = idle.min_by_key(|entry| entry.last_used) {
            entry.link.retire();
        }
    }

    /// Keeps no spares for this dial: the vendor does not take what is in it.
    pub(super) fn forget_dial(&mut self, dial: &Arc<Dial>) {
        self.recent.retain(|recent| !Arc::ptr_eq(&recent.dial, dial));
    }

    /// Dials that lack spares and may be dialled now, each with its place reserved; and when to ask
    /// again. Wanted are `warm`, or what the starts of the last second would have taken.
    pub(super) fn spares(&mut self, warm: usize, now: Instant) -> (Vec<Arc<Dial>>, Option<Instant>) {
        let mut wanted = Vec::new();
        if !self.waiters.is_empty() {
            return (wanted, None);
        }
        self.recent.retain(|recent| now.duration_since(recent.seen) < RECENT_FOR);
        let wants = |recent: &Recent| warm.max(recent.starts.in_a_second(now).div_ceil(self.per_link));
        let recent: Vec<_> =
            self.recent.iter().rev().map(|recent| (Arc::clone(&recent.dial), wants(recent))).collect();
        for (dial, warm) in &recent {
            let mut spares =
                self.idle(dial) + self.dialing.iter().filter(|other| Arc::ptr_eq(other, dial)).count();
            while spares < *warm && self.links.len() + self.dialing.len() < self.max_links {
                match self.reserve(dial, |dials| dials.ask_for_spare(now)) {
                    Reach::Dial => wanted.push(Arc::clone(dial)),
                    Reach::Not(MayDial::At(at) | MayDial::Refused(_, at)) => return (wanted, Some(at)),
                    Reach::Not(MayDial::Now) | Reach::Full => break,
                }
                spares += 1;
            }
        }
        (wanted, None)
    }

    fn idle(&self, dial: &Arc<Dial>) -> usize {
        let idle =
            |entry: &&Entry| Arc::ptr_eq(&entry.dial, dial) && entry.taken == 0 && entry.link.is_usable();
        self.links.iter().filter(idle).count()
    }

    /// A dial is over; its link, if it came to one, takes the reserved place.
    pub(super) fn dialed(&mut self, dial: &Arc<Dial>, link: Option<Arc<Link>>, now: Instant) -> Option<u64> {
        if let Some(index) = self.dialing.iter().position(|other| Arc::ptr_eq(other, dial)) {
            self.dialing.swap_remove(index);
        }
        let link = link?;
        let id = self.number();
        let dial = Arc::clone(dial);
        self.links.push(Entry { id, dial, link, taken: 0, used: false, born: now, last_used: now });
        Some(id)
    }

    /// A link has ended.
    pub(super) fn ended(&mut self, id: u64) {
        self.links.retain(|entry| entry.id != id);
    }

    /// Whether anything but a dial of one's own could still bring a seat for this dial.
    pub(super) fn has_hope(&self, dial: &Arc<Dial>) -> bool {
        self.links.iter().any(|entry| Arc::ptr_eq(&entry.dial, dial) && entry.link.is_usable())
            || self.dialing.iter().any(|other| Arc::ptr_eq(other, dial))
    }

    /// Links, idle links, dials under way, waiters.
    pub(super) fn counts(&self) -> (usize, usize, usize, usize) {
        let idle = self.links.iter().filter(|entry| entry.taken == 0).count();
        (self.links.len(), idle, self.dialing.len(), self.waiters.len())
    }

    /// Seats there can be and seats that are taken.
    pub(super) fn seats(&self) -> (u64, u64) {
        let taken: usize = self.links.iter().map(|entry| entry.taken).sum();
        (self.max_links.saturating_mul(self.per_link) as u64, taken as u64)
    }
}
