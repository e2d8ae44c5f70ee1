//! Two processes that append to one zone at the same time.

use crate::child::{appended, go, ready, start_appender};
use crate::harness::Suite;
use crate::subject::{
    DIRECT, Device, Subject, open_soon, options, pattern, read, sequential, unit,
};

const RECORDS: u64 = 80;

/// Runs two appenders, whose first records are those of `seeds`; what landed, in order of its
/// position, and the errors that the appenders met.
async fn both(subject: &Subject, how: &'static str, seeds: [u64; 2]) -> (Vec<(u64, u64)>, usize) {
    let node = subject.open_unlocked().await;
    let (unit, z) = (unit(&node), sequential(&node).await[0]);
    node.close().await.unwrap();
    drop(node);
    let path = subject.path.clone();
    let results = tokio::task::spawn_blocking(move || {
        let mut children = seeds.map(|seed| start_appender(&path, how, z.start, seed, RECORDS));
        children.iter_mut().for_each(ready);
        children.iter_mut().for_each(go);
        children.map(appended)
    })
    .await
    .unwrap();
    let mut all = Vec::new();
    let mut errors = 0;
    for result in results {
        assert_eq!(result.landed.len() as u64, RECORDS, "each record landed: {result:?}");
        for error in &result.errors {
            // The zone is not full and nothing failed: only the other one can be in the way.
            let kind = error.split(':').next().unwrap();
            assert_eq!(kind, "io", "no clear error: {error}");
        }
        errors += result.errors.len();
        all.extend(result.landed);
    }
    all.sort_unstable();
    let node = open_soon(options(&subject.path), DIRECT).await.unwrap();
    for (i, (at, seed)) in (0..).zip(&all) {
        assert_eq!(*at, z.start + i * unit, "record {seed}: side by side, each in its own place");
        assert_eq!(read(&node, *at, unit).await, pattern(*seed, unit), "record {seed} at {at:#x}");
    }
    let now = crate::subject::zone(&node, z.start).await;
    assert_eq!(now.write_pointer, Some(z.start + 2 * RECORDS * unit), "and nothing else");
    (all, errors)
}

/// How often a record of the one follows one of the other.
fn turns(all: &[(u64, u64)]) -> usize {
    all.windows(2).filter(|pair| pair[0].1 / 1000 != pair[1].1 / 1000).count()
}

pub async fn run(device: &Device, suite: &mut Suite<'_>) {
    let subject = device.fresh();
    suite
        .case("emulated_appends_of_two_processes", async move {
            let (all, errors) = both(&subject, "emulated", [1000, 2000]).await;
            let turns = turns(&all);
            assert!(turns > 1, "they took turns");
            println!("two processes: {turns} turns, {errors} errors, nothing lost");
        })
        .await;

    let subject = device.fresh();
    suite
        .case("the_same_records_of_two_processes_are_all_there", async move {
            // Whoever finds his own bytes where he wanted to write must not take them for his.
            both(&subject, "emulated", [1000, 1000]).await;
        })
        .await;

    if device.kind.is_nvme() {
        for how in ["native", "auto"] {
            let subject = device.fresh();
            suite
                .case(&format!("{how}_appends_of_two_processes"), async move {
                    let (all, errors) = both(&subject, how, [1000, 2000]).await;
                    assert!(turns(&all) > 1, "they took turns");
                    assert_eq!(errors, 0, "the device gives each its place");
                })
                .await;
        }
    } else {
        suite.skip("native_appends_of_two_processes", "append=native is for NVMe");
    }
}
