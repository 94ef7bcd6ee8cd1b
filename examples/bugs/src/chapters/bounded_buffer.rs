//! One bell for two kinds of sleepers. (SCTBench, `inspect.bbuf`; Cargill's
//! `wait`/`notify` puzzle.)
//!
//! Producers wait for room, consumers for items, and all of them at the same
//! condition variable. Who changes something wakes one.
//!
//! **The bug.** The one may be of the wrong kind: it looks, sleeps again, and
//! who should have been woken sleeps for ever.
//!
//! **Mended.** Wake them all.

use super::prim::{
    sync::{Condvar, Mutex},
    thread,
};
use std::sync::Arc;

struct Buffer {
    full: Mutex<bool>,
    changed: Condvar,
}

impl Buffer {
    fn turn(&self, fill: bool, mended: bool) {
        let mut full = self.full.lock().unwrap();
        while *full == fill {
            full = self.changed.wait(full).unwrap();
        }
        *full = fill;
        if mended {
            self.changed.notify_all();
        } else {
            self.changed.notify_one();
        }
    }
}

/// Two producers, two consumers, room for one item.
pub fn body(mended: bool) {
    let buffer = Arc::new(Buffer { full: Mutex::new(false), changed: Condvar::new() });
    let threads = [false, false, true].map(|fill| {
        let buffer = Arc::clone(&buffer);
        thread::spawn(move || buffer.turn(fill, mended))
    });
    buffer.turn(true, mended);
    for thread in threads {
        thread.join().unwrap();
    }
}
