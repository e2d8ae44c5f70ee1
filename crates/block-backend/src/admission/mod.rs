//! A limit on what is in flight: who comes beyond it waits in line.
//!
//! Only a backend with a limit has this. A waiting request holds its buffers, its future and a place
//! in line, and nothing in the nodes below.

mod job;
mod line;

pub(crate) use line::Scope;

use block_core::{Error, ErrorKind, Result};
use job::{Call, Job, Start};
use line::{Line, Place};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::{Handle, Id};

/// How much of a backend's limit is used, at one moment. See
/// [`max_in_flight`](crate::BackendBuilder::max_in_flight).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Requests in flight.
    pub in_flight: usize,
    /// Bytes that those read and write.
    pub in_flight_bytes: u64,
    /// Requests that wait in line.
    pub waiting: usize,
    /// Requests that had to wait, since the backend was opened: where this grows, callers ask for
    /// more than the limit lets through.
    pub waits: u64,
    /// The most requests that waited at the same time.
    pub longest: usize,
}

/// How much may be in flight; 0 = no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Most {
    pub(crate) requests: usize,
    pub(crate) bytes: u64,
}

impl Most {
    pub(crate) fn is_unlimited(self) -> bool {
        self.requests == 0 && self.bytes == 0
    }

    /// Whether one more has room. One that is larger than the limit goes alone.
    fn has_room(self, now: &Pressure, bytes: u64) -> bool {
        let requests = self.requests == 0 || now.in_flight < self.requests;
        let sum = now.in_flight_bytes.saturating_add(bytes);
        requests && (self.bytes == 0 || now.in_flight == 0 || sum <= self.bytes)
    }
}

/// So many requests are started in one go.
const AT_ONCE: usize = 32;

/// Lets requests through, in order, as others end.
#[derive(Clone)]
pub(crate) struct Admission(Arc<Shared>);

struct Shared {
    most: Most,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    line: Line<Waiting>,
    now: Pressure,
    /// Somebody starts those whose turn has come, one after the other.
    starting: bool,
}

struct Waiting {
    bytes: u64,
    job: Arc<dyn Start<Slot>>,
}

/// One request among those in flight, until it is dropped.
pub(crate) struct Slot {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            let now = &mut state.now;
            now.in_flight = now.in_flight.saturating_sub(1);
            now.in_flight_bytes = now.in_flight_bytes.saturating_sub(self.bytes);
        }
        self.shared.start_all();
    }
}

impl Admission {
    pub(crate) fn new(most: Most) -> Self {
        Self(Arc::new(Shared { most, state: Mutex::default() }))
    }

    pub(crate) fn pressure(&self) -> Pressure {
        self.0.state().now
    }

    /// Carries a request out when its turn comes. `pass` is dropped when nothing of it is left.
    ///
    /// # Cancellation
    /// One that still waits leaves no trace; from then on it is dropped as its caller is.
    pub(crate) async fn carry<T: Send + 'static>(
        &self,
        scope: Scope,
        bytes: u64,
        call: Call<T>,
        pass: impl Send + 'static,
    ) -> Result<T> {
        let (job, answer) = Job::<T, Slot, _>::new(runtime()?, call, pass);
        let place = self.0.line_up(scope, Waiting { bytes, job: Arc::clone(&job) as Arc<_> });
        let _caller = Caller { shared: &self.0, place, give_up: || job.give_up() };
        self.0.start_all();
        answer.await.unwrap_or_else(|_| Err(cut_off()))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line_up(&self, scope: Scope, waiting: Waiting) -> Place {
        let state = &mut *self.state();
        let waits = state.line.len() > 0 || !self.most.has_room(&state.now, waiting.bytes);
        let place = state.line.push(scope, waiting);
        state.now.waits = state.now.waits.saturating_add(u64::from(waits));
        state.count_waiting();
        if waits {
            state.now.longest = state.now.longest.max(state.now.waiting);
        }
        place
    }

    /// Starts those for whom there is room, in order. If somebody else does so already, he goes on
    /// until there is none left.
    fn start_all(self: &Arc<Self>) {
        loop {
            for _ in 0..AT_ONCE {
                let Some((job, slot)) = self.next() else { return };
                let turn = Turn(self);
                let is_driven = Arc::clone(&job).start(slot);
                drop(turn);
                if !is_driven {
                    self.abandon(job.runtime().id());
                }
            }
            // Requests that end at once make room for more: the thread is not kept for all of them,
            // unless there is no other.
            if self.hand_over() {
                return;
            }
        }
    }

    /// Has a task start those that still wait; false if no runtime takes it.
    fn hand_over(self: &Arc<Self>) -> bool {
        let here = Handle::try_current().ok();
        let goes_on_here = here.as_ref().is_some_and(|here| Rest::spawn(self, here));
        let next = self.state().line.next().map(|(_, waiting)| waiting.job.runtime().clone());
        let Some(next) = next else { return true };
        if goes_on_here && here.is_some_and(|here| here.id() == next.id()) {
            return true;
        }
        // Either may be one that nobody drives any further.
        Rest::spawn(self, &next) || goes_on_here
    }

    /// Fails those that wait in a runtime that has ended: whatever they began would be cut off.
    fn abandon(&self, runtime: Id) {
        let abandoned = {
            let mut state = self.state();
            let abandoned = state.line.withdraw_all(|w| w.job.runtime().id() == runtime);
            state.count_waiting();
            abandoned
        };
        for waiting in abandoned {
            waiting.job.fail(not_begun());
        }
    }

    fn next(self: &Arc<Self>) -> Option<(Arc<dyn Start<Slot>>, Slot)> {
        let state = &mut *self.state();
        let (place, waiting) = state.line.next()?;
        let bytes = waiting.bytes;
        if state.starting || !self.most.has_room(&state.now, bytes) {
            return None;
        }
        let job = state.line.take(place)?.job;
        state.starting = true;
        state.count_waiting();
        state.now.in_flight = state.now.in_flight.saturating_add(1);
        state.now.in_flight_bytes = state.now.in_flight_bytes.saturating_add(bytes);
        Some((job, Slot { shared: Arc::clone(self), bytes }))
    }
}

impl State {
    fn count_waiting(&mut self) {
        self.now.waiting = self.line.len();
    }
}

/// The task that starts those that still wait. If its runtime ends before, whoever learns of that
/// does it.
struct Rest {
    shared: Arc<Shared>,
    runtime: Id,
    /// Set by the first of two: the task that is dropped unpolled, and who has spawned it.
    met: Arc<AtomicBool>,
    begun: bool,
}

impl Rest {
    /// False if this runtime has ended.
    fn spawn(shared: &Arc<Shared>, runtime: &Handle) -> bool {
        let met = Arc::new(AtomicBool::new(false));
        let (shared, id) = (Arc::clone(shared), runtime.id());
        let rest = Self { shared, runtime: id, met: Arc::clone(&met), begun: false };
        drop(runtime.spawn(async move { rest.go() }));
        !met.swap(true, Ordering::AcqRel)
    }

    fn go(mut self) {
        self.begun = true;
        self.shared.start_all();
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        if self.begun {
            return;
        }
        self.shared.abandon(self.runtime);
        // Else it is still being spawned, and its spawner goes on: in a loop, where this would nest.
        if self.met.swap(true, Ordering::AcqRel) {
            self.shared.start_all();
        }
    }
}

/// The right to start one request, which a panic gives back too.
struct Turn<'a>(&'a Shared);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state().starting = false;
    }
}

/// A caller that waits. If it goes away, so does its request.
struct Caller<'a, F: Fn()> {
    shared: &'a Arc<Shared>,
    place: Place,
    give_up: F,
}

impl<F: Fn()> Drop for Caller<'_, F> {
    fn drop(&mut self) {
        let withdrawn = {
            let mut state = self.shared.state();
            let withdrawn = state.line.withdraw(self.place);
            state.count_waiting();
            withdrawn
        };
        let stood_in_line = withdrawn.is_some();
        drop(withdrawn);
        (self.give_up)();
        if stood_in_line {
            // Others may have waited for nothing but this one's turn.
            self.shared.start_all();
        }
    }
}

/// The runtime that polls the caller.
fn runtime() -> Result<Handle> {
    Handle::try_current().map_err(|_| {
        ErrorKind::Unsupported(
            "a backend with a limit on what is in flight, outside a tokio runtime; call it from a \
             task of one"
                .to_owned(),
        )
        .into()
    })
}

fn cut_off() -> Error {
    interrupted(
        "the task that carried this request ended in the middle, with its async runtime or by a \
         panic; whether it was carried out is unknown",
    )
}

fn not_begun() -> Error {
    interrupted("the async runtime of this request ended while it waited in line; it was not begun")
}

fn interrupted(why: &'static str) -> Error {
    ErrorKind::Io(std::io::Error::new(std::io::ErrorKind::Interrupted, why)).into()
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { most, .. } = &*self.0;
        f.debug_struct("Admission").field("most", most).field("now", &self.pressure()).finish()
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
mod tests;
