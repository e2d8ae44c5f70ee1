//! One zone with ten thousand requests, and others with one at a time.

use crate::stack::{BLOCK, Stack, ZONES};
use crate::{MANY, append, begin, end};
use block_backend::BlockBackend;
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_zone_that_is_stuck_holds_up_no_other() {
    let stack = Stack::open(BlockBackend::builder()).await;
    stack.stop_one();
    let stuck = begin((0..MANY).map(|_| append(&stack.disk, 1)));
    assert_eq!(stuck.len(), MANY as usize);
    for zone in 2..ZONES {
        for n in 0..10 {
            let place = timeout(PATIENCE, append(&stack.disk, zone)).await.unwrap().unwrap();
            assert_eq!(place, Some(zone * crate::stack::ZONE + n * BLOCK));
        }
    }
    assert_eq!(stack.pointer(1).await, 0);
    stack.go_on();
    end(stuck).await;
    assert_eq!(stack.pointer(1).await, MANY * BLOCK);
}

#[tokio::test]
async fn behind_a_limit_zones_take_turns() {
    let stack = Stack::open(BlockBackend::builder().max_in_flight(8)).await;
    stack.slow(Duration::from_millis(1));
    let crowd = begin((0..MANY).map(|_| append(&stack.disk, 1)));
    for round in 0..3 {
        for zone in 2..10 {
            timeout(PATIENCE, append(&stack.disk, zone)).await.unwrap().unwrap();
        }
        let crowded = stack.pointer(1).await / BLOCK;
        println!("the crowd made {crowded} of {MANY} while others made {}", (round + 1) * 8);
        assert!(crowded > 0, "nor do the others hold up the crowd");
        // In the order in which they came, the crowd would be through before the first of the others.
        assert!(crowded < MANY / 2, "{crowded} overtook 24 requests of the others");
    }
    stack.go_on_fast();
    end(crowd).await;
    assert_eq!(stack.pointer(1).await, MANY * BLOCK);
}
