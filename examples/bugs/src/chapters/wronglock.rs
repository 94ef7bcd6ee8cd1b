//! The wrong lock. (SCTBench, `CS.wronglock_3`.)
//!
//! A number is guarded by a lock, and all who change it take one.
//!
//! **The bug.** One of them takes another lock than the rest. It checks that
//! the number did not move while it had "the" lock, and it did.
//!
//! **Mended.** They all take the same.

use super::prim::sync::Mutex;
use super::prim::sync::atomic::{AtomicU32, Ordering::SeqCst};
use super::prim::thread;
use std::sync::Arc;

struct Shared {
    data_lock: Mutex<()>,
    this_lock: Mutex<()>,
    number: AtomicU32,
}

impl Shared {
    fn add(&self, lock: &Mutex<()>) {
        let _guard = lock.lock().unwrap();
        let before = self.number.load(SeqCst);
        self.number.store(before + 1, SeqCst);
        assert_eq!(self.number.load(SeqCst), before + 1, "it moved under the lock");
    }
}

/// One thread with one lock, three with another.
pub fn body(mended: bool) {
    let shared = Arc::new(Shared {
        data_lock: Mutex::new(()),
        this_lock: Mutex::new(()),
        number: AtomicU32::new(0),
    });
    let threads: Vec<_> = (0..4)
        .map(|index| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let right = index > 0 || mended;
                shared.add(if right { &shared.data_lock } else { &shared.this_lock });
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
