//! Space ahead of direct writes that fill holes of a file one after another.
//!
//! A write into a hole makes the file system look for space, in a transaction of its own and with
//! the file locked, which takes many times what a small write takes. Who fills a hole from its start
//! to its end, as writes to a zone do, is therefore given more space than the write needs, and twice
//! as much each time: what is filled at random gets none, and no more is given in advance than about
//! as much as was written so.
//!
//! The kernel says which writes need space: they are asked for with `RWF_NOWAIT` and refused.

use crate::open_file::Missing;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// The second write in a row gets this much ahead of it, in bytes.
const FIRST: u64 = 64 << 10;
/// No write gets more than this.
const MOST: u64 = 16 << 20;
/// So many rows of writes are followed, the most recent ones.
const MAX_ROWS: usize = 64;
/// After so many refusals without a write in between that was taken, to ask is of no use: some file
/// systems refuse all writes of a kind, such as those to space that was never written.
const MAX_REFUSALS: u32 = 1024;
/// A file system must have this many times the space that is taken in advance, so that nobody else
/// lacks it.
const PLENTY: u64 = 64;

/// The rows of writes into a file.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// This file's system can give no space in advance.
    pub no_space: Missing,
    /// This file's system cannot tell which writes need space.
    pub no_telling: Missing,
    /// Refusals in a row.
    refusals: AtomicU32,
    /// The most recent one is last.
    rows: Mutex<Vec<Row>>,
}

/// Writes one after another.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// Where the write began that was given space last.
    start: u64,
    /// Where that space ends.
    end: u64,
    /// How much of it was in advance.
    ahead: u64,
}

impl Ahead {
    /// Takes note of a write that the kernel would have to wait for. Whether it is any use to do
    /// something about it.
    pub(crate) fn refused(&self) -> bool {
        let before = self.refusals.fetch_add(1, Ordering::Relaxed);
        let is_any_use = before < MAX_REFUSALS;
        if !is_any_use {
            self.no_telling.learn();
        }
        is_any_use
    }

    /// Takes note of a write that the kernel took.
    pub(crate) fn taken(&self) {
        if self.refusals.load(Ordering::Relaxed) > 0 {
            self.refusals.store(0, Ordering::Relaxed);
        }
    }

    /// Whether a file system with so many free bytes can spare some in advance.
    pub(crate) fn can_spare(free: u64, len: u64) -> bool {
        free.checked_div(PLENTY).is_some_and(|part| part >= len)
    }

    /// Takes note of a write for which there is no space, in a file of this size: where to find
    /// space before it is made, if it is one of a row.
    pub(crate) fn due(&self, write: Range<u64>, size: u64) -> Option<Range<u64>> {
        if self.no_space.is_known() || write.end > size {
            return None;
        }
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let is_met = |row: &Row| row.start <= write.start && write.start <= row.end;
        let met = rows.iter().rposition(is_met).map(|place| rows.remove(place));
        if let Some(row) = met.filter(|row| write.end <= row.end) {
            // Another write finds space for it, or something else is in its way.
            rows.push(row);
            return None;
        }
        let ahead = met.map_or(0, |row| row.ahead.saturating_mul(2).clamp(FIRST, MOST));
        let end = write.end.saturating_add(ahead).min(size);
        if rows.len() >= MAX_ROWS {
            rows.remove(0);
        }
        rows.push(Row { start: write.start, end, ahead });
        (end > write.end).then_some(write.start..end)
    }

    /// The space of this range is given back.
    pub(crate) fn forget(&self, range: Range<u64>) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.retain(|row| row.end <= range.start || range.end <= row.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: u64 = 1 << 10;
    const BIG: u64 = 1 << 40;

    fn due(ahead: &Ahead, start: u64, len: u64) -> Option<Range<u64>> {
        ahead.due(start..start + len, BIG)
    }

    /// Writes that come one after another; how often one of them needs space, and where it ends.
    fn fill(ahead: &Ahead, from: u64, writes: u64) -> (u32, u64) {
        let (mut refused, mut end) = (0, from);
        for start in (0..writes).map(|n| from + n * 4 * K) {
            if start >= end {
                refused += 1;
                end = due(ahead, start, 4 * K).map_or(start + 4 * K, |found| found.end);
            }
        }
        (refused, end)
    }

    #[test]
    fn a_row_of_writes_gets_twice_as_much_each_time() {
        let ahead = Ahead::default();
        assert_eq!(due(&ahead, 0, 4 * K), None, "it may be the only one");
        assert_eq!(due(&ahead, 4 * K, 4 * K), Some(4 * K..72 * K));
        assert_eq!(due(&ahead, 72 * K, 4 * K), Some(72 * K..(76 + 128) * K));
        let most = Ahead::default();
        let (refused, end) = fill(&most, 0, 1 << 16);
        assert!(refused < 30, "{refused}");
        assert!(end <= (256 << 20) + MOST, "{end}");
    }

    #[test]
    fn no_more_is_given_in_advance_than_was_written() {
        for writes in [1, 2, 3, 20, 100, 1000, 5000] {
            let (_, end) = fill(&Ahead::default(), 0, writes);
            let written = writes * 4 * K;
            assert!(end - written <= (written + FIRST).min(MOST), "{writes}: {end}");
        }
    }

    #[test]
    fn writes_at_random_get_nothing() {
        let ahead = Ahead::default();
        for n in 0..1000_u64 {
            assert_eq!(due(&ahead, (n * 7919 % 1009) * 1000 * K, 4 * K), None);
        }
        assert!(ahead.rows.lock().unwrap().len() <= MAX_ROWS);
    }

    #[test]
    fn rows_do_not_disturb_each_other() {
        let ahead = Ahead::default();
        let zones = [0, 1 << 30, 2 << 30];
        zones.iter().for_each(|zone| assert_eq!(due(&ahead, *zone, 4 * K), None));
        for zone in zones {
            assert_eq!(due(&ahead, zone + 4 * K, 4 * K), Some(zone + 4 * K..zone + 72 * K));
        }
    }

    #[test]
    fn what_comes_while_space_is_being_found_for_it_waits_for_no_more() {
        let ahead = Ahead::default();
        due(&ahead, 0, 4 * K);
        assert_eq!(due(&ahead, 4 * K, 4 * K), Some(4 * K..72 * K));
        assert_eq!(due(&ahead, 8 * K, 4 * K), None);
        assert_eq!(due(&ahead, 40 * K, 32 * K), None);
        assert_eq!(due(&ahead, 68 * K, 8 * K), Some(68 * K..(76 + 128) * K), "it ends behind it");
    }

    #[test]
    fn nothing_is_found_behind_the_end_of_the_file() {
        let ahead = Ahead::default();
        assert_eq!(ahead.due(0..4 * K, 20 * K), None);
        assert_eq!(ahead.due(4 * K..8 * K, 20 * K), Some(4 * K..20 * K));
        assert_eq!(ahead.due(20 * K..24 * K, 20 * K), None, "it makes the file grow");
    }

    #[test]
    fn space_that_was_given_back_is_found_again() {
        let ahead = Ahead::default();
        due(&ahead, 0, 4 * K);
        due(&ahead, 4 * K, 4 * K);
        ahead.forget(100 * K..200 * K);
        assert_eq!(due(&ahead, 8 * K, 4 * K), None, "another range");
        ahead.forget(0..100 * K);
        assert_eq!(due(&ahead, 4 * K, 4 * K), None);
        assert_eq!(due(&ahead, 8 * K, 4 * K), Some(8 * K..76 * K), "from anew");
    }

    #[test]
    fn who_is_always_refused_asks_no_more() {
        let ahead = Ahead::default();
        for _ in 0..10 {
            assert!((0..MAX_REFUSALS).all(|_| ahead.refused()));
            ahead.taken();
        }
        assert!((0..MAX_REFUSALS).all(|_| ahead.refused()) && !ahead.no_telling.is_known());
        assert!(!ahead.refused());
        assert!(ahead.no_telling.is_known());
    }

    #[test]
    fn space_is_taken_in_advance_only_where_there_is_plenty() {
        assert!(Ahead::can_spare(1 << 30, MOST));
        assert!(!Ahead::can_spare((1 << 30) - 1, MOST));
        assert!(!Ahead::can_spare(0, 4 * K));
    }

    #[test]
    fn a_file_system_that_finds_none_is_not_asked_again() {
        let ahead = Ahead::default();
        due(&ahead, 0, 4 * K);
        ahead.no_space.learn();
        assert_eq!(due(&ahead, 4 * K, 4 * K), None);
    }
}
