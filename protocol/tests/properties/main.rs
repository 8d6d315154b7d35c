//! What holds for a session whatever happens, in whatever order.

#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod shell;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use voxrelay_protocol::FaultKind;

use shell::{CHUNK, NAMES, Shell};

/// One thing that happens. Streams of clients are meant by a name, those of upstreams by how many
/// checkouts ago theirs was: so late events for dead streams happen too.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Start { name: usize, paced: bool, raw: bool, routes: usize },
    Text { name: usize, text: String },
    Flush { name: usize },
    End { name: usize },
    Cancel { name: usize, played_ms: Option<u64> },
    Garbage,
    Leased { ago: usize },
    Refused { ago: usize },
    Audio { ago: usize, samples: usize },
    Words { ago: usize, start_ms: u64 },
    Flushed { ago: usize },
    Done { ago: usize },
    Failed { ago: usize, kind: FaultKind },
    Room { commands: usize },
    Wait { ms: u64 },
    Unblocked,
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    let ago = 0..3_usize;
    let text = prop_oneof![4 => "[a-z .]{0,12}", 1 => Just("  \n".to_owned()), 1 => "[a-zé]{30,70}"];
    let kind = prop::sample::select(FaultKind::ALL.to_vec());
    let start = (name.clone(), any::<bool>(), prop::bool::weighted(0.1), 0..4_usize)
        .prop_map(|(name, paced, raw, routes)| Step::Start { name, paced, raw, routes });
    prop_oneof![
        6 => start,
        10 => (name.clone(), text).prop_map(|(name, text)| Step::Text { name, text }),
        4 => name.clone().prop_map(|name| Step::Flush { name }),
        5 => name.clone().prop_map(|name| Step::End { name }),
        2 => (name, prop::option::of(0..500_u64)).prop_map(|(name, played_ms)| Step::Cancel { name, played_ms }),
        1 => Just(Step::Garbage),
        10 => ago.clone().prop_map(|ago| Step::Leased { ago }),
        1 => ago.clone().prop_map(|ago| Step::Refused { ago }),
        12 => (ago.clone(), 0..CHUNK / 2).prop_map(|(ago, samples)| Step::Audio { ago, samples }),
        2 => (ago.clone(), 0..500_u64).prop_map(|(ago, start_ms)| Step::Words { ago, start_ms }),
        3 => ago.clone().prop_map(|ago| Step::Flushed { ago }),
        6 => ago.clone().prop_map(|ago| Step::Done { ago }),
        2 => (ago, kind).prop_map(|(ago, kind)| Step::Failed { ago, kind }),
        3 => (0..6_usize).prop_map(|commands| Step::Room { commands }),
        6 => prop_oneof![9 => 0..100_u64, 1 => 0..70_000_u64].prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Unblocked),
        1 => prop::bool::weighted(0.1).prop_map(|drain| if drain { Step::Drain } else { Step::Unblocked }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_promise_of_a_session_holds_in_every_order(
        steps in prop::collection::vec(step(), 0..120), gone in any::<bool>(),
    ) {
        let mut shell = Shell::new();
        for step in steps {
            shell.take(step);
        }
        shell.leave(gone);
    }
}
