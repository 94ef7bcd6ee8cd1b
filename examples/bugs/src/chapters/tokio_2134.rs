//! To ring without the lock. (tokio#2134, mended in #2135.)
//!
//! The sender of a broadcast waits for the slot that it wants to write to: for
//! its readers to have left, which they count in an atomic. The last one wakes
//! the sender.
//!
//! **The bug.** It does so without the lock that the sender waits with. The
//! sender has read the count, and is about to sleep when the bell rings.
//!
//! **Mended.** It rings under the lock.

use super::prim::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use super::prim::{
    sync::{Condvar, Mutex},
    thread,
};
use std::sync::Arc;

struct Slot {
    readers: AtomicUsize,
    tail: Mutex<()>,
    left: Condvar,
}

impl Slot {
    fn leave(&self, mended: bool) {
        if self.readers.fetch_sub(1, SeqCst) == 1 {
            let _tail = mended.then(|| self.tail.lock().unwrap());
            self.left.notify_one();
        }
    }

    fn send(&self) {
        let mut tail = self.tail.lock().unwrap();
        while self.readers.load(SeqCst) > 0 {
            tail = self.left.wait(tail).unwrap();
        }
    }
}

/// Two readers leave, one sender waits.
pub fn body(mended: bool) {
    let slot =
        Slot { readers: AtomicUsize::new(2), tail: Mutex::new(()), left: Condvar::new() };
    let slot = Arc::new(slot);
    let readers = [0, 1].map(|_| {
        let slot = Arc::clone(&slot);
        thread::spawn(move || slot.leave(mended))
    });
    slot.send();
    for thread in readers {
        thread.join().unwrap();
    }
}
