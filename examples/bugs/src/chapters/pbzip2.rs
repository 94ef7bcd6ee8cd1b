//! The queue is gone before its users are. (SCTBench, `CB.pbzip2-0.9.4`; Yu and
//! Narayanasamy, ISCA 2009.)
//!
//! A parallel compressor has a queue of blocks. Once all blocks are written,
//! the main thread deletes the queue.
//!
//! **The bug.** That all is written does not say that all consumers have ended:
//! one looks at the queue once more, to find that there is nothing to do.
//!
//! **Mended.** The main thread waits for the consumers to end.

use super::prim::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use super::prim::{sync::Mutex, thread};
use std::sync::Arc;

struct Queue {
    blocks: Mutex<u32>,
    written: AtomicU32,
    deleted: AtomicBool,
}

impl Queue {
    fn take(&self) -> bool {
        let mut blocks = self.blocks.lock().unwrap();
        assert!(!self.deleted.load(SeqCst), "the queue was deleted");
        let any = *blocks > 0;
        *blocks = blocks.saturating_sub(1);
        any
    }
}

/// Two blocks and two consumers.
pub fn body(mended: bool) {
    let queue = Arc::new(Queue {
        blocks: Mutex::new(2),
        written: AtomicU32::new(0),
        deleted: AtomicBool::new(false),
    });
    let mut consumers = Vec::from([0, 1].map(|_| {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            while queue.take() {
                queue.written.fetch_add(1, SeqCst);
            }
        })
    }));
    if mended {
        consumers.drain(..).for_each(|thread| thread.join().unwrap());
    }
    while queue.written.load(SeqCst) < 2 {
        thread::yield_now();
    }
    queue.deleted.store(true, SeqCst);
    consumers.drain(..).for_each(|thread| thread.join().unwrap());
}
