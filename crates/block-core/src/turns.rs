//! Threads that sleep in a way of their own.
//!
//! A protocol driver that talks with the kernel through a ring has the runtime watch it: each
//! completion wakes the runtime's reactor, which wakes a task, which looks into the ring. A thread
//! that has its own way of sleeping ([`Turns`]) spares all of that: before it sleeps, it takes a
//! [`Turn`] of whatever its requests have begun, and while it sleeps it watches for their ends
//! itself. Drivers ask [`taken_here`] and hand over with [`hand_over`].
//!
//! Only what happens on the thread itself is sure to come before its next turn. A future may be
//! polled by one thread first and by another one later: from there, nothing may be left to a turn of
//! the first thread, which may be asleep and is not woken for it. So each time that a driver has
//! something to begin, it asks anew who takes turns where it is polled, and leaves it to nobody else.
//! Whoever waits for what a thread drives has to drive it too, whatever runtime it belongs to: the
//! thread may be the very one that waits.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something that a thread drives before it sleeps. Dropped, it is driven no more: what is under way
/// must come to its end by itself then.
pub trait Turn {
    /// Submits what was queued since, and takes note of what has ended. Never waits.
    fn turn(&mut self) -> Turned;

    /// What becomes readable, at the latest, once another turn has something to take note of.
    fn events(&self) -> BorrowedFd<'_>;
}

/// What a [`Turn`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// Nothing is under way.
    Idle,
    /// Something is under way: a turn is due when the events say so.
    Busy,
    /// Tasks were woken, or another turn is due soon: the thread must not sleep before it.
    Again,
    /// There will never be anything to do any more.
    Over,
}

/// Names one [`Turns`]: no other ever, of this thread or another one, has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnsId(u64);

impl TurnsId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What was handed over since the last turn.
struct New {
    to: TurnsId,
    turns: Vec<Box<dyn Turn>>,
}

thread_local! {
    /// On a thread that takes turns.
    static NEW: RefCell<Option<New>> = const { RefCell::new(None) };
}

/// Which [`Turns`] drive what is handed over on this thread, if it takes turns.
#[must_use]
pub fn taken_here() -> Option<TurnsId> {
    NEW.with_borrow(|new| new.as_ref().map(|new| new.to))
}

/// Has this thread drive something from its next turn on, which it takes before it sleeps.
///
/// # Errors
/// Gives it back if this thread takes no turns.
pub fn hand_over(turn: Box<dyn Turn>) -> Result<(), Box<dyn Turn>> {
    NEW.with_borrow_mut(|new| match new {
        Some(new) => {
            new.turns.push(turn);
            Ok(())
        }
        None => Err(turn),
    })
}

/// What a thread drives by itself, for as long as this lives.
#[derive(Debug)]
pub struct Turns {
    /// Places stay, so that their numbers do.
    places: Vec<Option<Place>>,
    /// It belongs to the thread.
    here: PhantomData<*const ()>,
}

struct Place {
    turn: Box<dyn Turn>,
    busy: bool,
    watched: bool,
}

impl Turns {
    /// This thread takes turns from now on; `None` if it does already.
    #[must_use]
    pub fn begin() -> Option<Self> {
        NEW.with_borrow_mut(|new| match new {
            Some(_) => None,
            None => {
                *new = Some(New { to: TurnsId::next(), turns: Vec::new() });
                Some(Self { places: Vec::new(), here: PhantomData })
            }
        })
    }

    /// Takes a turn of each. True if the thread must not sleep yet: tasks were woken, or another
    /// turn is due.
    pub fn take(&mut self) -> bool {
        let new = |new: &mut Option<New>| new.as_mut().map(|new| std::mem::take(&mut new.turns));
        for turn in NEW.with_borrow_mut(new).unwrap_or_default() {
            let place = Place { turn, busy: false, watched: false };
            match self.places.iter_mut().find(|place| place.is_none()) {
                Some(vacant) => *vacant = Some(place),
                None => self.places.push(Some(place)),
            }
        }
        let mut again = false;
        for each in &mut self.places {
            let Some(place) = each else { continue };
            let turned = place.turn.turn();
            place.busy = turned == Turned::Busy;
            again |= turned == Turned::Again;
            if turned == Turned::Over {
                *each = None;
            }
        }
        again
    }

    /// Calls `watch` with the number and the descriptor of each that has something under way and is
    /// not watched; it is, from then on, if that returns true. True if all are.
    pub fn watch(&mut self, mut watch: impl FnMut(usize, BorrowedFd<'_>) -> bool) -> bool {
        let mut all = true;
        for (number, place) in self.places.iter_mut().enumerate() {
            let Some(place) = place.as_mut().filter(|place| place.busy && !place.watched) else {
                continue;
            };
            place.watched = watch(number, place.turn.events());
            all &= place.watched;
        }
        all
    }

    /// Takes note that a descriptor was readable, or for another reason is watched no more.
    pub fn told(&mut self, number: usize) {
        if let Some(Some(place)) = self.places.get_mut(number) {
            place.watched = false;
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        // Dropped only when the thread's list is free again: they may look at it.
        drop(NEW.take());
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("busy", &self.busy)
            .field("watched", &self.watched)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::rc::Rc;

    struct Scripted {
        next: Rc<Cell<Turned>>,
        events: File,
    }

    impl Turn for Scripted {
        fn turn(&mut self) -> Turned {
            self.next.get()
        }

        fn events(&self) -> BorrowedFd<'_> {
            self.events.as_fd()
        }
    }

    fn scripted(turned: Turned) -> (Rc<Cell<Turned>>, Box<dyn Turn>) {
        let next = Rc::new(Cell::new(turned));
        let events = File::open("/dev/null").unwrap();
        (Rc::clone(&next), Box::new(Scripted { next, events }))
    }

    /// The numbers that were to be watched.
    fn watched(turns: &mut Turns, answer: bool) -> Vec<usize> {
        let mut numbers = Vec::new();
        let all = turns.watch(|number, _| {
            numbers.push(number);
            answer
        });
        assert_eq!(all, answer || numbers.is_empty());
        numbers
    }

    #[test]
    fn only_a_thread_that_says_so_takes_turns_and_only_for_so_long() {
        assert!(taken_here().is_none() && hand_over(scripted(Turned::Idle).1).is_err());
        let turns = Turns::begin().unwrap();
        let first = taken_here();
        assert!(first.is_some() && Turns::begin().is_none());
        std::thread::spawn(|| assert!(taken_here().is_none())).join().unwrap();
        let (kept, turn) = scripted(Turned::Idle);
        assert!(hand_over(turn).is_ok());
        drop(turns);
        assert!(taken_here().is_none());
        assert_eq!(Rc::strong_count(&kept), 1, "what was never driven is dropped too");
        let elsewhere = std::thread::spawn(|| Turns::begin().and_then(|_turns| taken_here()));
        let again = Turns::begin().unwrap();
        let ids = [first, elsewhere.join().unwrap(), taken_here()];
        assert!(ids.iter().all(Option::is_some));
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
        drop(again);
    }

    #[test]
    fn what_is_under_way_is_watched_once_until_it_tells() {
        let mut turns = Turns::begin().unwrap();
        let (first, turn) = scripted(Turned::Busy);
        let (second, other) = scripted(Turned::Idle);
        assert!(hand_over(turn).is_ok() && hand_over(other).is_ok());
        assert!(!turns.take());
        assert_eq!(watched(&mut turns, false), [0], "there was no room");
        assert_eq!(watched(&mut turns, true), [0]);
        assert_eq!(watched(&mut turns, true), [0_usize; 0]);
        second.set(Turned::Busy);
        assert!(!turns.take());
        assert_eq!(watched(&mut turns, true), [1]);
        turns.told(0);
        turns.told(7);
        assert_eq!(watched(&mut turns, true), [0]);
        turns.told(0);
        first.set(Turned::Idle);
        assert!(!turns.take());
        assert_eq!(watched(&mut turns, true), [0_usize; 0]);
    }

    #[test]
    fn one_that_wakes_keeps_the_thread_awake_and_one_that_is_over_goes() {
        let mut turns = Turns::begin().unwrap();
        let (first, turn) = scripted(Turned::Again);
        let (second, other) = scripted(Turned::Busy);
        assert!(hand_over(turn).is_ok() && hand_over(other).is_ok());
        assert!(turns.take());
        first.set(Turned::Over);
        assert!(!turns.take());
        assert_eq!(Rc::strong_count(&first), 1);
        assert_eq!(watched(&mut turns, true), [1], "the others keep their numbers");
        let (third, turn) = scripted(Turned::Busy);
        assert!(hand_over(turn).is_ok());
        assert!(!turns.take());
        assert_eq!(watched(&mut turns, true), [0]);
        drop(turns);
        assert_eq!((Rc::strong_count(&second), Rc::strong_count(&third)), (1, 1));
    }
}
