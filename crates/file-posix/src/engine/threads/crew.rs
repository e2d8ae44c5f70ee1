//! The queue of one file and runtime, and the workers that serve it.

use super::super::offload::{NO_THREAD, SHUT_DOWN, drop_aside, not_done};
use super::answer::{Answers, End};
use super::spin::{Alone, Lookout, Pace};
use super::ticket::{Ticket, ticket};
use super::work::{Row, Work};
use crate::open_file::OpenFile;
use block_core::waitlist::{Place, Waitlist};
use block_core::{InFlightGuard, Result};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Larger requests gain nothing from being joined, and would be made one after another.
const MAX_JOINED: usize = 32 << 10;
/// A row of so many bytes or requests takes no further one.
const MAX_ROW: usize = 256 << 10;
const MAX_ROW_REQUESTS: usize = 64;
/// A worker goes home after so long even if there is more to do, and calls another one. Else those
/// who wait for a thread of the same pool might wait as long as this file is busy.
const STINT: Duration = Duration::from_millis(5);
/// Requests that are longer are always slept for: looking would take as long as copying them.
const MAX_LOOKED_FOR: usize = 64 << 10;

/// On what terms a crew works.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// At most so many work at a time.
    pub workers: usize,
    /// Whether neighbours may be joined into one call.
    pub joins: bool,
    /// Whether answers may wait for those of the next quick calls.
    pub holds: bool,
}

/// The workers of one file and runtime, and what waits for them.
pub(super) struct Crew<W: Work> {
    terms: Terms,
    state: Mutex<State<W>>,
    /// Something waits in the queue; for a worker that looks without taking the lock.
    waiting: AtomicBool,
    pace: Pace,
    for_work: Lookout,
    for_answer: Lookout,
}

struct State<W: Work> {
    queue: Waitlist<Entry<W>>,
    /// Those that were called and have not gone home.
    workers: usize,
    /// Of these, those that make calls.
    busy: usize,
    /// One was called and has not come yet.
    coming: bool,
    /// So many were called in vain, and count as workers no more, but may come all the same.
    written_off: usize,
    /// One will look into the queue before it goes home.
    looking: bool,
    alone: Alone,
}

/// One request.
struct Entry<W: Work> {
    work: W,
    end: End<W::Done>,
}

impl<W: Work> fmt::Debug for Crew<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (waiting, workers) = {
            let state = self.state();
            (state.queue.len(), state.workers)
        };
        let mut f = f.debug_struct("Crew");
        f.field("terms", &self.terms).field("waiting", &waiting).field("workers", &workers);
        f.finish_non_exhaustive()
    }
}

impl<W: Work> State<W> {
    /// Whether to call one more worker. If so, it counts from now on.
    fn calls(&mut self, terms: Terms) -> bool {
        let calls =
            !self.queue.is_empty() && !self.coming && !self.looking && self.workers < terms.workers;
        if calls {
            self.coming = true;
            self.workers = self.workers.saturating_add(1);
        }
        calls
    }

    /// Takes back what a worker was counted as.
    fn leave(&mut self, stance: Stance) {
        match stance {
            // They are all alike: the first to come is taken for the one that was written off.
            Stance::Called if self.written_off > 0 => {
                self.written_off = self.written_off.saturating_sub(1);
                self.workers = self.workers.saturating_add(1);
            }
            Stance::Called => self.coming = false,
            Stance::Busy => self.busy = self.busy.saturating_sub(1),
            Stance::Looking(true) => self.looking = false,
            Stance::Looking(false) | Stance::Home => {}
        }
    }

    /// What waits, if nobody is there to serve it.
    fn take_if_nobody_comes(&mut self) -> Vec<Entry<W>> {
        if self.workers > 0 { Vec::new() } else { self.queue.extract(|_| true) }
    }

    /// The request that waited longest, with the neighbours that came right after it.
    fn take_row(&mut self, terms: Terms) -> Option<Row<Entry<W>>> {
        let mut last = self.queue.pop()?;
        let mut len = last.work.len();
        let mut row = Row::new();
        while terms.joins && len < MAX_ROW && row.len() < MAX_ROW_REQUESTS - 1 {
            let joins = |next: &Entry<W>| {
                last.work.len().max(next.work.len()) <= MAX_JOINED
                    && last.work.is_followed_by(&next.work)
            };
            if !self.queue.first().is_some_and(joins) {
                break;
            }
            let Some(next) = self.queue.pop() else { break };
            len = len.saturating_add(next.work.len());
            row.push(std::mem::replace(&mut last, next));
        }
        row.push(last);
        Some(row)
    }
}

impl<W: Work> Crew<W> {
    pub(super) fn new(terms: Terms) -> Self {
        let state = State {
            queue: Waitlist::default(),
            workers: 0,
            busy: 0,
            coming: false,
            written_off: 0,
            looking: false,
            alone: Alone::default(),
        };
        Self {
            terms,
            state: Mutex::new(state),
            waiting: AtomicBool::new(false),
            pace: Pace::default(),
            for_work: Lookout::default(),
            for_answer: Lookout::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody works and nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state.workers == 0 && state.queue.is_empty()
    }

    /// Has the work done. If the future is dropped, it is done all the same if it was begun, and
    /// gives back at once what it holds if it was not: a device that does not answer would otherwise
    /// collect all that is ever given up.
    pub(super) async fn carry(
        self: Arc<Self>,
        runtime: &Handle,
        file: Arc<OpenFile>,
        work: W,
        guard: InFlightGuard,
    ) -> Result<W::Done> {
        let short = work.len() <= MAX_LOOKED_FOR;
        let (ticket, reply) = ticket();
        let (place, look) = self.submit(runtime, Entry { work, end: End { file, guard, reply } });
        let mut caller = Caller { crew: self, place, ticket };
        if look && short && caller.crew.look_for(&caller.ticket) {
            // A task whose requests all end at once still lets others run from time to time.
            tokio::task::coop::consume_budget().await;
        }
        (&mut caller.ticket).await
    }

    /// Takes a request out that was not begun.
    fn withdraw(&self, place: Place) -> Option<Entry<W>> {
        let mut state = self.state();
        let withdrawn = state.queue.remove(place);
        self.waiting.store(!state.queue.is_empty(), Ordering::Release);
        withdrawn
    }

    fn look_for(&self, ticket: &Ticket<W::Done>) -> bool {
        self.for_answer.pays(&self.pace) && self.for_answer.for_answer(|| ticket.is_answered())
    }

    /// Puts a request into the queue, and calls a worker if none will see it. Whether it may pay
    /// to look for the answer.
    fn submit(self: &Arc<Self>, runtime: &Handle, entry: Entry<W>) -> (Place, bool) {
        let (place, calls, look) = {
            let mut state = self.state();
            let others = state.busy > 0 || !state.queue.is_empty();
            let look = state.alone.note(others) && state.looking;
            let place = state.queue.push(entry);
            self.waiting.store(true, Ordering::Release);
            (place, state.calls(self.terms), look)
        };
        if calls {
            self.call(runtime);
        }
        (place, look)
    }

    fn call(self: &Arc<Self>, runtime: &Handle) {
        let worker = Worker { crew: Arc::clone(self), stance: Stance::Called };
        let work = move || worker.run();
        // Tokio panics if it has no blocking thread and can start none. It keeps the work.
        let called = catch_unwind(AssertUnwindSafe(|| drop(runtime.spawn_blocking(work))));
        if called.is_err() {
            self.write_off();
        }
    }

    /// One that was called does not come.
    pub(super) fn write_off(&self) {
        let left = {
            let mut state = self.state();
            state.written_off = state.written_off.saturating_add(1);
            state.coming = false;
            state.workers = state.workers.saturating_sub(1);
            state.take_if_nobody_comes()
        };
        fail(left, NO_THREAD);
    }
}

/// One who waits for an answer. If he goes away, so does his request, unless it was begun.
struct Caller<W: Work> {
    crew: Arc<Crew<W>>,
    place: Place,
    ticket: Ticket<W::Done>,
}

impl<W: Work> Drop for Caller<W> {
    fn drop(&mut self) {
        if self.ticket.is_answered() {
            return;
        }
        let Some(Entry { work, end }) = self.crew.withdraw(self.place) else { return };
        drop(work);
        match Arc::strong_count(&end.file) {
            1 => drop_aside(end),
            _ => drop(end),
        }
    }
}

/// Tells all of them that they were not begun.
fn fail<W: Work>(entries: Vec<Entry<W>>, why: &'static str) {
    for entry in entries {
        drop(entry.work);
        entry.end.give(Err(not_done(why))).into_iter().for_each(Waker::wake);
    }
}

/// One that works for a crew, from the call until it goes home.
struct Worker<W: Work> {
    crew: Arc<Crew<W>>,
    stance: Stance,
}

/// What the crew's state counts a worker as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stance {
    Called,
    Busy,
    /// Will look into the queue once more; `true` if it is the one that is counted on to do so.
    Looking(bool),
    Home,
}

impl<W: Work> Worker<W> {
    fn run(mut self) {
        let mut answers = Answers::default();
        let begin = Instant::now();
        loop {
            let is_over = begin.elapsed() >= STINT;
            let next = self.next(&answers, is_over);
            if !matches!(&next, Next::Row(_, false, quick) if answers.may_wait(*quick)) {
                answers.give();
            }
            match next {
                Next::Row(row, calls, _) => {
                    if calls {
                        self.crew.call(&Handle::current());
                    }
                    self.make(row, &mut answers);
                }
                Next::Look => {
                    let crew = &self.crew;
                    if self.stance == Stance::Looking(true) && crew.for_work.pays(&crew.pace) {
                        crew.for_work.for_work(|| crew.waiting.load(Ordering::Acquire));
                    }
                }
                Next::Relief => return self.crew.call(&Handle::current()),
                Next::GoHome => return,
            }
        }
    }

    /// Takes what is to be done next. The state is changed before the answers are given, so that one
    /// who has its answer finds this worker ready for more.
    fn next(&mut self, answers: &Answers<W::Done>, is_over: bool) -> Next<W> {
        let crew = &*self.crew;
        let mut state = crew.state();
        state.leave(self.stance);
        if is_over && !state.queue.is_empty() {
            self.stance = Stance::Home;
            if !state.coming {
                state.coming = true;
                return Next::Relief;
            }
            state.workers = state.workers.saturating_sub(1);
            return Next::GoHome;
        }
        let Some(row) = state.take_row(crew.terms) else {
            if answers.is_empty() {
                state.workers = state.workers.saturating_sub(1);
                self.stance = Stance::Home;
                return Next::GoHome;
            }
            self.stance = Stance::Looking(!state.looking);
            state.looking = true;
            return Next::Look;
        };
        crew.waiting.store(!state.queue.is_empty(), Ordering::Release);
        state.busy = state.busy.saturating_add(1);
        self.stance = Stance::Busy;
        let is_quick = crew.terms.holds
            && crew.pace.is_quick()
            && row.iter().all(|entry| entry.work.is_short());
        let quick = if is_quick { state.queue.len() } else { 0 };
        Next::Row(row, state.calls(crew.terms), quick)
    }

    /// Makes the calls of a row.
    fn make(&self, row: Row<Entry<W>>, answers: &mut Answers<W::Done>) {
        let begin = Instant::now();
        let (mut works, ends): (Row<W>, Row<End<W::Done>>) =
            row.into_iter().map(|entry| (entry.work, entry.end)).unzip();
        let Some(file) = ends.first().map(|end| &*end.file) else { return };
        let results = match works.pop() {
            Some(only) if works.is_empty() => Row::from_buf([only.make(file)]),
            last => {
                works.extend(last);
                W::make_row(works, file)
            }
        };
        let now = Instant::now();
        self.crew.pace.note(now.saturating_duration_since(begin), results.len());
        answers.put(now, ends.into_iter().zip(results));
    }
}

/// What a worker does next.
enum Next<W: Work> {
    /// Makes these calls, and first calls one more worker if so said. If they are expected to be
    /// quick, so many requests wait yet; else 0.
    Row(Row<Entry<W>>, bool, usize),
    /// Looks again.
    Look,
    /// Goes home, and calls another one that takes its place.
    Relief,
    GoHome,
}

impl<W: Work> Drop for Worker<W> {
    fn drop(&mut self) {
        if self.stance == Stance::Home {
            return;
        }
        // Its runtime shut down before it came, or its thread panicked.
        let (left, calls) = {
            let mut state = self.crew.state();
            state.leave(self.stance);
            state.workers = state.workers.saturating_sub(1);
            match self.stance {
                Stance::Called => (state.take_if_nobody_comes(), false),
                // Those that are there serve the queue until it is empty.
                _ if state.workers > 0 => (Vec::new(), false),
                _ => (Vec::new(), state.calls(self.crew.terms)),
            }
        };
        if let (true, Ok(runtime)) = (calls, Handle::try_current()) {
            self.crew.call(&runtime);
        }
        fail(left, SHUT_DOWN);
    }
}
