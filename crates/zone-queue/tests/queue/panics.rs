//! A driver with a bug: callers hear of it, and the zone goes on.

use crate::fake::Outcome;
use crate::*;
use std::sync::atomic::{AtomicU32, Ordering};
use zone_queue::{Aftermath, ZoneTarget};

#[tokio::test]
async fn a_panic_in_a_write_is_an_error_for_its_callers_and_those_in_line() {
    let queues = queues(1);
    let first = occupy(&queues, 0).await;
    let mut second = append(&queues, 0, 1);
    begin(&mut second).await;
    queues.target().decide(0, Outcome::Panics);
    let told = soon(first).await.unwrap_err().to_string();
    assert!(told.contains("unknown"), "{told}");
    let told = soon(second).await.unwrap_err().to_string();
    assert!(told.contains("nothing of it was written"), "{told}");
    queues.target().release();
    assert_eq!(soon(append(&queues, 0, 2)).await.unwrap(), 0);
    assert_eq!(queues.target().state().recovered, [0]);
    soon(queues.settle()).await;
}

#[tokio::test]
async fn management_gets_its_turn_after_a_panic() {
    let queues = queues(1);
    let first = occupy(&queues, 0).await;
    let mut turn = Box::pin(queues.exclusive(0));
    begin(&mut turn).await;
    queues.target().decide(0, Outcome::Panics);
    assert!(soon(first).await.is_err());
    soon(turn).await.unwrap().finished();
    assert_eq!(queues.target().state().recovered, [0]);
}

/// Panics in the method of this number, the first time that it is called.
struct Buggy {
    at: u32,
    calls: [AtomicU32; 5],
}

impl Buggy {
    fn call(&self, method: u32) {
        let before = self.calls[method as usize].fetch_add(1, Ordering::SeqCst);
        assert!(before > 0 || method != self.at, "a bug of the driver, made on purpose");
    }
}

impl ZoneTarget for Buggy {
    fn admit(&self, _: u64, _: Option<u64>, _: u64, ahead: u64) -> Result<u64> {
        self.call(0);
        Ok(ahead)
    }

    async fn write(&self, _: u64, _: u64, _: Payload) -> Result<()> {
        self.call(1);
        tokio::task::yield_now().await;
        let fails = self.calls[1].load(Ordering::SeqCst) == 1;
        if fails { Err(std::io::Error::other("made on purpose").into()) } else { Ok(()) }
    }

    fn landed(&self, _: u64, _: u64, _: u64) {
        self.call(2);
    }

    async fn after_error(
        &self,
        _: u64,
        _: u64,
        _: u64,
        _: &block_core::Error,
    ) -> Result<Aftermath> {
        self.call(3);
        Ok(Aftermath::default())
    }

    async fn recover(&self, _: u64) -> Result<()> {
        self.call(4);
        Ok(())
    }
}

#[tokio::test]
async fn a_panic_in_any_method_leaves_no_zone_stuck() {
    for at in 0..5 {
        let calls = [0; 5].map(AtomicU32::new);
        let queues = Sequencer::new(Arc::new(Buggy { at, calls }), 1, QueueLimits::default());
        drop(soon(queues.exclusive(0)).await.unwrap());
        let mut errors = 0;
        for _ in 0..6 {
            errors += u32::from(soon(queues.submit(0, None, data(1, 512))).await.is_err());
        }
        assert!((1..=2).contains(&errors), "method {at}: {errors} errors");
        soon(queues.exclusive(0)).await.unwrap().finished();
        soon(queues.settle()).await;
    }
}
