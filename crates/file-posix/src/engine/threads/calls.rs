//! Each request as plain system calls, which block.

use super::super::job::{AllocateJob, Durable, SyncJob};
use super::super::transfer::{Reading, Writing};
use super::work::First;
use crate::ahead::Ahead;
use crate::durability::Turn;
use crate::error::is_unsupported;
use crate::open_file::OpenFile;
use crate::sys::{self, Allocate};
use block_core::{Error, Result};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Reads what is left to read.
pub(super) fn read(file: &OpenFile, reading: &mut Reading) -> Result<()> {
    while let Some(call) = reading.next_call() {
        let result = sys::preadv(file.fd(), call.target, call.at, call.offset);
        reading.completed(file.transferred(result))?;
    }
    Ok(())
}

/// Writes what is left to write, and says whether all of it is durable already.
pub(super) fn write(file: &OpenFile, writing: &mut Writing, durable: bool) -> Result<Durable> {
    let start = writing.position();
    let result = make_writes(file, writing, durable);
    if writing.position() > start {
        file.changed_up_to(writing.position());
    }
    result
}

fn make_writes(file: &OpenFile, writing: &mut Writing, durable: bool) -> Result<Durable> {
    let mut durable = durable && !file.no_dsync.is_known();
    while let Some(call) = writing.next_call() {
        let plain = || sys::pwritev(file.fd(), call.source, call.at, call.offset);
        let result = if durable {
            match sys::pwritev_dsync(file.fd(), call.source, call.at, call.offset) {
                Err(e) if is_unsupported(&e) => {
                    file.no_dsync.learn();
                    durable = false;
                    plain()
                }
                Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                    let again = plain();
                    if let Ok(n) = &again {
                        let n = u64::try_from(*n).unwrap_or(0);
                        file.changed_up_to(call.offset.saturating_add(n));
                    }
                    return Err(blame(file, e, again));
                }
                result => result,
            }
        } else {
            plain()
        };
        writing.completed(file.transferred(result))?;
    }
    Ok(Durable(durable))
}

/// Tells a durable write that could not be written from one that could not be made durable: the
/// kernel reports both alike, but only the latter says that other data may be lost too. The same
/// write without durability, made right after, fails in the first case and succeeds in the second.
fn blame(file: &OpenFile, error: io::Error, plain_retry: io::Result<usize>) -> Error {
    match plain_retry {
        Ok(_) => file.durability.fail(error),
        Err(_) => error.into(),
    }
}

pub(in super::super) fn sync(job: SyncJob) -> Result<()> {
    let guard = job.guard;
    let result = sync_file(job.file, job.turn);
    drop(guard);
    result
}

fn sync_file(file: Arc<OpenFile>, turn: Turn) -> Result<()> {
    let result = sys::fdatasync(file.fd());
    file.durability.end(turn, result)
}

pub(in super::super) fn allocate(job: AllocateJob) -> Result<bool> {
    let guard = job.guard;
    let result = allocate_range(job.file, job.what, job.offset, job.len);
    drop(guard);
    result
}

/// Does what makes the next writes easier. If it fails, the writes themselves will say why.
pub(super) fn prepare(file: &OpenFile, first: &First) {
    match *first {
        First::FindSpace(Range { start, end }) if start < end => {
            let len = end.saturating_sub(start);
            if !sys::free_space(file.fd()).is_ok_and(|free| Ahead::can_spare(free, len)) {
                file.ahead.forget(start..end);
            } else if sys::reserve(file.fd(), start, len).is_err() {
                // Not supported, or beyond a quota: it would be so again.
                file.ahead.no_space.learn();
            }
        }
        First::Uncache(Range { start, end }) => {
            let _ = sys::uncache(file.fd(), start, end.saturating_sub(start));
        }
        First::FindSpace(_) | First::Nothing => {}
    }
}

fn allocate_range(file: Arc<OpenFile>, what: Allocate, offset: u64, len: u64) -> Result<bool> {
    let done = sys::fallocate(file.fd(), what, offset, len);
    if what == Allocate::PunchHole {
        file.ahead.forget(offset..offset.saturating_add(len));
    }
    match done {
        Ok(()) => {
            file.changed_up_to(match what {
                Allocate::PunchHole => 0,
                Allocate::ZeroRange => offset.saturating_add(len),
            });
            Ok(true)
        }
        Err(error) if is_unsupported(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alignment::Alignment;
    use block_core::{BufferPool, IoVec};

    #[test]
    fn only_a_write_that_was_not_made_durable_spoils_later_flushes() {
        let fd = tempfile::tempfile().unwrap().into();
        let file = OpenFile::new(fd, false, Alignment::ANY, 0, BufferPool::default());
        let full = || io::Error::from_raw_os_error(28);
        let not_written = blame(&file, full(), Err(full()));
        assert_eq!(not_written.kind().name(), "no-space");
        file.durability.check().unwrap();
        let not_durable = blame(&file, full(), Ok(512));
        assert_eq!(not_durable.kind().name(), "no-space");
        file.durability.check().unwrap_err();
    }

    #[test]
    fn durable_writes_are_told_from_plain_ones() {
        let fd = tempfile::tempfile().unwrap().into();
        let file = OpenFile::new(fd, false, Alignment::ANY, 0, BufferPool::default());
        let data = || IoVec::from(vec![1; 100]);
        let write = |durable| {
            let mut writing = Writing::new(&file.pool, file.alignment, 0, data());
            write(&file, &mut writing, durable).unwrap()
        };
        assert_eq!(write(true), Durable(true));
        assert_eq!(write(false), Durable(false));
        file.no_dsync.learn();
        assert_eq!(write(true), Durable(false));
    }
}
