//! Who is next: the order in which requests wait, without I/O and without async.
//!
//! Requests to one zone stay in the order in which they came. Zones take turns, so that one with
//! thousands of requests delays a request to another by one turn and no more. A request to several
//! zones comes after all that came before it, and before all that come after.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Which requests one may overtake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those of other lanes: the requests to one zone are a lane.
    Lane(u64),
    /// None.
    Wide,
}

impl Scope {
    /// The lane of what belongs to no zone: flushes, reports.
    pub(crate) const APART: Self = Self::Lane(u64::MAX);
}

/// A place in line. The places between two wide requests are a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    stretch: u64,
    lane: u64,
    number: u64,
}

/// What waits, in order.
#[derive(Debug)]
pub(crate) struct Line<T> {
    waiting: BTreeMap<Place, T>,
    /// That of the next request.
    stretch: u64,
    number: u64,
    /// The place that had its turn last.
    last: Option<Place>,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), stretch: 0, number: 0, last: None }
    }
}

impl<T> Line<T> {
    /// Adds one at the end.
    pub(crate) fn push(&mut self, scope: Scope, waiting: T) -> Place {
        self.number = self.number.wrapping_add(1);
        let place = match scope {
            Scope::Lane(lane) => Place { stretch: self.stretch, lane, number: self.number },
            Scope::Wide => {
                let stretch = self.stretch.wrapping_add(1);
                self.stretch = stretch.wrapping_add(1);
                Place { stretch, lane: 0, number: self.number }
            }
        };
        self.waiting.insert(place, waiting);
        place
    }

    /// Whose turn it is.
    pub(crate) fn next(&self) -> Option<(Place, &T)> {
        let (first, _) = self.waiting.first_key_value()?;
        let turn = self.last.filter(|last| last.stretch == first.stretch).and_then(|last| {
            // The first of the next lane in this stretch.
            let from = Place { number: u64::MAX, ..last };
            let to = Place { stretch: last.stretch, lane: u64::MAX, number: u64::MAX };
            (from < to)
                .then(|| self.waiting.range((Bound::Excluded(from), Bound::Included(to))).next())?
        });
        turn.or_else(|| self.waiting.first_key_value()).map(|(place, waiting)| (*place, waiting))
    }

    /// Takes out the one whose turn it is, and passes the turn on.
    pub(crate) fn take(&mut self, place: Place) -> Option<T> {
        self.last = Some(place);
        self.waiting.remove(&place)
    }

    /// Takes out one who goes away.
    pub(crate) fn withdraw(&mut self, place: Place) -> Option<T> {
        self.waiting.remove(&place)
    }

    /// Takes out all of whom this is true, in the order of their places.
    pub(crate) fn withdraw_all(&mut self, mut goes: impl FnMut(&T) -> bool) -> Vec<T> {
        let going = self.waiting.iter().filter(|(_, waiting)| goes(waiting));
        let places: Vec<Place> = going.map(|(place, _)| *place).collect();
        places.iter().filter_map(|place| self.waiting.remove(place)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(line: &mut Line<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| {
            let (place, _) = line.next()?;
            line.take(place)
        })
        .collect()
    }

    #[test]
    fn lanes_take_turns_and_keep_their_order() {
        let mut line = Line::default();
        for (lane, who) in [(1, "a"), (1, "b"), (1, "c"), (7, "x"), (7, "y"), (u64::MAX, "flush")] {
            line.push(Scope::Lane(lane), who);
        }
        assert_eq!(all(&mut line), ["a", "x", "flush", "b", "y", "c"]);
    }

    #[test]
    fn who_comes_to_an_idle_lane_waits_for_one_turn_of_each_other() {
        let mut line = Line::default();
        for who in ["a", "b", "c"] {
            line.push(Scope::Lane(4), who);
        }
        let (place, _) = line.next().unwrap();
        line.take(place);
        line.push(Scope::Lane(2), "late");
        // Lanes go round upwards, so that one below comes when the round begins anew.
        assert_eq!(all(&mut line), ["late", "b", "c"]);
    }

    #[test]
    fn a_wide_request_overtakes_nothing_and_is_not_overtaken() {
        let mut line = Line::default();
        line.push(Scope::Lane(9), "before");
        line.push(Scope::Wide, "reset all");
        line.push(Scope::Wide, "finish all");
        line.push(Scope::Lane(0), "after");
        line.push(Scope::Lane(9), "after too");
        let expected = ["before", "reset all", "finish all", "after", "after too"];
        assert_eq!(all(&mut line), expected);
    }

    #[test]
    fn who_goes_away_leaves_no_trace() {
        let mut line = Line::default();
        line.push(Scope::Lane(1), "a");
        let gone = line.push(Scope::Wide, "gone");
        line.push(Scope::Lane(1), "b");
        assert_eq!(line.withdraw(gone), Some("gone"));
        assert_eq!(line.withdraw(gone), None);
        assert_eq!(line.len(), 2);
        let other = line.push(Scope::Lane(0), "gone too");
        assert_eq!(line.withdraw_all(|who| who.starts_with("gone")), ["gone too"]);
        assert_eq!(line.withdraw(other), None);
        assert_eq!(all(&mut line), ["a", "b"]);
    }
}
