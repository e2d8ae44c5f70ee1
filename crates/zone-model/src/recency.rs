//! The implicitly open zones in the order of their last write.

use std::collections::BTreeMap;

/// Remembers implicitly open zones by the stamp of their last write. The caller keeps each zone's
/// stamp, so that a zone is found again in O(log n), n being the number of implicitly open zones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recency {
    order: BTreeMap<u64, u64>,
    next: u64,
}

impl Recency {
    /// Takes the zone in as the most recently written one; gives its stamp.
    pub(crate) fn insert(&mut self, index: u64) -> u64 {
        let stamp = self.next;
        self.next = self.next.wrapping_add(1);
        self.order.insert(stamp, index);
        stamp
    }

    /// Forgets the zone with this stamp.
    pub(crate) fn remove(&mut self, stamp: u64) {
        self.order.remove(&stamp);
    }

    /// The zone with this stamp was written again; gives its new stamp.
    pub(crate) fn renew(&mut self, index: u64, stamp: u64) -> u64 {
        if self.order.last_key_value().is_some_and(|(newest, _)| *newest == stamp) {
            return stamp;
        }
        self.remove(stamp);
        self.insert(index)
    }

    /// The zone whose last write is the longest ago.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.order.first_key_value().map(|(_, index)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_the_one_not_renewed() {
        let mut recency = Recency::default();
        assert_eq!(recency.oldest(), None);
        let a = recency.insert(10);
        let b = recency.insert(20);
        let c = recency.insert(30);
        assert_eq!(recency.oldest(), Some(10));
        let a = recency.renew(10, a);
        assert_eq!(recency.oldest(), Some(20));
        assert_eq!(recency.renew(10, a), a, "the newest stays where it is");
        recency.remove(b);
        assert_eq!(recency.oldest(), Some(30));
        recency.remove(c);
        recency.remove(a);
        assert_eq!(recency.oldest(), None);
    }
}
