//! A pool and the health of its upstream.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_vendor_that_fails_is_left_alone_and_comes_back_with_one_probe() {
    let world = World::new(|_| {});
    drop(world.lease("v").await);
    for _ in 0..5 {
        world.vendor.die_on_text(1);
        // A link that was there before is replaced first; a fresh one is the vendor's fault.
        let mut lease = world.lease(&format!("v{}", world.vendor.dials())).await;
        lease.send(Command::Text("hello".into())).unwrap();
        assert_eq!(end(&mut lease).await, Err(FaultKind::ClosedEarly));
        world.vendor.die_on_text(0);
    }
    let (dials, asked) = (world.vendor.dials(), Instant::now());
    for _ in 0..100 {
        let refused = world.checkout("v", SOON).await.map(|_| ());
        let Err(CheckoutError::Upstream(fault)) = refused else { panic!("{refused:?}") };
        assert!((4_000..=6_000).contains(&fault.retry_after_ms.unwrap()));
        assert_eq!(Fault::from(&fault).code, FaultCode::UpstreamUnavailable);
    }
    assert_eq!((asked.elapsed(), world.vendor.dials()), (Duration::ZERO, dials));
    sleep(Duration::from_secs(6)).await;
    let mut probe = world.lease("v").await;
    assert!(world.checkout("v", SOON).await.is_err(), "one probe at a time");
    probe.send(Command::Text("hello".into())).unwrap();
    probe.send(Command::End).unwrap();
    assert_eq!(end(&mut probe).await, Ok("hello".len()));
    assert!(world.checkout("v", SOON).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_makes_room_for_the_next() {
    let world = World::new(|_| {});
    world.vendor.fail(Some(FaultKind::Refused));
    for _ in 0..5 {
        assert!(world.checkout("v", SOON).await.is_err());
        sleep(Duration::from_secs(6)).await;
    }
    world.vendor.fail(None);
    drop(world.lease("v").await);
    drop(world.lease("v").await);
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_is_tried_once_a_minute() {
    let world = World::new(|upstream| upstream.pool.warm = 2);
    world.vendor.fail(Some(FaultKind::Auth));
    for _ in 0..300 {
        let refused = world.checkout("v", SOON).await.map(|_| ());
        let Err(CheckoutError::Upstream(fault)) = refused else { panic!("{refused:?}") };
        assert_eq!(fault.kind, FaultKind::Auth);
        sleep(Duration::from_secs(1)).await;
    }
    let dials = world.vendor.dials();
    assert!((4..=5).contains(&dials), "{dials} tries in five minutes");
    world.vendor.fail(None);
    sleep(Duration::from_secs(75)).await;
    assert!(world.checkout("v", SOON).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_says_too_many_gets_half_and_then_one_more_each_ten_seconds() {
    let world = World::new(|upstream| upstream.streams = 8);
    let held = futures_util::future::join_all((0..8).map(|_| world.lease("v"))).await;
    world.vendor.fail(Some(FaultKind::Throttled));
    world.vendor.hang_up();
    drop(held);
    sleep(Duration::from_millis(1)).await;
    let _held = world.checkout("v", SOON).await;
    let limit = world.counts().slots_limit;
    assert!(limit < 8, "{limit}");
    world.vendor.fail(None);
    sleep(Duration::from_secs(10)).await;
    let leases =
        futures_util::future::join_all((0..8).map(|_| world.checkout("v", Duration::from_secs(1)))).await;
    assert_eq!(leases.iter().filter(|lease| lease.is_ok()).count(), limit + 1);
}

#[tokio::test(start_paused = true)]
async fn links_that_die_under_their_streams_are_replaced_so_often_and_no_more() {
    let world = World::new(|upstream| {
        (upstream.streams, upstream.pool.max_links, upstream.pool.dials_per_second) = (50, 50, 500.0);
    });
    drop(futures_util::future::join_all((0..50).map(|_| world.lease("v"))).await);
    sleep(Duration::from_millis(1)).await;
    let mut leases = futures_util::future::join_all((0..50).map(|_| world.lease("v"))).await;
    world.vendor.hang_up();
    sleep(Duration::from_millis(1)).await;
    let mut lost = 0;
    for lease in &mut leases {
        lease.send(Command::Text("hello".into())).unwrap();
        lease.send(Command::End).unwrap();
        lost += usize::from(end(lease).await.is_err());
    }
    // Three a second are allowed, which is more than a fifth of these starts.
    assert_eq!(lost, 20);
}

#[tokio::test(start_paused = true)]
async fn the_death_of_a_shared_link_is_one_fault() {
    let world = World::shared(6);
    let mut leases = futures_util::future::join_all((0..6).map(|_| world.lease("v"))).await;
    for lease in &mut leases {
        lease.send(Command::Text("hello".into())).unwrap();
        assert!(poll_fn(|cx| lease.poll_event(cx)).await.unwrap().audio_len() > 0);
    }
    world.vendor.hang_up();
    for lease in &mut leases {
        assert_eq!(end(lease).await, Err(FaultKind::ClosedMidAudio));
    }
    assert!(world.checkout("v", SOON).await.is_ok(), "the breaker is open");
}
