//! Two take the last job. (SCTBench, `chess.WSQ`; Frigo, Leiserson and Randall,
//! PLDI 1998.)
//!
//! A worker pushes and pops jobs at the tail of its queue, others steal at the
//! head. The worker takes no lock: it moves the tail, and then looks whether a
//! thief was there.
//!
//! **The bug.** It looks first and moves the tail then. A thief that comes in
//! between takes the same job.
//!
//! **Mended.** It moves first; if it meets a thief, it asks again under the
//! thieves' lock.

use super::prim::sync::Mutex;
use super::prim::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use super::prim::thread;
use std::sync::Arc;

struct Queue {
    head: AtomicI32,
    tail: AtomicI32,
    thieves: Mutex<()>,
    taken: [AtomicBool; 2],
}

impl Queue {
    fn pop(&self, mended: bool) -> Option<i32> {
        let tail = self.tail.load(SeqCst) - 1;
        if !mended {
            if self.head.load(SeqCst) > tail {
                return None;
            }
            self.tail.store(tail, SeqCst);
            return Some(tail);
        }
        self.tail.store(tail, SeqCst);
        if self.head.load(SeqCst) <= tail {
            return Some(tail);
        }
        self.tail.store(tail + 1, SeqCst);
        let _guard = self.thieves.lock().unwrap();
        if self.head.load(SeqCst) > tail {
            return None;
        }
        self.tail.store(tail, SeqCst);
        Some(tail)
    }

    fn steal(&self) -> Option<i32> {
        let _guard = self.thieves.lock().unwrap();
        let head = self.head.load(SeqCst);
        self.head.store(head + 1, SeqCst);
        if head < self.tail.load(SeqCst) {
            return Some(head);
        }
        self.head.store(head, SeqCst);
        None
    }

    fn work(&self, job: Option<i32>) {
        if let Some(job) = job {
            let before = self.taken[job as usize].swap(true, SeqCst);
            assert!(!before, "job {job} was done twice");
        }
    }
}

/// A worker with two jobs, and a thief who comes twice.
pub fn body(mended: bool) {
    let queue = Arc::new(Queue {
        head: AtomicI32::new(0),
        tail: AtomicI32::new(2),
        thieves: Mutex::new(()),
        taken: [AtomicBool::new(false), AtomicBool::new(false)],
    });
    let thief = thread::spawn({
        let queue = Arc::clone(&queue);
        move || {
            queue.work(queue.steal());
            queue.work(queue.steal());
        }
    });
    queue.work(queue.pop(mended));
    queue.work(queue.pop(mended));
    thief.join().unwrap();
}
