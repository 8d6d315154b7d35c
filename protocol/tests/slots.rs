//! Slots are fair, never too many, and never lost.

#![allow(clippy::expect_used)] // helpers of tests are tests

use std::collections::HashMap;

use proptest::prelude::*;
use voxrelay_protocol::slots::{Asked, FairSlots, Need, Ticket};

type Slots = FairSlots<u8, (u8, u32)>;

fn waits(slots: &mut Slots, key: u8, number: u32) -> Ticket {
    match slots.ask(key, Need::FirstAudio, (key, number)) {
        Asked::Waiting { ticket, displaced: None } => ticket,
        other => panic!("{other:?}"),
    }
}

fn granted(slots: &mut Slots) -> Option<(u8, u32)> {
    slots.give_back();
    slots.grant()
}

#[test]
fn keys_are_served_in_turn_and_each_in_order_of_asking() {
    let mut slots = Slots::new(1, 100);
    assert_eq!(slots.ask(1, Need::FirstAudio, (1, 0)), Asked::Granted((1, 0)));
    for number in 1..=3 {
        waits(&mut slots, 1, number);
    }
    waits(&mut slots, 2, 1);
    waits(&mut slots, 3, 1);
    waits(&mut slots, 2, 2);
    let order: Vec<_> = std::iter::from_fn(|| granted(&mut slots)).collect();
    assert_eq!(order, [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (1, 3)]);
}

#[test]
fn first_audio_goes_before_later_needs() {
    let mut slots = Slots::new(1, 100);
    assert_eq!(slots.ask(1, Need::Later, (1, 0)), Asked::Granted((1, 0)));
    for number in 1..=2 {
        assert!(matches!(slots.ask(1, Need::Later, (1, number)), Asked::Waiting { .. }));
    }
    waits(&mut slots, 2, 1);
    assert_eq!(granted(&mut slots), Some((2, 1)));
    assert_eq!(granted(&mut slots), Some((1, 1)));
}

#[test]
fn a_full_queue_refuses_whoever_has_most_in_it() {
    let mut slots = Slots::new(1, 4);
    assert_eq!(slots.ask(1, Need::FirstAudio, (1, 0)), Asked::Granted((1, 0)));
    for number in 1..=4 {
        waits(&mut slots, 1, number);
    }
    assert_eq!(slots.ask(1, Need::FirstAudio, (1, 5)), Asked::Full((1, 5)));
    for (number, displaced) in [(1, 4), (2, 3)] {
        let asked = slots.ask(2, Need::FirstAudio, (2, number));
        assert!(matches!(asked, Asked::Waiting { displaced: Some(other), .. } if other == (1, displaced)));
    }
    assert_eq!(slots.ask(2, Need::FirstAudio, (2, 3)), Asked::Full((2, 3)), "both have their half");
    assert_eq!(slots.waiting(), 4);
}

#[test]
fn those_above_a_lowered_limit_run_on_and_nobody_follows_them() {
    let mut slots = Slots::new(4, 4);
    for number in 0..4 {
        assert!(matches!(slots.ask(1, Need::FirstAudio, (1, number)), Asked::Granted(_)));
    }
    waits(&mut slots, 1, 9);
    slots.set_limit(2);
    assert_eq!(slots.running(), 4);
    assert_eq!((granted(&mut slots), granted(&mut slots)), (None, None));
    assert_eq!(granted(&mut slots), Some((1, 9)));
}

#[derive(Debug, Clone)]
enum Step {
    Ask(u8),
    End,
    Leave(usize),
    Limit(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        // Key 0 asks for ten times what each other one asks for.
        8 => prop_oneof![10 => Just(0u8), 3 => 1u8..4].prop_map(Step::Ask),
        5 => Just(Step::End),
        2 => any::<usize>().prop_map(Step::Leave),
        1 => (1usize..6).prop_map(Step::Limit),
    ]
}

/// What must hold, told from outside: who waits, who runs, and how many others went before.
#[derive(Default)]
struct Model {
    waiting: Vec<(Ticket, u8, u32)>,
    running: usize,
    /// Of each key that waits: whom it has seen go before it.
    passed: HashMap<u8, Vec<u8>>,
}

impl Model {
    fn forget(&mut self, key: u8, number: u32) {
        let at = self.waiting.iter().position(|(_, other, that)| (*other, *that) == (key, number));
        self.waiting.remove(at.expect("only who waits is served or displaced"));
        if !self.waiting.iter().any(|(_, other, _)| *other == key) {
            self.passed.remove(&key);
        }
    }

    fn waits(&mut self, ticket: Ticket, key: u8, number: u32) {
        self.waiting.push((ticket, key, number));
        self.passed.entry(key).or_default();
    }

    fn granted(&mut self, key: u8, number: u32) -> Result<(), TestCaseError> {
        let oldest = self.waiting.iter().find(|(_, other, _)| *other == key).map(|(_, _, number)| *number);
        prop_assert_eq!(oldest, Some(number), "a key's own are served in order");
        self.running += 1;
        self.forget(key, number);
        self.passed.insert(key, Vec::new());
        for (other, passed) in &mut self.passed {
            if *other != key {
                prop_assert!(!passed.contains(&key), "{} went twice before {}", key, other);
                passed.push(key);
            }
        }
        self.passed.retain(|key, _| self.waiting.iter().any(|(_, other, _)| other == key));
        Ok(())
    }
}

proptest! {
    #[test]
    fn nobody_starves_nobody_is_lost_and_never_too_many_run(
        limit in 1usize..6, queue in 0usize..12, steps in prop::collection::vec(step(), 0..300),
    ) {
        let mut slots = Slots::new(limit, queue);
        let mut model = Model::default();
        for (number, step) in steps.into_iter().enumerate() {
            let number = number as u32;
            match step {
                Step::Ask(key) => match slots.ask(key, Need::FirstAudio, (key, number)) {
                    Asked::Granted(_) => model.running += 1,
                    Asked::Waiting { ticket, displaced } => {
                        if let Some((other, number)) = displaced {
                            model.forget(other, number);
                        }
                        model.waits(ticket, key, number);
                    }
                    Asked::Full(_) => {
                        let mine = model.waiting.iter().filter(|(_, other, _)| *other == key).count();
                        prop_assert!((1..4).chain([0]).all(|other| {
                            model.waiting.iter().filter(|(_, that, _)| *that == other).count() <= mine + 1
                        }), "refused while another had more than its share of the queue");
                    }
                },
                Step::End if model.running > 0 => {
                    model.running -= 1;
                    slots.give_back();
                }
                Step::End => {}
                Step::Leave(which) if !model.waiting.is_empty() => {
                    let (ticket, key, number) = model.waiting[which % model.waiting.len()];
                    prop_assert!(slots.leave(ticket));
                    prop_assert!(!slots.leave(ticket));
                    model.forget(key, number);
                }
                Step::Leave(_) => {}
                Step::Limit(limit) => slots.set_limit(limit),
            }
            while let Some((key, number)) = slots.grant() {
                model.granted(key, number)?;
                prop_assert!(slots.running() <= slots.limit());
            }
            prop_assert_eq!((slots.running(), slots.waiting()), (model.running, model.waiting.len()));
            prop_assert!(slots.waiting() <= queue);
            prop_assert!(slots.waiting() == 0 || slots.running() >= slots.limit(), "a slot lies idle");
        }
    }
}
