//! A flag that overtakes its value. (SCTBench, `CS.reorder_3`, `_10`, `_20`.)
//!
//! Setters publish a pair: first `a`, then `b`. A checker looks at both and
//! wants all of the pair or nothing of it.
//!
//! **The bug.** There is a moment between the two stores. A checker that comes
//! then sees half of a pair. With many setters it is a rare sight: every setter
//! that has begun must stand still between its two stores.
//!
//! **Mended.** The pair has a lock.

use super::prim::sync::Mutex;
use super::prim::sync::atomic::{AtomicI32, Ordering::SeqCst};
use super::prim::thread;
use std::sync::Arc;

struct Pair {
    a: AtomicI32,
    b: AtomicI32,
    lock: Mutex<()>,
}

impl Pair {
    fn set(&self, mended: bool) {
        let _guard = mended.then(|| self.lock.lock().unwrap());
        self.a.store(1, SeqCst);
        self.b.store(-1, SeqCst);
    }

    fn check(&self, mended: bool) {
        let _guard = mended.then(|| self.lock.lock().unwrap());
        let pair = (self.a.load(SeqCst), self.b.load(SeqCst));
        assert!(matches!(pair, (0, 0) | (1, -1)), "half of a pair: {pair:?}");
    }
}

fn with(setters: usize, mended: bool) {
    let pair = Pair { a: AtomicI32::new(0), b: AtomicI32::new(0), lock: Mutex::new(()) };
    let pair = Arc::new(pair);
    let setters: Vec<_> = (0..setters)
        .map(|_| {
            let pair = Arc::clone(&pair);
            thread::spawn(move || pair.set(mended))
        })
        .collect();
    let checker = thread::spawn(move || pair.check(mended));
    for thread in setters {
        thread.join().unwrap();
    }
    checker.join().unwrap();
}

/// Two setters and a checker.
pub fn of_3(mended: bool) {
    with(2, mended);
}

/// Nine setters and a checker.
pub fn of_10(mended: bool) {
    with(9, mended);
}

/// Nineteen setters and a checker.
pub fn of_20(mended: bool) {
    with(19, mended);
}
