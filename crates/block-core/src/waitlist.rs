//! Who waits, in order.
//!
//! Nearly everybody leaves at the front, in order, and that must be cheap. Who goes away from the
//! middle is taken out at once and leaves a gap, which is closed when there are more gaps than
//! others: so none costs more than a few steps, and the memory follows the number of those who wait.

use std::collections::VecDeque;

/// A place in line. Later ones are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

/// So many gaps are not worth closing.
const FEW: usize = 32;

/// A line of those who wait.
#[derive(Debug)]
pub struct Waitlist<T> {
    /// In order of their places. Neither the first nor the last is a gap.
    slots: VecDeque<(Place, Option<T>)>,
    gaps: usize,
    next: u64,
}

impl<T> Default for Waitlist<T> {
    fn default() -> Self {
        Self { slots: VecDeque::new(), gaps: 0, next: 0 }
    }
}

impl<T> Waitlist<T> {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.slots.len().saturating_sub(self.gaps)
    }

    /// Adds somebody at the end.
    pub fn push(&mut self, waiting: T) -> Place {
        let place = Place(self.next);
        self.next = self.next.wrapping_add(1);
        self.slots.push_back((place, Some(waiting)));
        place
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Who waits first.
    pub fn first(&self) -> Option<&T> {
        self.slots.front().and_then(|(_, waiting)| waiting.as_ref())
    }

    /// Takes out who waits first.
    pub fn pop(&mut self) -> Option<T> {
        let (_, waiting) = self.slots.pop_front()?;
        self.trim();
        waiting
    }

    /// Frees the memory of a line in which nobody waits: 100,000 zones may have had one.
    pub fn release(&mut self) {
        if self.slots.is_empty() {
            self.slots = VecDeque::new();
        }
    }

    /// Takes out who waits at this place, if he still does.
    pub fn remove(&mut self, place: Place) -> Option<T> {
        let at = self.slots.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        let removed = self.slots.get_mut(at)?.1.take()?;
        self.gaps = self.gaps.saturating_add(1);
        self.trim();
        self.close_gaps();
        Some(removed)
    }

    /// Takes out all to whom this applies, in order.
    pub fn extract(&mut self, applies: impl Fn(&T) -> bool) -> Vec<T> {
        let all = std::mem::take(&mut self.slots);
        self.gaps = 0;
        let mut extracted = Vec::new();
        for (place, waiting) in all {
            match waiting {
                Some(waiting) if applies(&waiting) => extracted.push(waiting),
                Some(waiting) => self.slots.push_back((place, Some(waiting))),
                None => {}
            }
        }
        extracted
    }

    fn trim(&mut self) {
        while self.gaps > 0 && self.slots.front().is_some_and(|(_, waiting)| waiting.is_none()) {
            self.slots.pop_front();
            self.gaps = self.gaps.saturating_sub(1);
        }
        while self.gaps > 0 && self.slots.back().is_some_and(|(_, waiting)| waiting.is_none()) {
            self.slots.pop_back();
            self.gaps = self.gaps.saturating_sub(1);
        }
    }

    fn close_gaps(&mut self) {
        if self.gaps > self.len().saturating_add(FEW) {
            self.slots.retain(|(_, waiting)| waiting.is_some());
            self.slots.shrink_to(self.slots.len().saturating_mul(2));
            self.gaps = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Pop,
        Remove(usize),
        Extract(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => Just(Step::Push),
            2 => Just(Step::Pop),
            4 => (0_usize..200).prop_map(Step::Remove),
            1 => (2_u32..6).prop_map(Step::Extract),
        ]
    }

    proptest! {
        /// A map does the same, more slowly.
        #[test]
        fn it_is_a_map_in_order(steps in prop::collection::vec(step(), 0..400)) {
            let (mut list, mut map) = (Waitlist::default(), BTreeMap::new());
            let mut places = Vec::new();
            for (name, step) in (0_u32..).zip(steps) {
                match step {
                    Step::Push => {
                        let place = list.push(name);
                        map.insert(place, name);
                        places.push(place);
                    }
                    Step::Pop => prop_assert_eq!(list.pop(), map.pop_first().map(|(_, n)| n)),
                    Step::Remove(i) if i < places.len() => {
                        prop_assert_eq!(list.remove(places[i]), map.remove(&places[i]));
                    }
                    Step::Remove(_) => {}
                    Step::Extract(n) => {
                        let gone: Vec<_> = map.extract_if(.., |_, v| *v % n == 0).collect();
                        let gone: Vec<_> = gone.into_iter().map(|(_, v)| v).collect();
                        prop_assert_eq!(list.extract(|v| *v % n == 0), gone);
                    }
                }
                list.release();
                prop_assert_eq!(list.len(), map.len());
                prop_assert_eq!(list.first(), map.first_key_value().map(|(_, v)| v));
                prop_assert!(list.slots.len() <= 2 * list.len() + FEW);
            }
        }
    }

    #[test]
    fn one_who_stays_does_not_keep_the_places_of_all_who_go() {
        let mut list = Waitlist::default();
        list.push(0);
        let mut last = list.push(1);
        for name in 2..10_000 {
            let next = list.push(name);
            assert_eq!(list.remove(last), Some(name - 1));
            last = next;
        }
        assert_eq!(list.len(), 2);
        assert!(list.slots.capacity() < 200, "{}", list.slots.capacity());
    }
}
