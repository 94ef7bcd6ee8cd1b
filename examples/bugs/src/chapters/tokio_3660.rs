//! A permit that is written over. (tokio#3660.)
//!
//! A `Notify` keeps in one word whether a permit is stored, and how often all
//! waiters were notified. `notify_one` sets the first without a lock,
//! `notify_waiters` adds to the second.
//!
//! **The bug.** `notify_waiters` reads the word and writes it back, and the
//! permit that was stored in between is gone.
//!
//! **Mended.** It adds atomically.

use super::prim::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use super::prim::thread;
use std::sync::Arc;

const PERMIT: usize = 1;
const CALL: usize = 2;

struct Notify(AtomicUsize);

impl Notify {
    fn notify_one(&self) {
        let mut now = self.0.load(SeqCst);
        while let Err(other) = self.0.compare_exchange(now, now | PERMIT, SeqCst, SeqCst) {
            now = other;
        }
    }

    fn notify_waiters(&self, mended: bool) {
        if mended {
            self.0.fetch_add(CALL, SeqCst);
        } else {
            let now = self.0.load(SeqCst);
            self.0.store(now + CALL, SeqCst);
        }
    }

    fn take_permit(&self) -> bool {
        self.0.fetch_and(!PERMIT, SeqCst) & PERMIT != 0
    }
}

/// Both at the same time; nobody waits yet.
pub fn body(mended: bool) {
    let notify = Arc::new(Notify(AtomicUsize::new(0)));
    let one = thread::spawn({
        let notify = Arc::clone(&notify);
        move || notify.notify_one()
    });
    notify.notify_waiters(mended);
    one.join().unwrap();
    assert!(notify.take_permit(), "the permit is gone");
}
