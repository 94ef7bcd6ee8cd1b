//! A bell that wakes the wrong one. (rustfs#4498.)
//!
//! A set of workers: `take` waits for a free one, `give` frees it, `wait` waits
//! until all are free.
//!
//! **The bug.** Both kinds of waiting are at one bell, and to give a worker
//! back rings once. If that wakes the one who waits for all, it finds all free
//! and goes; the one who wants a worker sleeps beside a free one.
//!
//! **Mended.** It rings for all.

use super::prim::{
    sync::{Condvar, Mutex},
    thread,
};
use std::sync::Arc;

struct Workers {
    free: Mutex<u32>,
    given: Condvar,
}

impl Workers {
    fn take(&self) {
        let mut free = self.free.lock().unwrap();
        while *free == 0 {
            free = self.given.wait(free).unwrap();
        }
        *free -= 1;
    }

    fn give(&self, mended: bool) {
        *self.free.lock().unwrap() += 1;
        if mended {
            self.given.notify_all();
        } else {
            self.given.notify_one();
        }
    }

    fn wait(&self) {
        let mut free = self.free.lock().unwrap();
        while *free < 1 {
            free = self.given.wait(free).unwrap();
        }
    }
}

/// One worker, and both kinds of waiting.
pub fn body(mended: bool) {
    let workers = Arc::new(Workers { free: Mutex::new(0), given: Condvar::new() });
    let takes = thread::spawn({
        let workers = Arc::clone(&workers);
        move || {
            workers.take();
            workers.give(mended);
        }
    });
    let waits = thread::spawn({
        let workers = Arc::clone(&workers);
        move || workers.wait()
    });
    workers.give(mended);
    takes.join().unwrap();
    waits.join().unwrap();
}
