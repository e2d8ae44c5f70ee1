//! Which writes an earlier server may have made already.
//!
//! The kernel gives the requests that a dead server had taken to the next one, among new ones, in no
//! known order and under other tags. One that had landed in a sequential zone begins below where the
//! zone's write pointer stood when the device was taken over; a new one never does, unless whoever
//! sent it is wrong. So these are known, whenever they come, and there are no more of them than the
//! queues hold.

use block_core::{IoVec, Result, ZoneCondition};
use block_export::{Export, Request};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;

/// Writes that may have been made, of one device.
#[derive(Debug)]
pub(crate) struct Doubts {
    /// How many writes may yet be found to have been made.
    left: AtomicU32,
    /// Looked up before the first write: up to where zones were written when they were taken over,
    /// by the start of the zone. Zones that were reset since are not among them.
    written: OnceCell<Mutex<HashMap<u64, u64>>>,
}

impl Doubts {
    /// Of a device that was taken over and whose queues hold so many requests together; 0 for one
    /// that is new.
    pub(crate) fn of(requests: u32) -> Self {
        Self { left: AtomicU32::new(requests), written: OnceCell::new() }
    }

    /// To be awaited before anything is done that moves a write pointer.
    ///
    /// # Errors
    /// Those of a report of zones.
    pub(crate) async fn look(&self, export: &Export) -> Result<()> {
        if self.left.load(Ordering::Relaxed) > 0 {
            self.written.get_or_try_init(|| written(export)).await?;
        }
        Ok(())
    }

    /// Makes a write, or what is left of it if it was made already. After [`look`](Self::look).
    ///
    /// # Errors
    /// Those of [`Export::write_again`].
    pub(crate) async fn write(
        &self,
        export: &Export,
        offset: u64,
        data: IoVec,
        fua: bool,
    ) -> Result<()> {
        if self.may_be_made(export, offset) {
            export.write_again(offset, data, fua).await?;
            self.resolved();
        } else {
            export.serve(Request::Write { offset, data, fua }).await?;
        }
        Ok(())
    }

    /// Whether a write that begins here may have been made.
    fn may_be_made(&self, export: &Export, offset: u64) -> bool {
        if self.left.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let zone_size = export.characteristics().zoned.as_ref().map_or(0, |zoned| zoned.zone_size);
        let start = offset.checked_rem(zone_size).and_then(|rest| offset.checked_sub(rest));
        let end = start.zip(self.written.get());
        end.and_then(|(start, written)| lock(written).get(&start).copied())
            .is_some_and(|end| offset < end)
    }

    /// One of them is made.
    fn resolved(&self) {
        // None are left, if this fails.
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    }

    /// The zones that start in this range were reset.
    pub(crate) fn forget(&self, zones: &Range<u64>) {
        if let Some(written) = self.written.get() {
            lock(written).retain(|start, _| !zones.contains(start));
        }
    }
}

/// Where zones start that a request resets.
pub(crate) fn reset_by(request: &Request) -> Range<u64> {
    match request {
        Request::Reset { offset } => *offset..offset.saturating_add(1),
        Request::ResetAll => 0..u64::MAX,
        _ => 0..0,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn written(export: &Export) -> Result<Mutex<HashMap<u64, u64>>> {
    let Some(zoned) = &export.characteristics().zoned else { return Ok(Mutex::default()) };
    let zones = usize::try_from(zoned.nr_zones).unwrap_or(usize::MAX);
    let zones = export.backend().report_zones(0, zones).await?;
    let each = zones.into_iter().filter_map(|zone| {
        let end = match zone.condition {
            ZoneCondition::Full => Some(zone.writable_end()),
            _ => zone.write_pointer,
        };
        end.filter(|end| *end > zone.start).map(|end| (zone.start, end))
    });
    Ok(Mutex::new(each.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use block_backend::BlockBackend;
    use block_backend::image::{CreateOptions, GeometryConfig, create_zoned};
    use block_core::IoVecMut;
    use block_export::Identity;
    use tempfile::TempDir;

    const ZONE: u64 = 1 << 20;

    /// Zone 1 is written up to 4096, zone 2 is full.
    async fn taken_over() -> (Export, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d.zbd");
        let geometry =
            GeometryConfig { size: 4 * ZONE, zone_size: ZONE, ..GeometryConfig::default() };
        create_zoned(&path, &CreateOptions::new(geometry), false).await.unwrap();
        let disk = BlockBackend::open(path.to_str().unwrap()).await.unwrap();
        let export = Export::new(disk, Identity::default()).await.unwrap();
        write(&export, ZONE, 4096).await;
        write(&export, 2 * ZONE, usize::try_from(ZONE).unwrap()).await;
        (export, dir)
    }

    async fn write(export: &Export, offset: u64, len: usize) {
        let data = vec![1; len].into();
        export.serve(Request::Write { offset, data, fua: false }).await.unwrap();
    }

    fn doubtful(doubts: &Doubts, export: &Export) -> Vec<u64> {
        let all = [0, ZONE, ZONE + 512, ZONE + 4096, 2 * ZONE, 3 * ZONE - 512, 3 * ZONE, 9 * ZONE];
        all.into_iter().filter(|offset| doubts.may_be_made(export, *offset)).collect()
    }

    #[tokio::test]
    async fn only_what_begins_below_a_write_pointer_that_was_found_is_in_doubt() {
        let (export, _dir) = taken_over().await;
        let doubts = Doubts::of(8);
        doubts.look(&export).await.unwrap();
        let all = [ZONE, ZONE + 512, 2 * ZONE, 3 * ZONE - 512];
        assert_eq!(doubtful(&doubts, &export), all);
        // However much was written since, and wherever.
        for block in 1..100 {
            write(&export, ZONE + block * 4096, 4096).await;
        }
        write(&export, 3 * ZONE, 4096).await;
        doubts.look(&export).await.unwrap();
        assert_eq!(doubtful(&doubts, &export), all);
    }

    #[tokio::test]
    async fn no_more_are_in_doubt_than_the_queues_held() {
        let (export, _dir) = taken_over().await;
        let doubts = Doubts::of(2);
        doubts.look(&export).await.unwrap();
        for _ in 0..2 {
            assert!(doubts.may_be_made(&export, ZONE));
            doubts.resolved();
        }
        assert!(doubtful(&doubts, &export).is_empty());
        doubts.resolved();
        assert!(doubtful(&doubts, &export).is_empty());
    }

    #[tokio::test]
    async fn nothing_of_a_new_device_is_in_doubt() {
        let (export, _dir) = taken_over().await;
        let doubts = Doubts::of(0);
        doubts.look(&export).await.unwrap();
        assert!(doubtful(&doubts, &export).is_empty());
    }

    #[tokio::test]
    async fn what_is_written_after_a_reset_is_not_in_doubt() {
        let (export, _dir) = taken_over().await;
        let doubts = Doubts::of(8);
        doubts.look(&export).await.unwrap();
        doubts.forget(&reset_by(&Request::Finish { offset: ZONE }));
        doubts.forget(&reset_by(&Request::Reset { offset: ZONE }));
        assert_eq!(doubtful(&doubts, &export), [2 * ZONE, 3 * ZONE - 512]);
        doubts.forget(&reset_by(&Request::ResetAll));
        assert!(doubtful(&doubts, &export).is_empty());
    }

    /// The kernel sends 4096 bytes after a take-over.
    async fn sent(doubts: &Doubts, export: &Export, offset: u64, data: Vec<u8>) -> Result<()> {
        doubts.look(export).await?;
        doubts.write(export, offset, data.into(), false).await
    }

    /// How far zone 1 is written, and with what.
    async fn found(export: &Export) -> (u64, Vec<u8>) {
        let zone = export.backend().report_zones(ZONE, 1).await.unwrap().remove(0);
        let len = zone.write_pointer.unwrap() - ZONE;
        let into = IoVecMut::from(export.backend().buffer(usize::try_from(len).unwrap()));
        (len, export.backend().read_vectored(ZONE, into).await.unwrap().to_vec())
    }

    #[tokio::test]
    async fn a_write_that_was_made_is_answered_and_not_made_again() {
        let (export, _dir) = taken_over().await;
        let doubts = Doubts::of(8);
        sent(&doubts, &export, ZONE, vec![1; 4096]).await.unwrap();
        assert_eq!(found(&export).await, (4096, vec![1; 4096]));
        // One of which only the front had landed is made to its end.
        let mut longer = vec![1; 4096];
        longer.extend([2; 4096]);
        sent(&doubts, &export, ZONE, longer.clone()).await.unwrap();
        assert_eq!(found(&export).await, (8192, longer.clone()));
        // One that had not begun is made.
        sent(&doubts, &export, ZONE + 8192, vec![3; 4096]).await.unwrap();
        longer.extend([3; 4096]);
        assert_eq!(found(&export).await, (12_288, longer));
    }

    #[tokio::test]
    async fn a_write_of_other_data_is_refused_and_leaves_the_doubts_to_others() {
        let (export, _dir) = taken_over().await;
        let doubts = Doubts::of(1);
        for _ in 0..3 {
            let refused = sent(&doubts, &export, ZONE, vec![9; 4096]).await.unwrap_err();
            assert_eq!(refused.kind().name(), "write-pointer-mismatch", "{refused}");
        }
        assert_eq!(found(&export).await, (4096, vec![1; 4096]));
        sent(&doubts, &export, ZONE, vec![1; 4096]).await.unwrap();
        // That was all that the queues can have held: whoever repeats a write now is wrong.
        let refused = sent(&doubts, &export, ZONE, vec![1; 4096]).await.unwrap_err();
        assert_eq!(refused.kind().name(), "write-pointer-mismatch", "{refused}");
    }

    #[tokio::test]
    async fn what_is_repeated_in_a_zone_that_is_not_in_doubt_is_refused() {
        let (export, _dir) = taken_over().await;
        let doubts = Doubts::of(8);
        sent(&doubts, &export, 0, vec![4; 4096]).await.unwrap();
        let refused = sent(&doubts, &export, 0, vec![4; 4096]).await.unwrap_err();
        assert_eq!(refused.kind().name(), "write-pointer-mismatch", "{refused}");
        // Nor is one of a new device.
        let refused = sent(&Doubts::of(0), &export, ZONE, vec![1; 4096]).await.unwrap_err();
        assert_eq!(refused.kind().name(), "write-pointer-mismatch", "{refused}");
    }

    #[tokio::test]
    async fn a_regular_disk_is_never_in_doubt() {
        let disk = BlockBackend::open("driver=null,size=1M").await.unwrap();
        let export = Export::new(disk, Identity::default()).await.unwrap();
        let doubts = Doubts::of(8);
        doubts.look(&export).await.unwrap();
        assert!(!doubts.may_be_made(&export, 0));
    }
}
