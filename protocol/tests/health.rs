//! When an upstream is left alone, and how it comes back.

#![allow(clippy::expect_used)] // helpers of tests are tests
#![allow(clippy::disallowed_methods)] // an instant to count from

use std::time::{Duration, Instant};

use proptest::prelude::*;
use voxrelay_protocol::health::{Health, Pass, Retries, Throttle};
use voxrelay_protocol::{FaultKind, UpstreamFault};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn fault(kind: FaultKind) -> UpstreamFault {
    UpstreamFault::new(kind, "")
}

/// An upstream and its clock.
struct World {
    health: Health,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self { health: Health::new(now), now }
    }

    fn pass(&mut self) -> Option<Pass> {
        self.health.admit(self.now).ok()
    }

    fn fails(&mut self, kind: FaultKind) {
        let pass = self.pass().expect("let through");
        self.health.failed(pass, &fault(kind), 0.5, self.now);
    }

    fn speaks(&mut self) {
        let pass = self.pass().expect("let through");
        self.health.succeeded(pass, self.now);
    }

    fn opened() -> Self {
        let mut world = Self::new();
        (0..5).for_each(|_| world.fails(FaultKind::Reset));
        assert!(world.health.is_open());
        world
    }

    /// How long nothing passes, in ms.
    fn closed_ms(&self) -> u128 {
        self.health.check(self.now).err().map_or(0, |closed| closed.retry_after.as_millis())
    }

    /// Streams that pass of 1,000 in the next second.
    fn passing(&mut self) -> usize {
        (0..1000)
            .filter(|_| {
                self.now += MS;
                let pass = self.pass();
                pass.inspect(|pass| self.health.succeeded(*pass, self.now)).is_some()
            })
            .count()
    }
}

#[test]
fn five_faults_in_a_row_open_it_and_four_do_not() {
    let mut world = World::new();
    for _ in 0..3 {
        (0..4).for_each(|_| world.fails(FaultKind::FirstAudio));
        world.speaks();
    }
    assert!(!world.health.is_open());
    (0..5).for_each(|_| world.fails(FaultKind::Http5xx));
    assert_eq!(world.closed_ms(), 5_000);
    let closed = world.health.check(world.now).unwrap_err();
    assert_eq!(closed.kind, FaultKind::Refused);
}

#[test]
fn half_of_twenty_in_half_a_minute_open_it() {
    for (pause, opens) in [(1500 * MS, true), (3500 * MS, false)] {
        let mut world = World::new();
        for _ in 0..14 {
            world.speaks();
            if !world.health.is_open() {
                world.fails(FaultKind::ClosedMidAudio);
            }
            world.now += pause;
            if world.health.is_open() {
                break;
            }
        }
        assert_eq!(world.health.is_open(), opens, "a stream in {pause:?}");
    }
}

#[test]
fn faults_of_rate_and_input_say_nothing_of_the_vendor() {
    let mut world = World::new();
    for kind in [FaultKind::Throttled, FaultKind::Rejected, FaultKind::SlowConsumer] {
        (0..30).for_each(|_| world.fails(kind));
    }
    assert_eq!(world.closed_ms(), 0);
}

#[test]
fn one_probe_passes_at_a_time_and_its_success_closes_it() {
    let mut world = World::opened();
    world.now += 5 * SECOND;
    let probe = world.pass().unwrap();
    assert_eq!(world.pass(), None);
    world.now += SECOND;
    assert_eq!(world.pass(), None);
    world.health.succeeded(probe, world.now);
    assert!(!world.health.is_open());
    assert!(world.pass().is_some());
}

#[test]
fn each_failed_probe_doubles_the_pause_up_to_its_bound() {
    for (draw, share) in [(0.0, 80), (0.5, 100), (1.0, 120)] {
        let mut world = World::opened();
        let mut pauses = Vec::new();
        for _ in 0..4 {
            world.now += Duration::from_millis(world.closed_ms() as u64 + 1);
            let probe = world.pass().unwrap();
            world.health.failed(probe, &fault(FaultKind::Refused), draw, world.now);
            pauses.push(world.closed_ms());
        }
        assert_eq!(pauses, [10_000, 20_000, 30_000, 30_000].map(|ms| ms * share / 100));
    }
}

#[test]
fn a_probe_that_shows_nothing_makes_room_for_the_next() {
    let mut world = World::opened();
    world.now += 5 * SECOND;
    let gone = world.pass().unwrap();
    world.health.abandoned(gone, world.now);
    let slow = world.pass().unwrap();
    world.now += 10 * SECOND;
    let probe = world.pass().unwrap();
    // Too late to say anything.
    world.health.failed(slow, &fault(FaultKind::FirstAudio), 0.5, world.now);
    world.health.succeeded(probe, world.now);
    assert!(!world.health.is_open());
}

#[test]
fn what_began_before_it_opened_proves_nothing() {
    let mut world = World::new();
    let (good, bad) = (world.pass().unwrap(), world.pass().unwrap());
    (0..5).for_each(|_| world.fails(FaultKind::Reset));
    world.health.succeeded(good, world.now);
    assert!(world.health.is_open());
    let pause = world.closed_ms();
    world.health.failed(bad, &fault(FaultKind::Reset), 1.0, world.now);
    assert_eq!(world.closed_ms(), pause);
}

#[test]
fn streams_come_back_over_ten_seconds() {
    let mut world = World::opened();
    world.now += 5 * SECOND;
    world.speaks();
    let shares: Vec<_> = (0..11).map(|_| world.passing()).collect();
    assert!(shares[0] > 100 && shares[0] < 200, "{shares:?}");
    assert!(shares.windows(2).all(|pair| pair[0] < pair[1] || pair[1] == 1000), "{shares:?}");
    assert_eq!(shares[10], 1000);
}

#[test]
fn an_upstream_in_little_use_is_back_at_once() {
    let mut world = World::opened();
    world.now += 5 * SECOND;
    world.speaks();
    for _ in 0..20 {
        world.speaks();
        world.now += 400 * MS;
    }
}

#[test]
fn a_bad_credential_is_tried_once_a_minute() {
    let mut world = World::new();
    world.fails(FaultKind::Auth);
    assert!(world.health.is_credential_bad());
    assert!(!world.health.is_open(), "the vendor is well");
    let closed = world.health.check(world.now).unwrap_err();
    assert_eq!((closed.kind, closed.retry_after), (FaultKind::Auth, 60 * SECOND));
    let mut tries = 0;
    for _ in 0..600 {
        world.now += SECOND;
        if let Some(pass) = world.pass() {
            tries += 1;
            world.health.failed(pass, &fault(FaultKind::Payment), 0.5, world.now);
        }
    }
    assert_eq!(tries, 10);
    world.now += 60 * SECOND;
    world.speaks();
    assert!(!world.health.is_credential_bad());
}

#[test]
fn a_stream_from_before_does_not_make_a_credential_good() {
    let mut world = World::new();
    let before = world.pass().unwrap();
    world.fails(FaultKind::Auth);
    world.health.succeeded(before, world.now);
    assert!(world.health.is_credential_bad());
}

#[test]
fn a_refusal_of_rate_halves_what_runs_and_one_more_comes_each_ten_seconds() {
    let mut now = Instant::now();
    let mut throttle = Throttle::new(15);
    for _ in 0..9 {
        throttle.refused(15, None, now);
    }
    assert_eq!(throttle.slots(now), 7, "a burst is one refusal");
    now += 25 * SECOND;
    assert_eq!(throttle.slots(now), 9);
    throttle.refused(3, None, now);
    assert_eq!(throttle.slots(now), 1);
    now += 1000 * SECOND;
    assert_eq!(throttle.slots(now), 15);
}

#[test]
fn a_vendors_advice_is_followed_up_to_a_minute() {
    let now = Instant::now();
    for (advice, held) in [(7, 7), (3600, 60)] {
        let mut throttle = Throttle::new(4);
        throttle.refused(4, Some(advice * SECOND), now);
        assert_eq!(throttle.held(now), Some(held * SECOND));
        assert_eq!(throttle.held(now + held * SECOND), None);
    }
}

#[test]
fn second_tries_are_a_fifth_of_the_starts_and_never_less_than_three_a_second() {
    let now = Instant::now();
    let mut retries = Retries::new(now);
    assert_eq!((0..50).filter(|_| retries.allow(now)).count(), 30);
    assert!(!retries.allow(now + 9 * SECOND));
    assert!(retries.allow(now + 10 * SECOND), "the old ones are forgotten");
    let mut retries = Retries::new(now);
    (0..1000).for_each(|_| retries.started(now));
    assert_eq!((0..500).filter(|_| retries.allow(now)).count(), 200);
}

#[derive(Debug, Clone)]
enum Step {
    Admit,
    Speak(usize),
    Fail(usize, FaultKind),
    Leave(usize),
    Dial(FaultKind),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = || prop::sample::select(FaultKind::ALL.to_vec());
    prop_oneof![
        4 => Just(Step::Admit),
        1 => any::<usize>().prop_map(Step::Speak),
        3 => (any::<usize>(), kind()).prop_map(|(which, kind)| Step::Fail(which, kind)),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => kind().prop_map(Step::Dial),
        2 => (0u64..20_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn it_never_locks_itself_out_and_an_open_one_lets_one_through_at_most(
        steps in prop::collection::vec(step(), 0..200), draw in 0.0f64..=1.0,
    ) {
        let mut world = World::new();
        let mut running: Vec<(Pass, bool)> = Vec::new();
        for step in steps {
            match step {
                Step::Admit => {
                    let open = world.health.is_open();
                    let checked = world.health.check(world.now).is_ok();
                    if let Some(pass) = world.pass() {
                        prop_assert!(checked);
                        prop_assert!(!open || world.pass().is_none(), "two probes at once");
                        running.push((pass, open));
                    }
                }
                Step::Speak(which) if !running.is_empty() => {
                    let (pass, _) = running.swap_remove(which % running.len());
                    world.health.succeeded(pass, world.now);
                }
                Step::Fail(which, kind) if !running.is_empty() => {
                    let (pass, _) = running.swap_remove(which % running.len());
                    world.health.failed(pass, &fault(kind), draw, world.now);
                }
                Step::Leave(which) if !running.is_empty() => {
                    let (pass, _) = running.swap_remove(which % running.len());
                    world.health.abandoned(pass, world.now);
                }
                Step::Dial(kind) => world.health.dial_failed(&fault(kind), draw, world.now),
                Step::Wait(ms) => world.now += Duration::from_millis(ms),
                _ => {}
            }
            if let Err(closed) = world.health.check(world.now) {
                prop_assert!(closed.retry_after <= 60 * SECOND);
                prop_assert!(!closed.retry_after.is_zero());
                prop_assert!(world.health.is_open() || world.health.is_credential_bad());
            }
        }
        // Whatever has happened: after the longest pause one passes, and its success heals.
        world.now += 61 * SECOND;
        let pass = world.pass();
        prop_assert!(pass.is_some());
        world.health.succeeded(pass.unwrap(), world.now);
        prop_assert!(!world.health.is_open() && !world.health.is_credential_bad());
    }
}
