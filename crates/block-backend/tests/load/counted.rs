//! An allocator that counts, so that a test can say what memory something takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes that are allocated at this moment, and the most since the last mark.
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Calls of the allocator, and those for memory that direct access could take.
static CALLS: AtomicUsize = AtomicUsize::new(0);
static BUFFERS: AtomicUsize = AtomicUsize::new(0);

/// Nothing but buffers is aligned to so many bytes.
const BUFFER: usize = 512;

fn called(layout: Layout) {
    CALLS.fetch_add(1, Ordering::SeqCst);
    BUFFERS.fetch_add(usize::from(layout.align() >= BUFFER), Ordering::SeqCst);
    grew(layout.size());
}

fn grew(by: usize) {
    let live = LIVE.fetch_add(by, Ordering::SeqCst) + by;
    PEAK.fetch_max(live, Ordering::SeqCst);
}

// SAFETY: every call goes to the system's allocator as it came; nothing but numbers is added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        called(layout);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: as above; all memory comes from the system's allocator.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// The right to use the program alone, so that nobody else allocates while one measures.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The allocator's count since a moment.
pub struct Measure {
    before: usize,
    calls: usize,
    buffers: usize,
}

impl Measure {
    pub fn start() -> Self {
        let before = LIVE.load(Ordering::SeqCst);
        PEAK.store(before, Ordering::SeqCst);
        let (calls, buffers) = (CALLS.load(Ordering::SeqCst), BUFFERS.load(Ordering::SeqCst));
        Self { before, calls, buffers }
    }

    /// Bytes that are allocated more than at the start.
    pub fn held(&self) -> usize {
        LIVE.load(Ordering::SeqCst).saturating_sub(self.before)
    }

    /// The most bytes that were allocated more than at the start.
    pub fn peak(&self) -> usize {
        PEAK.load(Ordering::SeqCst).saturating_sub(self.before)
    }

    /// How often memory was allocated.
    pub fn calls(&self) -> usize {
        CALLS.load(Ordering::SeqCst) - self.calls
    }

    /// How many buffers were allocated.
    pub fn buffers(&self) -> usize {
        BUFFERS.load(Ordering::SeqCst) - self.buffers
    }
}
