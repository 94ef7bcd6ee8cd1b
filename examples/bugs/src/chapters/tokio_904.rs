//! A permit for somebody who has left. (tokio#904.)
//!
//! Who finds no permit at a semaphore puts a node in the line. A permit that is
//! released goes to the first node.
//!
//! **The bug.** A waiter that gives up gives its permit back if it was assigned
//! one. If it is still in the line, nothing is done: the permit that comes later
//! is assigned to a node that nobody looks at.
//!
//! **Mended.** It cancels its interest, or finds that it was just assigned one,
//! in one atomic step.

use super::prim::sync::atomic::{AtomicU32, Ordering::SeqCst};
use super::prim::thread;
use std::sync::Arc;

const QUEUED: u32 = 0;
const ASSIGNED: u32 = 1;
const CANCELLED: u32 = 2;

struct Semaphore {
    permits: AtomicU32,
    node: AtomicU32,
}

impl Semaphore {
    fn release(&self) {
        if self.node.compare_exchange(QUEUED, ASSIGNED, SeqCst, SeqCst).is_err() {
            self.permits.fetch_add(1, SeqCst);
        }
    }

    fn give_up(&self, mended: bool) {
        let assigned = if mended {
            self.node.compare_exchange(QUEUED, CANCELLED, SeqCst, SeqCst).is_err()
        } else {
            self.node.load(SeqCst) == ASSIGNED
        };
        if assigned {
            self.permits.fetch_add(1, SeqCst);
        }
    }
}

/// A waiter gives up while a permit is released.
pub fn body(mended: bool) {
    let semaphore = Semaphore { permits: AtomicU32::new(0), node: AtomicU32::new(QUEUED) };
    let semaphore = Arc::new(semaphore);
    let releases = thread::spawn({
        let semaphore = Arc::clone(&semaphore);
        move || semaphore.release()
    });
    semaphore.give_up(mended);
    releases.join().unwrap();
    assert_eq!(semaphore.permits.load(SeqCst), 1, "a permit is lost");
}
