//! A latch that is gone when it was set. (rayon#739, and again #929.)
//!
//! A thread waits at a latch that lies on its own stack. Another sets it and
//! wakes the sleepers, whose address it knows from the latch.
//!
//! **The bug.** It reads the address after it has set the latch. By then the
//! first may have seen that, gone on, and left the latch behind.
//!
//! **Mended.** It reads the address first.

use super::prim::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use super::prim::thread;
use std::sync::Arc;

struct Latch {
    set: AtomicBool,
    sleepers: AtomicUsize,
    /// The stack frame that the latch is in.
    alive: AtomicBool,
}

impl Latch {
    fn sleepers(&self) -> usize {
        assert!(self.alive.load(SeqCst), "the latch is gone");
        self.sleepers.load(SeqCst)
    }

    fn set(&self, mended: bool) -> usize {
        if mended {
            let sleepers = self.sleepers();
            self.set.store(true, SeqCst);
            sleepers
        } else {
            self.set.store(true, SeqCst);
            self.sleepers()
        }
    }
}

/// One waits, one sets.
pub fn body(mended: bool) {
    let latch = Arc::new(Latch {
        set: AtomicBool::new(false),
        sleepers: AtomicUsize::new(1),
        alive: AtomicBool::new(true),
    });
    let sets = thread::spawn({
        let latch = Arc::clone(&latch);
        move || latch.set(mended)
    });
    while !latch.set.load(SeqCst) {
        thread::yield_now();
    }
    latch.alive.store(false, SeqCst);
    assert_eq!(sets.join().unwrap(), 1);
}
