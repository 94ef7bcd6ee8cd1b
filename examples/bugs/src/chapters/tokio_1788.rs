//! A wake-up lost to the memory. (tokio#1788.)
//!
//! A worker that finds nothing to do stops searching, says so, and looks at the
//! queue a last time before it sleeps. Who puts a job in wakes a worker, unless
//! one is searching.
//!
//! **The bug.** The one has put the job in and *loads* the number of those who
//! search; the other has left and loads the length of the queue. Both may see
//! what was there before: store buffering. No order of the steps does that, so
//! no engine that only orders steps can find it; loom can.
//!
//! **Mended.** The number is read by an operation that also writes, which comes
//! either before the other's or after it.

use super::prim::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};
use super::prim::thread;
use std::sync::Arc;

struct Pool {
    jobs: AtomicUsize,
    searching: AtomicUsize,
}

/// A worker that goes to sleep, and a job.
pub fn body(mended: bool) {
    let pool = Pool { jobs: AtomicUsize::new(0), searching: AtomicUsize::new(1) };
    let pool = Arc::new(pool);
    let worker = thread::spawn({
        let pool = Arc::clone(&pool);
        move || {
            pool.searching.fetch_sub(1, AcqRel);
            pool.jobs.load(Acquire) == 0
        }
    });
    pool.jobs.store(1, Release);
    let searching = if mended {
        pool.searching.fetch_add(0, AcqRel)
    } else {
        pool.searching.load(Acquire)
    };
    let wakes = searching == 0;
    let sleeps = worker.join().unwrap();
    assert!(wakes || !sleeps, "the worker sleeps, and nobody wakes it");
}
