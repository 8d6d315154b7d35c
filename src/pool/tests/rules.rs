//! The rules of a pool.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_link_that_is_free_first_is_taken_before_ones_own_dial_is_done() {
    let world = World::new(|_| {});
    let held = world.lease("v").await;
    world.vendor.set_delay(Duration::from_secs(2));
    let (asked, pools) = (Instant::now(), world.clone());
    let waiting = async move { pools.lease("v").await };
    let (waited, ()) = tokio::join!(waiting, async {
        sleep(Duration::from_millis(100)).await;
        drop(held);
    });
    assert_eq!(asked.elapsed().as_millis(), 100);
    assert_eq!(waited.checkout().kind, CheckoutKind::Warm);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_behind_anothers_dial() {
    let world = World::new(|_| {});
    world.vendor.set_delay(Duration::from_secs(2));
    let (slow, pools) = (world.clone(), world.clone());
    let slow = async move { slow.lease("v").await };
    let quick = async move {
        sleep(Duration::from_millis(1)).await;
        pools.vendor.set_delay(Duration::from_millis(10));
        let asked = Instant::now();
        drop(pools.lease("v").await);
        asked.elapsed()
    };
    let (_slow, quick) = tokio::join!(slow, quick);
    assert!(quick < Duration::from_millis(100), "{quick:?}");
}

#[tokio::test(start_paused = true)]
async fn links_are_shared_only_between_equal_dials() {
    let world = World::new(|_| {});
    for voice in ["a", "b", "a", "b"] {
        drop(world.lease(voice).await);
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.vendor.dials(), 2);
    assert_eq!(world.counts().idle, 2);
}

#[tokio::test(start_paused = true)]
async fn an_idle_link_of_another_dial_makes_room_at_the_bound() {
    let world = World::new(|upstream| upstream.pool.max_links = 2);
    for voice in ["a", "b", "c"] {
        drop(world.lease(voice).await);
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((world.vendor.dials(), world.counts().links), (3, 2));
    let again = world.lease("b").await;
    assert_eq!(again.checkout().kind, CheckoutKind::Warm, "the longest idle one made room");
}

#[tokio::test(start_paused = true)]
async fn at_the_bound_a_stream_waits_until_its_deadline_for_a_seat() {
    let world = World::new(|upstream| upstream.pool.max_links = 1);
    let held = world.lease("v").await;
    let asked = Instant::now();
    let refused = world.checkout("v", Duration::from_secs(3)).await.map(|_| ());
    assert_eq!(refused, Err(CheckoutError::Slots { limit: 1, used: 1 }));
    assert_eq!(asked.elapsed().as_secs(), 3);
    drop(held);
    assert_eq!(world.lease("v").await.checkout().kind, CheckoutKind::Warm);
}

#[tokio::test(start_paused = true)]
async fn slots_are_given_in_order_of_asking() {
    let world = World::new(|upstream| upstream.streams = 1);
    let mut held = Some(world.lease("v").await);
    let (tell, mut told) = mpsc::channel(8);
    for number in 0..4 {
        let (world, tell) = (world.clone(), tell.clone());
        world.drain.clone().spawn(async move {
            let lease = world.lease("v").await;
            tell.send(number).await.unwrap();
            sleep(Duration::from_millis(5)).await;
            drop(lease);
        });
        sleep(Duration::from_millis(1)).await;
    }
    held.take();
    for number in 0..4 {
        assert_eq!(told.recv().await, Some(number));
    }
}

#[tokio::test(start_paused = true)]
async fn slots_go_round_between_keys() {
    let world = World::new(|upstream| upstream.streams = 1);
    let held = world.lease("v").await;
    let (tell, mut told) = mpsc::channel(8);
    for key in ["greedy", "greedy", "greedy", "modest"] {
        let (world, tell) = (world.clone(), tell.clone());
        world.drain.clone().spawn(async move {
            let lease = world.checkout_as(key, "v", SOON).await.unwrap();
            tell.send(key).await.unwrap();
            sleep(Duration::from_millis(5)).await;
            drop(lease);
        });
        sleep(Duration::from_millis(1)).await;
    }
    drop(held);
    for key in ["greedy", "modest", "greedy", "greedy"] {
        assert_eq!(told.recv().await, Some(key));
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_never_the_one_who_has_least_in_it() {
    let world = World::new(|upstream| upstream.streams = 1);
    let _held = world.lease("v").await;
    let (tell, mut told) = mpsc::channel(8);
    // Four may wait; the fifth is refused at once, and another one when a second key comes.
    for number in 0..5 {
        let (world, tell) = (world.clone(), tell.clone());
        world.drain.clone().spawn(async move {
            let refused = world.checkout_as("greedy", "v", SOON).await.is_err();
            tell.send((number, refused)).await.unwrap();
        });
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(told.try_recv(), Ok((4, true)));
    let modest = world.checkout_as("modest", "v", Duration::from_secs(1)).await.map(|_| ());
    assert_eq!(modest, Err(CheckoutError::Slots { limit: 1, used: 1 }), "it waited to its deadline");
    assert_eq!(told.try_recv(), Ok((3, true)));
    assert!(told.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_failed_dial_is_told_at_once_and_the_next_try_waits() {
    let world = World::new(|_| {});
    world.vendor.fail(Some(FaultKind::Refused));
    let asked = Instant::now();
    for _ in 0..10 {
        assert!(matches!(world.checkout("v", SOON).await, Err(CheckoutError::Upstream(_))));
    }
    assert!(asked.elapsed() < Duration::from_millis(50));
    assert_eq!(world.vendor.dials(), 1);
    world.vendor.fail(None);
    sleep(Duration::from_millis(200)).await;
    assert!(world.checkout("v", SOON).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn dials_never_exceed_their_rate() {
    let world = World::new(|upstream| upstream.pool.dials_per_second = 2.0);
    let leases = (0..10).map(|_| world.lease("v"));
    let asked = Instant::now();
    let leases = futures_util::future::join_all(leases).await;
    assert_eq!((leases.len(), world.vendor.dials()), (10, 10));
    assert_eq!(asked.elapsed().as_secs(), 4, "two at once, then two a second");
}

#[tokio::test(start_paused = true)]
async fn a_checkout_given_up_at_any_moment_gives_everything_back() {
    for gone_after in [0, 1, 5, 10, 11, 50, 99, 100, 101] {
        let world = World::new(|upstream| upstream.streams = 2);
        world.vendor.set_delay(Duration::from_millis(10));
        let held = [world.lease("v").await, world.lease("v").await];
        let gone = timeout(Duration::from_millis(gone_after), world.checkout("v", SOON));
        let (gone, ()) = tokio::join!(gone, async {
            sleep(Duration::from_millis(100)).await;
            drop(held);
        });
        drop(gone);
        sleep(Duration::from_millis(50)).await;
        let counts = world.counts();
        assert_eq!((counts.slots, counts.waiting, counts.links), (0, 0, counts.idle), "{gone_after} ms");
        assert!(world.checkout("v", SOON).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_turn_is_cleaned_behind_the_next_ones_back() {
    let world = World::new(|_| {});
    let mut lease = world.lease("v").await;
    lease.send(Command::Text("hang".into())).unwrap();
    sleep(Duration::from_millis(1)).await;
    let asked = Instant::now();
    drop(lease);
    let next = world.lease("v").await;
    assert!(asked.elapsed() < Duration::from_millis(100));
    assert_eq!(next.checkout().kind, CheckoutKind::Cold, "the dirty link is not handed out");
    assert_eq!(world.counts().slots, 2, "the vendor still works for the old turn");
    sleep(Duration::from_secs(2)).await;
    let counts = world.counts();
    assert_eq!((counts.slots, counts.links), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_dead_pooled_link_costs_one_fresh_dial_and_no_more() {
    let world = World::new(|_| {});
    drop(world.lease("v").await);
    sleep(Duration::from_millis(1)).await;
    world.vendor.die_on_text(1);
    let mut lease = world.lease("v").await;
    assert_eq!(lease.checkout().kind, CheckoutKind::Warm);
    lease.send(Command::Text("hello".into())).unwrap();
    lease.send(Command::End).unwrap();
    assert_eq!(end(&mut lease).await, Ok("hello".len()));
    assert_eq!(world.vendor.dials(), 2);
    drop(lease);
    world.vendor.die_on_text(2);
    let mut lease = world.lease("v").await;
    lease.send(Command::Text("hello".into())).unwrap();
    assert_eq!(end(&mut lease).await, Err(FaultKind::ClosedEarly));
    assert_eq!(world.vendor.dials(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_link_that_dies_before_it_is_used_is_replaced_and_after_that_is_not() {
    let world = World::new(|_| {});
    let mut lease = world.lease("v").await;
    world.vendor.hang_up();
    assert!(timeout(Duration::from_secs(1), end(&mut lease)).await.is_err(), "nobody was told");
    lease.send(Command::Text("hello".into())).unwrap();
    lease.send(Command::End).unwrap();
    assert_eq!(end(&mut lease).await, Ok("hello".len()));
    world.vendor.hang_up();
    sleep(Duration::from_millis(1)).await;
    world.vendor.die_on_text(1);
    let mut lease = world.lease("v").await;
    assert_eq!(lease.checkout().kind, CheckoutKind::Cold);
    lease.send(Command::Text("hello".into())).unwrap();
    assert_eq!(end(&mut lease).await, Err(FaultKind::ClosedEarly));
}

#[tokio::test(start_paused = true)]
async fn a_lease_given_up_while_it_is_being_replaced_leaves_nothing_behind() {
    let world = World::new(|_| {});
    drop(world.lease("v").await);
    sleep(Duration::from_millis(1)).await;
    world.vendor.die_on_text(1);
    world.vendor.set_delay(Duration::from_secs(1));
    let mut lease = world.lease("v").await;
    lease.send(Command::Text("hello".into())).unwrap();
    assert!(timeout(Duration::from_millis(100), end(&mut lease)).await.is_err());
    lease.send(Command::Text(" again".into())).unwrap();
    drop(lease);
    sleep(Duration::from_secs(2)).await;
    let counts = world.counts();
    assert_eq!((counts.slots, counts.waiting, counts.links), (0, 0, counts.idle));
}

#[tokio::test(start_paused = true)]
async fn streams_already_waiting_when_a_drain_begins_are_served() {
    let world = World::new(|_| {});
    world.vendor.set_delay(Duration::from_millis(100));
    let speaking = async {
        let mut lease = world.lease("v").await;
        lease.send(Command::Text("hello".into())).unwrap();
        lease.send(Command::End).unwrap();
        end(&mut lease).await
    };
    let (spoken, ()) = tokio::join!(speaking, async {
        sleep(Duration::from_millis(50)).await;
        world.drain.begin();
    });
    assert_eq!(spoken, Ok("hello".len()));
    assert!(world.drain.wait(SOON).await);
}

#[tokio::test(start_paused = true)]
async fn spares_are_dialled_again_when_they_die_and_not_for_dials_out_of_use() {
    let world = World::new(|upstream| upstream.pool.warm = 2);
    let held = world.lease("v").await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.counts().idle, 2);
    sleep(Duration::from_secs(120)).await;
    assert_eq!((world.counts().idle, world.vendor.dials()), (2, 7), "idle ones were closed and replaced");
    drop(held);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(world.counts(), PoolCounts { slots_limit: 50, ..PoolCounts::default() });
}

#[tokio::test(start_paused = true)]
async fn a_busy_second_is_followed_by_as_many_spares() {
    let world = World::new(|upstream| upstream.pool.warm = 1);
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(world.lease("v").await);
    }
    sleep(Duration::from_millis(500)).await;
    assert_eq!(world.counts().idle, 5, "those who start next find a link");
}
