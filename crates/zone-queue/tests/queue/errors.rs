//! Exactly those fail whose data did not land.

use crate::fake::{Fake, Outcome};
use crate::*;
use block_core::ErrorKind;

/// A first write in flight, and these appends behind it, which go out together.
async fn batch_of(queues: &Queues, fills: std::ops::Range<u8>) -> (Reply, Vec<Reply>) {
    let first = occupy(queues, 0).await;
    let mut waiting: Vec<Reply> = fills.map(|fill| append(queues, 0, fill)).collect();
    begin_all(&mut waiting).await;
    (first, waiting)
}

/// The first byte of each block on the medium.
fn blocks(queues: &Queues) -> Vec<u8> {
    queues.target().data(0).chunks(4096).map(|block| block[0]).collect()
}

#[tokio::test]
async fn a_mismatch_names_where_the_zone_will_stand() {
    let queues = queues(1);
    let (first, mut waiting) = batch_of(&queues, 1..3).await;
    waiting.push(write(&queues, 7 * BLOCK, 3));
    waiting.push(write(&queues, 3 * BLOCK, 4));
    begin_all(&mut waiting[2..]).await;
    queues.target().release();
    soon(first).await.unwrap();
    let results = all(waiting).await;
    let error = results[2].as_ref().unwrap_err();
    let ErrorKind::WritePointerMismatch { expected, given, .. } = *error.kind() else {
        panic!("{error}")
    };
    assert_eq!((expected, given), (3 * BLOCK, 7 * BLOCK));
    assert_eq!(*results[3].as_ref().unwrap(), 3 * BLOCK);
    assert_eq!(queues.target().batch_lens(), [BLOCK, 3 * BLOCK]);
}

#[tokio::test]
async fn those_that_fit_succeed_when_the_zone_gets_full_in_a_batch() {
    let fake = Fake::new(1, 4 * BLOCK);
    let queues = queues_of(&fake, QueueLimits::default());
    let (first, mut waiting) = batch_of(&queues, 1..3).await;
    waiting.push(submit(&queues, 0, None, data(9, 2 * BLOCK)));
    waiting.extend([append(&queues, 0, 3), append(&queues, 0, 4)]);
    begin_all(&mut waiting[2..]).await;
    fake.release();
    soon(first).await.unwrap();
    let results = all(waiting).await;
    let names: Vec<&str> = results.iter().map(name).collect();
    assert_eq!(names, ["ok", "ok", "zone-full", "ok", "zone-full"]);
    let ErrorKind::ZoneFull { needed, remaining, .. } = *results[2].as_ref().unwrap_err().kind()
    else {
        panic!()
    };
    assert_eq!((needed, remaining), (2 * BLOCK, BLOCK));
    assert_eq!(blocks(&queues), [0xaa, 1, 2, 3]);
    assert_eq!(fake.batch_lens(), [BLOCK, 3 * BLOCK]);
}

#[tokio::test]
async fn a_failed_merged_write_is_tried_again_singly_and_one_fails() {
    let queues = queues(1);
    let (first, waiting) = batch_of(&queues, 1..5).await;
    queues.target().script([Outcome::Fails(0), Outcome::Lands, Outcome::Fails(0)]);
    queues.target().release();
    soon(first).await.unwrap();
    let results = all(waiting).await;
    assert_eq!(results.iter().map(name).collect::<Vec<_>>(), ["ok", "io", "ok", "ok"]);
    let positions: Vec<u64> = results.into_iter().flatten().collect();
    assert_eq!(positions, [BLOCK, 2 * BLOCK, 3 * BLOCK]);
    assert_eq!(blocks(&queues), [0xaa, 1, 3, 4]);
    assert_eq!((queues.stats().singly(), queues.stats().bytes()), (4, 4 * BLOCK));
    queues.target().check();
}

#[tokio::test]
async fn what_landed_of_a_failed_write_succeeds() {
    let queues = queues(1);
    let (first, waiting) = batch_of(&queues, 1..6).await;
    // Two requests land, and half of the third.
    queues.target().script([Outcome::Fails(2 * BLOCK + BLOCK / 2)]);
    queues.target().release();
    soon(first).await.unwrap();
    let results = all(waiting).await;
    assert_eq!(results.iter().map(name).collect::<Vec<_>>(), ["ok", "ok", "io", "ok", "ok"]);
    let positions: Vec<u64> = results.into_iter().flatten().collect();
    let behind = 3 * BLOCK + BLOCK / 2;
    assert_eq!(positions, [BLOCK, 2 * BLOCK, behind, behind + BLOCK]);
    assert_eq!(queues.stats().singly(), 2);
    assert_eq!(queues.stats().bytes(), 5 * BLOCK + BLOCK / 2);
    queues.target().check();
}

#[tokio::test]
async fn a_plain_write_behind_one_that_failed_is_refused() {
    let queues = queues(1);
    let first = occupy(&queues, 0).await;
    let mut waiting = vec![write(&queues, BLOCK, 1), write(&queues, 2 * BLOCK, 2)];
    begin_all(&mut waiting).await;
    queues.target().script([Outcome::Fails(0), Outcome::Fails(0)]);
    queues.target().release();
    soon(first).await.unwrap();
    let results = all(waiting).await;
    assert_eq!(results.iter().map(name).collect::<Vec<_>>(), ["io", "write-pointer-mismatch"]);
    assert_eq!(blocks(&queues), [0xaa]);
}

#[tokio::test]
async fn a_write_alone_fails_once_and_the_zone_goes_on() {
    let queues = queues(1);
    queues.target().script([Outcome::Fails(0), Outcome::Fails(BLOCK), Outcome::Fails(100)]);
    assert_eq!(name(&append(&queues, 0, 1).await), "io");
    assert_eq!(append(&queues, 0, 2).await.unwrap(), 0, "it landed, whatever the device says");
    assert_eq!(name(&append(&queues, 0, 3).await), "io");
    assert_eq!(append(&queues, 0, 4).await.unwrap(), BLOCK + 100);
    assert_eq!((queues.target().batches().len(), queues.stats().singly()), (4, 0));
}

#[tokio::test]
async fn a_pointer_that_somebody_moved_delays_appends_and_refuses_writes() {
    let queues = queues(1);
    let (first, mut waiting) = batch_of(&queues, 1..3).await;
    waiting.push(write(&queues, 3 * BLOCK, 3));
    begin(&mut waiting[2]).await;
    queues.target().decide(0, Outcome::Lands);
    soon(first).await.unwrap();
    soon(queues.target().pending(1)).await;
    queues.target().intrude(0, 100);
    queues.target().release();
    let results = all(waiting).await;
    let names: Vec<&str> = results.iter().map(name).collect();
    assert_eq!(names, ["ok", "ok", "write-pointer-mismatch"]);
    let positions: Vec<u64> = results.into_iter().flatten().collect();
    assert_eq!(positions, [BLOCK + 100, 2 * BLOCK + 100]);
    queues.target().intrude(0, 28);
    assert_eq!(append(&queues, 0, 4).await.unwrap(), 3 * BLOCK + 128, "alone, too");
    queues.target().intrude(0, 1);
    let late = write(&queues, 4 * BLOCK + 128, 5).await;
    assert_eq!(name(&late), "write-pointer-mismatch");
    queues.target().check();
}

#[tokio::test]
async fn an_append_gives_up_when_the_pointer_never_stands_still() {
    let queues = queues(1);
    queues.target().hold();
    let mut reply = append(&queues, 0, 1);
    begin(&mut reply).await;
    let mut writes = 0;
    while writes < 100 {
        tokio::select! {
            biased;
            result = &mut reply => {
                assert_eq!(name(&result), "io");
                break;
            }
            () = queues.target().pending(1) => {
                queues.target().intrude(0, 1);
                queues.target().decide(0, Outcome::Lands);
                writes += 1;
            }
        }
    }
    assert!((3..30).contains(&writes), "{writes} tries");
}

#[tokio::test]
async fn a_pointer_that_cannot_be_found_is_recovered_before_the_next_write() {
    let queues = queues(1);
    let (first, waiting) = batch_of(&queues, 1..4).await;
    queues.target().script([Outcome::Unknown]);
    queues.target().release();
    soon(first).await.unwrap();
    let results = all(waiting).await;
    assert_eq!(results.iter().map(name).collect::<Vec<_>>(), ["io", "io", "io"]);
    assert_eq!(queues.target().state().recovered, [0_u64; 0]);
    assert_eq!(append(&queues, 0, 4).await.unwrap(), BLOCK);
    assert_eq!(append(&queues, 0, 5).await.unwrap(), 2 * BLOCK);
    assert_eq!(queues.target().state().recovered, [0], "once");
}

#[tokio::test]
async fn a_recovery_that_fails_is_tried_again() {
    let queues = queues(1);
    queues.target().state().failing_recoveries = 2;
    queues.target().script([Outcome::Unknown]);
    assert_eq!(name(&append(&queues, 0, 1).await), "io");
    assert_eq!(name(&append(&queues, 0, 2).await), "io", "the first recovery fails");
    assert!(queues.exclusive(0).await.is_err(), "the second, too");
    let zone = soon(queues.exclusive(0)).await.unwrap();
    assert_eq!((zone.zone(), queues.target().state().recovered.len()), (0, 1));
    zone.finished();
    assert_eq!(append(&queues, 0, 3).await.unwrap(), 0);
    assert_eq!(queues.target().state().recovered.len(), 1);
}

#[tokio::test]
async fn in_the_middle_of_single_tries_a_lost_pointer_is_recovered() {
    let queues = queues(1);
    let (first, waiting) = batch_of(&queues, 1..4).await;
    queues.target().script([Outcome::Fails(0), Outcome::Unknown]);
    queues.target().release();
    soon(first).await.unwrap();
    let results = all(waiting).await;
    assert_eq!(results.iter().map(name).collect::<Vec<_>>(), ["io", "ok", "ok"]);
    assert_eq!(queues.target().state().recovered, [0]);
    assert_eq!(blocks(&queues), [0xaa, 2, 3]);
    assert_eq!(append(&queues, 0, 4).await.unwrap(), 3 * BLOCK);
}
