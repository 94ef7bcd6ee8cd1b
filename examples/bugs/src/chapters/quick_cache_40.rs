//! A loader who was overtaken. (quick-cache#40.)
//!
//! Who misses in a cache leaves a placeholder and loads the value; others wait
//! at the placeholder. The loader puts the value in, wakes them, and its guard
//! goes away. A guard that goes away without a value says that the load was
//! given up.
//!
//! **The bug.** If somebody else has put a value in meanwhile, the guard wakes
//! the waiters with its value and forgets that it did: it says that the load
//! was given up, and a waiter that looks only then has been woken for nothing.
//!
//! **Mended.** The guard remembers.

use super::prim::{
    sync::{Condvar, Mutex},
    thread,
};
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq)]
enum Load {
    Running,
    Inserted(u32),
    GivenUp,
}

struct Cache {
    /// The value, and whether it is a placeholder still.
    entry: Mutex<(Option<u32>, bool)>,
    /// How the load is, and whether the waiters were woken.
    load: Mutex<(Load, bool)>,
    woken: Condvar,
}

impl Cache {
    fn insert(&self, value: u32) {
        *self.entry.lock().unwrap() = (Some(value), false);
    }

    fn guard_inserts(&self, value: u32, mended: bool) {
        let mut entry = self.entry.lock().unwrap();
        let mine = entry.1;
        if mine {
            *entry = (Some(value), false);
        }
        drop(entry);
        *self.load.lock().unwrap() = (Load::Inserted(value), true);
        self.woken.notify_all();
        if !mine && !mended {
            self.load.lock().unwrap().0 = Load::GivenUp;
        }
    }

    fn wait(&self) -> u32 {
        let mut load = self.load.lock().unwrap();
        while !load.1 {
            load = self.woken.wait(load).unwrap();
        }
        match load.0 {
            Load::Inserted(value) => value,
            Load::Running | Load::GivenUp => unreachable!("woken without a value"),
        }
    }
}

/// A loader, one who waits, and one who inserts.
pub fn body(mended: bool) {
    let cache = Arc::new(Cache {
        entry: Mutex::new((None, true)),
        load: Mutex::new((Load::Running, false)),
        woken: Condvar::new(),
    });
    let waits = thread::spawn({
        let cache = Arc::clone(&cache);
        move || cache.wait()
    });
    let inserts = thread::spawn({
        let cache = Arc::clone(&cache);
        move || cache.insert(1)
    });
    cache.guard_inserts(2, mended);
    inserts.join().unwrap();
    assert_eq!(waits.join().unwrap(), 2);
}
