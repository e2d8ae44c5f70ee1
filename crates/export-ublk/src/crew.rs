//! The requests of a queue that are under way, side by side on its thread.
//!
//! Each has a place, with its memory and its waker; the one that was left last is taken first, so
//! that little memory is touched.

use crate::bell::{Bell, Rope};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

pub(crate) struct Crew<F> {
    bell: Arc<Bell>,
    places: Vec<Place<F>>,
    vacant: Vec<usize>,
    /// Those that can go on.
    ready: Vec<usize>,
}

struct Place<F> {
    request: Pin<Box<Option<F>>>,
    rope: Arc<Rope>,
    waker: Waker,
}

impl<F: Future> Crew<F> {
    pub(crate) fn new(bell: Arc<Bell>) -> Self {
        Self { bell, places: Vec::new(), vacant: Vec::new(), ready: Vec::new() }
    }

    /// Takes a request, which is begun by the next [`run`](Self::run).
    pub(crate) fn take(&mut self, request: F) {
        let number = self.vacant.pop().unwrap_or_else(|| self.add());
        if let Some(place) = self.places.get_mut(number) {
            place.request.set(Some(request));
            place.rope.set_rung(true);
            self.ready.push(number);
        }
    }

    fn add(&mut self) -> usize {
        let number = self.places.len();
        let rope = Rope::new(Arc::clone(&self.bell), number);
        let waker = Waker::from(Arc::clone(&rope));
        self.places.push(Place { request: Box::pin(None), rope, waker });
        number
    }

    /// Has each request that can go on do so, in the order in which they could, and hands out what
    /// the ended ones came to.
    pub(crate) fn run(&mut self, mut ended: impl FnMut(F::Output)) {
        self.bell.collect(&mut self.ready);
        for number in self.ready.drain(..) {
            let Some(place) = self.places.get_mut(number) else { continue };
            place.rope.set_rung(false);
            // A late ringing may be for one that left.
            let Some(request) = place.request.as_mut().as_pin_mut() else { continue };
            if let Poll::Ready(outcome) = request.poll(&mut Context::from_waker(&place.waker)) {
                place.request.set(None);
                self.vacant.push(number);
                ended(outcome);
            }
        }
    }

    /// Whether no request is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.vacant.len() == self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    fn run<F: Future<Output = u32>>(crew: &mut Crew<F>) -> Vec<u32> {
        let mut ended = Vec::new();
        crew.run(|outcome| ended.push(outcome));
        ended
    }

    #[test]
    fn requests_begin_in_the_order_in_which_they_came_and_end_in_any() {
        let mut crew = Crew::new(Bell::new().unwrap());
        let (mut tell, mut begun) = (Vec::new(), Vec::new());
        let begin = std::sync::mpsc::channel();
        for number in 0..4_u32 {
            let (sender, told) = oneshot::channel::<u32>();
            let begin = begin.0.clone();
            crew.take(async move {
                begin.send(number).unwrap();
                told.await.unwrap()
            });
            tell.push(Some(sender));
        }
        assert!(run(&mut crew).is_empty() && !crew.is_idle());
        begun.extend(begin.1.try_iter());
        assert_eq!(begun, [0, 1, 2, 3]);
        assert!(run(&mut crew).is_empty(), "none was told anything");
        let mut say = |n: usize, word| tell[n].take().unwrap().send(word).unwrap();
        say(2, 12);
        say(0, 10);
        assert_eq!(run(&mut crew), [12, 10]);
        say(3, 13);
        say(1, 11);
        assert_eq!(run(&mut crew), [13, 11]);
        assert!(crew.is_idle());
    }

    #[test]
    fn one_that_wakes_itself_goes_on_and_places_are_taken_again() {
        let bell = Bell::new().unwrap();
        let mut crew = Crew::new(Arc::clone(&bell));
        for round in 0..100 {
            for _ in 0..3 {
                crew.take(async move {
                    tokio::task::yield_now().await;
                    round
                });
            }
            assert!(run(&mut crew).is_empty());
            assert!(bell.has_rung());
            assert_eq!(run(&mut crew), [round; 3]);
        }
        assert_eq!(crew.places.len(), 3);
        assert!(!bell.has_rung() && crew.is_idle());
    }

    #[test]
    fn a_late_waker_of_one_that_left_does_no_harm() {
        let mut crew = Crew::new(Bell::new().unwrap());
        let (tell, wakers) = std::sync::mpsc::channel::<Waker>();
        let mut request = |pending: bool| {
            let tell = tell.clone();
            let mut pending = pending;
            crew.take(std::future::poll_fn(move |cx| {
                tell.send(cx.waker().clone()).unwrap();
                match std::mem::replace(&mut pending, false) {
                    true => Poll::Pending,
                    false => Poll::Ready(1),
                }
            }));
            run(&mut crew)
        };
        assert_eq!(request(false), [1]);
        let late = wakers.recv().unwrap();
        late.wake_by_ref();
        assert_eq!(request(true), [1], "polled once more than it asked for, as futures must bear");
        late.wake_by_ref();
        wakers.try_iter().for_each(Waker::wake);
        assert!(run(&mut crew).is_empty() && crew.is_idle());
    }
}
