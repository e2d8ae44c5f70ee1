//! Futures that are dropped while the storage below holds their writes: nothing is corrupted, no
//! zone stays stuck, and `settle`, `drain` and management wait for what still runs. All of it with
//! and without a limit on what is in flight.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod hold;

use block_backend::block_core::graph::{Graph, Inherited};
use block_backend::block_core::{ChildNeeds, ChildRole};
use block_backend::image::{CreateOptions, GeometryConfig, create_zoned};
use block_backend::{
    BackendBuilder, BlockBackend, ErrorKind, Options, ZoneCondition, standard_drivers,
};
use fault_inject::{Action, FaultInject, Ops, Rule, When};
use hold::{Hold, SOON, held_device};
use std::future::Future;
use std::time::Duration;
use tokio::time::timeout;

const ZONE: u64 = 64 << 10;
const BLOCK: u64 = 4096;
/// How long something may take that would otherwise never happen.
const LATE: Duration = Duration::from_secs(120);

fn block(fill: u8) -> Vec<u8> {
    vec![fill; 4096]
}

/// Starts a request, lets it reach the storage, and drops its future.
async fn start_and_drop<T>(hold: &Hold, request: impl Future<Output = T>) {
    let before = hold.waiting();
    let mut request = Box::pin(request);
    while hold.waiting() == before {
        assert!(timeout(SOON, &mut request).await.is_err(), "the storage holds it");
    }
    drop(request);
}

async fn pointer(disk: &BlockBackend, zone: u64) -> u64 {
    disk.report_zones(zone * ZONE, 1).await.unwrap()[0].write_pointer.unwrap() - zone * ZONE
}

async fn a_dropped_append_lands_and_the_next_one_follows_it(builder: BackendBuilder) {
    let (disk, hold) = held_device(builder).await;
    hold.shut();
    start_and_drop(&hold, disk.append(ZONE, block(1))).await;
    let next = tokio::spawn({
        let disk = disk.clone();
        async move { disk.append(ZONE, block(2)).await }
    });
    assert!(timeout(SOON, disk.settle()).await.is_err(), "the dropped append still runs");
    hold.open();
    timeout(LATE, disk.settle()).await.unwrap().unwrap();
    assert_eq!(next.await.unwrap().unwrap(), ZONE + BLOCK);
    assert_eq!(pointer(&disk, 1).await, 2 * BLOCK);
    assert_eq!(disk.read(ZONE, 8192).await.unwrap(), [block(1), block(2)].concat());
    disk.close().await.unwrap();
}

async fn what_is_dropped_before_its_turn_leaves_no_trace(builder: BackendBuilder) {
    let (disk, hold) = held_device(builder).await;
    hold.shut();
    let first = tokio::spawn({
        let disk = disk.clone();
        async move { disk.append(ZONE, block(1)).await }
    });
    while hold.waiting() == 0 {
        tokio::time::sleep(SOON).await;
    }
    // These wait behind the first one.
    for _ in 0..5 {
        assert!(timeout(SOON, disk.append(ZONE, block(9))).await.is_err());
    }
    hold.open();
    assert_eq!(first.await.unwrap().unwrap(), ZONE);
    assert_eq!(disk.append(ZONE, block(2)).await.unwrap(), ZONE + BLOCK);
    assert_eq!(pointer(&disk, 1).await, 2 * BLOCK);
    disk.close().await.unwrap();
}

async fn management_waits_for_a_dropped_write_and_goes_on_when_it_is_dropped_itself(
    builder: BackendBuilder,
) {
    let (disk, hold) = held_device(builder).await;
    hold.shut();
    start_and_drop(&hold, disk.write(ZONE, block(1))).await;
    assert!(timeout(SOON, disk.finish_zones(ZONE, ZONE)).await.is_err());
    assert!(
        timeout(LATE, disk.reset_zones(2 * ZONE, ZONE)).await.is_ok(),
        "zones do not wait for one another"
    );
    hold.open();
    disk.settle().await.unwrap();
    let zone = disk.report_zones(ZONE, 1).await.unwrap()[0];
    assert_eq!(zone.condition, ZoneCondition::Full, "the dropped finish was carried out");
    assert_eq!(disk.read(ZONE, 4096).await.unwrap(), block(1));
    disk.reset_zones(ZONE, ZONE).await.unwrap();
    assert_eq!(disk.append(ZONE, block(3)).await.unwrap(), ZONE);
    disk.close().await.unwrap();
}

async fn a_dropped_flush_is_carried_out_and_hides_nothing_from_the_next(builder: BackendBuilder) {
    let (disk, hold) = held_device(builder).await;
    disk.append(ZONE, block(1)).await.unwrap();
    hold.shut();
    start_and_drop(&hold, disk.flush()).await;
    let second = tokio::spawn({
        let disk = disk.clone();
        async move { disk.flush().await }
    });
    tokio::time::sleep(SOON).await;
    assert!(!second.is_finished(), "it waits for the one under way");
    hold.open();
    second.await.unwrap().unwrap();
    disk.close().await.unwrap();
}

async fn a_drain_waits_for_dropped_writes_and_holds_new_ones_back(builder: BackendBuilder) {
    let (disk, hold) = held_device(builder).await;
    hold.shut();
    start_and_drop(&hold, disk.append(ZONE, block(1))).await;
    assert!(timeout(SOON, disk.drain()).await.is_err());
    hold.open();
    let drained = disk.drain().await.unwrap();
    assert_eq!(hold.waiting(), 0);
    assert!(timeout(SOON, disk.append(ZONE, block(2))).await.is_err());
    drop(drained);
    assert_eq!(disk.append(ZONE, block(3)).await.unwrap(), ZONE + BLOCK);
    disk.close().await.unwrap();
}

async fn close_makes_a_dropped_write_durable_and_refuses_what_comes_later(builder: BackendBuilder) {
    let (disk, hold) = held_device(builder).await;
    hold.shut();
    start_and_drop(&hold, disk.append(ZONE, block(1))).await;
    let closing = tokio::spawn({
        let disk = disk.clone();
        async move { disk.close().await }
    });
    tokio::time::sleep(SOON).await;
    assert!(matches!(disk.append(ZONE, block(2)).await.unwrap_err().kind(), ErrorKind::Closed));
    assert!(!closing.is_finished());
    hold.open();
    closing.await.unwrap().unwrap();
    let again = hold.reopen().await;
    assert_eq!(pointer(&again, 1).await, BLOCK);
    assert_eq!(again.read(ZONE, 4096).await.unwrap(), block(1));
}

fn a_runtime_that_goes_away_in_the_middle_leaves_the_zone_usable(builder: BackendBuilder) {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let (disk, hold) = second.block_on(held_device(builder));
    hold.shut();
    first.block_on(start_and_drop(&hold, disk.append(ZONE, block(1))));
    let waiting = second.spawn({
        let disk = disk.clone();
        async move { disk.append(ZONE, block(2)).await }
    });
    std::thread::sleep(SOON);
    first.shutdown_background();
    hold.open();
    let answer = second.block_on(async { timeout(LATE, waiting).await.unwrap().unwrap() });
    second.block_on(async {
        disk.settle().await.unwrap();
        // Whatever the second append heard, pointer and data agree, and the zone goes on.
        let at = pointer(&disk, 1).await;
        if let Ok(position) = answer {
            assert_eq!(disk.read(position, 4096).await.unwrap(), block(2));
        }
        assert_eq!(disk.append(ZONE, block(3)).await.unwrap(), ZONE + at);
        assert_eq!(disk.read(ZONE + at, 4096).await.unwrap(), block(3));
        disk.close().await.unwrap();
    });
}

fn two_runtimes_take_turns_although_only_one_is_driven_at_a_time(builder: BackendBuilder) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let (disk, _) = first.block_on(held_device(builder));
    for n in 0..20 {
        let turn = if n % 2 == 0 { &first } else { &second };
        turn.block_on(async {
            let append = timeout(LATE, disk.append(ZONE, block(n))).await;
            assert!(append.expect("the other runtime holds nothing").is_ok());
            if n % 5 == 4 {
                timeout(LATE, disk.flush()).await.expect("nor the table").unwrap();
            }
            if n % 7 == 6 {
                timeout(LATE, disk.reset_zones(ZONE, ZONE)).await.expect("nor the zone").unwrap();
            }
        });
    }
    first.block_on(disk.close()).unwrap();
}

async fn a_reset_that_was_polled_first_does_not_take_a_later_append_with_it(
    builder: BackendBuilder,
) {
    let (disk, _) = held_device(builder).await;
    for _ in 0..20 {
        disk.append(ZONE, block(1)).await.unwrap();
        let (reset, append) =
            tokio::join!(disk.reset_zones(ZONE, ZONE), disk.append(ZONE, block(2)));
        reset.unwrap();
        assert_eq!(append.unwrap(), ZONE, "it came after the reset");
        assert_eq!(disk.read(ZONE, 4096).await.unwrap(), block(2));
    }
    disk.close().await.unwrap();
}

macro_rules! stories {
    (tasks: [$($story:ident,)*], threads: [$($plain:ident,)*]) => {
        stories!(unlimited, BlockBackend::builder(); $($story)*; $($plain)*);
        stories!(limited, BlockBackend::builder().max_in_flight(6); $($story)*; $($plain)*);
        stories!(limited_in_bytes, BlockBackend::builder().max_in_flight_bytes(10_000);
            $($story)*; $($plain)*);
    };
    ($how:ident, $builder:expr; $($story:ident)*; $($plain:ident)*) => {
        mod $how {
            use block_backend::BlockBackend;
            $(
                #[tokio::test]
                async fn $story() {
                    super::$story($builder).await;
                }
            )*
            $(
                #[test]
                fn $plain() {
                    super::$plain($builder);
                }
            )*
        }
    };
}

stories!(
    tasks: [
        a_dropped_append_lands_and_the_next_one_follows_it,
        what_is_dropped_before_its_turn_leaves_no_trace,
        management_waits_for_a_dropped_write_and_goes_on_when_it_is_dropped_itself,
        a_dropped_flush_is_carried_out_and_hides_nothing_from_the_next,
        a_drain_waits_for_dropped_writes_and_holds_new_ones_back,
        close_makes_a_dropped_write_durable_and_refuses_what_comes_later,
        a_reset_that_was_polled_first_does_not_take_a_later_append_with_it,
    ], threads: [
        a_runtime_that_goes_away_in_the_middle_leaves_the_zone_usable,
        two_runtimes_take_turns_although_only_one_is_driven_at_a_time,
    ]
);

#[tokio::test]
async fn a_close_that_is_dropped_half_way_is_ended_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("closing.zbd");
    let geometry = GeometryConfig { size: 4 * ZONE, zone_size: ZONE, ..GeometryConfig::default() };
    create_zoned(&path, &CreateOptions::new(geometry), false).await.unwrap();
    let graph = Graph::new(standard_drivers());
    let file = Options::driver("file").set("filename", path.to_str().unwrap());
    let file = graph.open_options(file, Inherited::default()).await.unwrap();
    let needs = ChildNeeds {
        role: ChildRole::Filtered,
        write: true,
        share_write: false,
        carries_zones: true,
    };
    let (driver, storage) = FaultInject::new(file.attach(needs, "storage").unwrap());
    let _storage = graph.add(Some("storage"), Box::new(driver)).unwrap();
    let zoned = Options::driver("zoned-file").set("file", "storage");
    let zoned = graph.open_options(zoned, Inherited::default()).await.unwrap();
    let disk = BlockBackend::builder().graph(&graph).on_node(&zoned).unwrap();
    disk.append(0, block(1)).await.unwrap();
    disk.flush().await.unwrap();
    // A flush has nothing to write any more; closing leaves a mark.
    let hang = Action::Hang { when: When::Before };
    storage.add(Rule::new("stopped", hang).on(Ops::WRITE)).unwrap();
    let mut closing = Box::pin(disk.close());
    let begins = async {
        loop {
            assert!(timeout(SOON, &mut closing).await.is_err());
            if zoned.is_closed() {
                break;
            }
        }
    };
    timeout(LATE, begins).await.expect("it begins with the nodes");
    drop(closing);
    storage.remove("stopped").unwrap();
    disk.close().await.unwrap();
    assert!(file.is_closed(), "all nodes are closed");
    let again = BlockBackend::open(path.to_str().unwrap()).await.unwrap();
    assert_eq!(again.read(0, 4096).await.unwrap(), block(1));
}
