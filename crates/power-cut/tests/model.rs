//! The model itself: it keeps what it must, and really loses, tears and reorders the rest.
#![allow(clippy::unwrap_used)]

use block_core::{BlockDriver, IoBufMut, RequestFlags, Result};
use power_cut::{Content, PowerCutDisk, Rng, SECTOR};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

const CUTS: usize = 2000;
const FUA: RequestFlags = RequestFlags::FUA;
const PLAIN: RequestFlags = RequestFlags::empty();

fn disk() -> PowerCutDisk {
    PowerCutDisk::new(Content::new(1 << 20), 1)
}

async fn write(disk: &PowerCutDisk, sector: u64, count: usize, value: u8, flags: RequestFlags) {
    let data = vec![value; count * 512];
    disk.write(sector * SECTOR, data.into(), flags).await.unwrap();
}

/// How often each content of these sectors came up after cuts at this point.
fn outcomes(disk: &PowerCutDisk, point: usize, sectors: &[u64]) -> BTreeMap<Vec<u8>, usize> {
    let mut rng = Rng::new(99);
    let mut seen = BTreeMap::new();
    for _ in 0..CUTS {
        let after = disk.after_cut(point, &mut rng);
        let found = sectors.iter().map(|s| after.byte(s * SECTOR)).collect();
        *seen.entry(found).or_default() += 1;
    }
    seen
}

fn only(found: &BTreeMap<Vec<u8>, usize>, allowed: &[&[u8]]) {
    let keys: Vec<&[u8]> = found.keys().map(Vec::as_slice).collect();
    let mut allowed = allowed.to_vec();
    allowed.sort_unstable();
    assert_eq!(keys, allowed, "{found:?}");
    // None of the outcomes is a rarity.
    assert!(found.values().all(|n| *n > CUTS / 50), "{found:?}");
}

/// Polls a future until it has had every turn that the disk may give to others.
fn poll_for_long<T>(future: &mut std::pin::Pin<&mut impl Future<Output = T>>) {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10 {
        assert!(future.as_mut().poll(&mut context).is_pending());
    }
}

#[tokio::test]
async fn what_was_flushed_is_there_and_what_was_not_may_be() {
    let disk = disk();
    write(&disk, 0, 2, 1, PLAIN).await;
    disk.flush().await.unwrap();
    let flushed = disk.points();
    write(&disk, 0, 1, 2, PLAIN).await;
    only(&outcomes(&disk, flushed, &[0, 1]), &[&[1, 1]]);
    only(&outcomes(&disk, disk.points(), &[0, 1]), &[&[1, 1], &[2, 1]]);
    // Before the flush had ended, nothing was promised; before the write began, nothing was there.
    only(&outcomes(&disk, flushed - 1, &[0]), &[&[0], &[1]]);
    only(&outcomes(&disk, 0, &[0]), &[&[0]]);
    assert_eq!(disk.live().byte(0), 2);
}

#[tokio::test]
async fn a_write_is_lost_whole_or_torn_at_any_sector() {
    let disk = disk();
    write(&disk, 8, 8, 1, PLAIN).await;
    let sectors: Vec<u64> = (7..17).collect();
    let found = outcomes(&disk, disk.points(), &sectors);
    let count = |test: &dyn Fn(&[u8]) -> bool| -> usize {
        let matching = found.iter().filter(|(k, _)| test(k));
        matching.map(|(_, n)| n).sum()
    };
    assert!(found.keys().all(|k| k[0] == 0 && k[9] == 0), "bytes outside changed");
    let (lost, whole) = (count(&|k| !k.contains(&1)), count(&|k| k[1..9] == [1; 8]));
    assert!(lost > CUTS / 5, "{lost}");
    assert!(whole > CUTS / 4, "{whole}");
    assert!(CUTS - lost - whole > CUTS / 6, "{lost} {whole}");
    for sector in 1..9 {
        let there_alone = count(&|k| k[sector] == 1 && k.iter().sum::<u8>() == 1);
        let gone_alone = count(&|k| k[sector] == 0 && k.iter().sum::<u8>() == 7);
        assert!(there_alone > 0 && gone_alone > 0, "sector {sector}");
    }
    assert!(found.len() > 60, "{} ways to tear", found.len());
}

#[tokio::test]
async fn writes_reach_the_medium_in_any_order() {
    let disk = disk();
    write(&disk, 0, 1, 1, PLAIN).await;
    write(&disk, 1, 1, 2, PLAIN).await;
    write(&disk, 2, 1, 3, PLAIN).await;
    let found = outcomes(&disk, disk.points(), &[0, 1, 2]);
    assert_eq!(found.len(), 8, "every subset: {found:?}");
    // Twice the same place: either, or neither.
    write(&disk, 9, 1, 1, PLAIN).await;
    write(&disk, 9, 1, 2, PLAIN).await;
    only(&outcomes(&disk, disk.points(), &[9]), &[&[0], &[1], &[2]]);
}

#[tokio::test]
async fn a_flush_covers_only_what_had_ended_before_it_began() {
    let disk = disk();
    disk.hold();
    {
        let mut in_flight = pin!(write(&disk, 0, 1, 1, PLAIN));
        poll_for_long(&mut in_flight);
        {
            let mut flush = pin!(disk.flush());
            poll_for_long(&mut flush);
            disk.release();
            // The write ends while the flush is under way.
            in_flight.await;
            flush.await.unwrap();
        }
    }
    only(&outcomes(&disk, disk.points(), &[0]), &[&[0], &[1]]);
    disk.flush().await.unwrap();
    only(&outcomes(&disk, disk.points(), &[0]), &[&[1]]);
}

#[tokio::test]
async fn fua_is_durable_at_its_end_and_nothing_older_comes_back() {
    let disk = disk();
    write(&disk, 0, 2, 1, PLAIN).await;
    write(&disk, 0, 1, 2, FUA).await;
    let point = disk.points();
    only(&outcomes(&disk, point, &[0, 1]), &[&[2, 0], &[2, 1]]);
    only(&outcomes(&disk, point - 1, &[0]), &[&[0], &[1], &[2]]);
    // A flush later does not bring it back either.
    disk.flush().await.unwrap();
    only(&outcomes(&disk, disk.points(), &[0, 1]), &[&[2, 1]]);
    disk.write_zeroes(0, SECTOR, FUA).await.unwrap();
    only(&outcomes(&disk, disk.points(), &[0, 1]), &[&[0, 1]]);
}

#[tokio::test]
async fn discards_and_zeroes_happen_in_part() {
    let disk = disk();
    write(&disk, 0, 2, 1, FUA).await;
    let point = disk.points();
    disk.write_zeroes(0, 2 * SECTOR, PLAIN).await.unwrap();
    let found = outcomes(&disk, disk.points(), &[0, 1]);
    only(&found, &[&[0, 0], &[0, 1], &[1, 0], &[1, 1]]);
    only(&outcomes(&disk, point, &[0, 1]), &[&[1, 1]]);

    // What a discard leaves for reads is up to the disk, each time anew.
    let mut live = BTreeMap::new();
    for _ in 0..200 {
        write(&disk, 0, 2, 1, PLAIN).await;
        disk.discard(0, 2 * SECTOR).await.unwrap();
        let now = disk.live();
        *live.entry((now.byte(0), now.byte(SECTOR))).or_insert(0) += 1;
    }
    assert_eq!(live.len(), 4, "{live:?}");
}

#[tokio::test]
async fn a_resize_may_be_lost_with_all_that_is_behind_the_end() {
    let disk = PowerCutDisk::new(Content::new(SECTOR), 1);
    disk.resize(4 * SECTOR).await.unwrap();
    write(&disk, 2, 1, 7, FUA).await;
    let mut rng = Rng::new(5);
    let mut lengths = BTreeMap::new();
    for _ in 0..100 {
        let after = disk.after_cut(disk.points(), &mut rng);
        *lengths.entry(after.length()).or_insert(0) += 1;
    }
    assert_eq!(lengths.keys().copied().collect::<Vec<_>>(), [SECTOR, 4 * SECTOR]);
    disk.flush().await.unwrap();
    assert_eq!(disk.after_cut(disk.points(), &mut rng).length(), 4 * SECTOR);
}

#[tokio::test]
async fn what_is_in_flight_at_the_cut_is_there_in_any_part() {
    let disk = disk();
    disk.hold();
    let mut in_flight = pin!(write(&disk, 0, 2, 1, FUA));
    poll_for_long(&mut in_flight);
    assert_eq!(disk.in_flight(), 1);
    assert_eq!(disk.live().byte(0), 0, "it has not landed");
    let found = outcomes(&disk, disk.points(), &[0, 1]);
    only(&found, &[&[0, 0], &[0, 1], &[1, 0], &[1, 1]]);
    disk.release();
    in_flight.await;
    only(&outcomes(&disk, disk.points(), &[0, 1]), &[&[1, 1]]);
}

#[tokio::test]
async fn an_abandoned_request_lands_at_the_latest_when_the_node_is_settled() {
    let disk = disk();
    disk.hold();
    {
        let mut dropped = pin!(write(&disk, 0, 1, 1, PLAIN));
        poll_for_long(&mut dropped);
    }
    disk.release();
    assert_eq!((disk.in_flight(), disk.live().byte(0)), (1, 0));
    disk.settle().await.unwrap();
    assert_eq!((disk.in_flight(), disk.live().byte(0)), (0, 1));

    // Without a settle it lands when it likes, perhaps over what was written since.
    let mut late = 0;
    for _ in 0..50 {
        disk.hold();
        {
            let mut dropped = pin!(write(&disk, 0, 1, 1, PLAIN));
            poll_for_long(&mut dropped);
        }
        disk.release();
        write(&disk, 0, 1, 2, PLAIN).await;
        disk.settle().await.unwrap();
        late += usize::from(disk.live().byte(0) == 1);
    }
    assert!((10..50).contains(&late), "{late}");
}

#[tokio::test]
async fn a_kill_cuts_requests_off_and_makes_nothing_durable() {
    let (mut live, mut cut) = (BTreeMap::new(), BTreeMap::new());
    for seed in 0..300 {
        let disk = PowerCutDisk::new(Content::new(1 << 20), seed);
        write(&disk, 5, 1, 3, PLAIN).await;
        disk.hold();
        {
            let mut dropped = pin!(write(&disk, 0, 2, 1, FUA));
            poll_for_long(&mut dropped);
        }
        disk.kill();
        disk.release();
        assert_eq!(disk.in_flight(), 0);
        let now = disk.live();
        let left = (now.byte(0), now.byte(SECTOR));
        *live.entry(left).or_insert(0) += 1;
        let after = disk.after_cut(disk.points(), &mut Rng::new(seed));
        let found = (after.byte(0), after.byte(SECTOR));
        assert!(found.0 <= left.0 && found.1 <= left.1, "what was cut off came back");
        *cut.entry((after.byte(5 * SECTOR), found == left)).or_insert(0) += 1;
        // Whatever of it is there, the next flush makes durable.
        disk.flush().await.unwrap();
        let after = disk.after_cut(disk.points(), &mut Rng::new(seed));
        assert_eq!((after.byte(0), after.byte(SECTOR)), left);
    }
    assert_eq!(live.len(), 4, "{live:?}");
    assert_eq!(cut.len(), 4, "{cut:?}");
}

#[tokio::test]
async fn the_same_seeds_give_the_same_history() {
    let history = async |seed| {
        let disk = PowerCutDisk::new(Content::new(1 << 20), seed);
        let writes = (0..20).map(|n| write(&disk, n, 1, 1, PLAIN));
        let mut writes: Vec<_> = writes.map(Box::pin).collect();
        let mut context = Context::from_waker(Waker::noop());
        while !writes.is_empty() {
            writes.retain_mut(|w| w.as_mut().poll(&mut context).is_pending());
        }
        let mut rng = Rng::new(seed);
        let after = disk.after_cut(disk.points() / 2, &mut rng);
        let bytes: Vec<u8> = (0..20).map(|n| after.byte(n * SECTOR)).collect();
        (disk.trace(), bytes)
    };
    assert_eq!(history(3).await, history(3).await);
    let (trace, _) = history(4).await;
    assert_ne!(history(3).await.0, trace);
    assert!(trace[1].contains("began"), "requests overlap: {trace:?}");
}

#[tokio::test]
async fn a_request_that_no_disk_would_take_is_refused() -> Result<()> {
    let disk = disk();
    for (offset, len) in [(1, 512), (0, 100), (1 << 20, 512), (u64::MAX - 511, 512)] {
        let refused = disk.write(offset, vec![0; len].into(), PLAIN).await;
        assert!(refused.is_err(), "{offset} {len}");
        let buffer = IoBufMut::zeroed(len).into();
        assert!(disk.read(offset, buffer).await.is_err(), "{offset} {len}");
        assert!(disk.discard(offset, len as u64).await.is_err());
    }
    assert_eq!(disk.points(), 0);
    disk.read((1 << 20) - 512, IoBufMut::zeroed(512).into()).await?;
    Ok(())
}
