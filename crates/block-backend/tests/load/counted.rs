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

fn grew(by: usize) {
    let live = LIVE.fetch_add(by, Ordering::SeqCst) + by;
    PEAK.fetch_max(live, Ordering::SeqCst);
}

// SAFETY: every call goes to the system's allocator as it came; nothing but numbers is added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grew(layout.size());
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
}

impl Measure {
    pub fn start() -> Self {
        let before = LIVE.load(Ordering::SeqCst);
        PEAK.store(before, Ordering::SeqCst);
        Self { before }
    }

    /// Bytes that are allocated more than at the start.
    pub fn held(&self) -> usize {
        LIVE.load(Ordering::SeqCst).saturating_sub(self.before)
    }

    /// The most bytes that were allocated more than at the start.
    pub fn peak(&self) -> usize {
        PEAK.load(Ordering::SeqCst).saturating_sub(self.before)
    }
}
