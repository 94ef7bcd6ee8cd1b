//! To read while one reads. (cockroach#6181, from GoKer.)
//!
//! A cache of ranges has a readers-writer lock. To print it takes the lock for
//! reading, and prints each part, for which it takes it once more.
//!
//! **The bug.** A writer who comes between the two waits for the first to be
//! given up; the second waits for the writer, since a lock that lets readers
//! past a waiting writer would starve it. Go's lock does so, and so does std's
//! on Linux; std's docs say only that to lock twice may deadlock.
//!
//! **Mended.** The parts are printed under the lock that is there.

use super::prim::{sync::RwLock, thread};
use std::sync::Arc;

struct Cache {
    ranges: RwLock<Vec<u32>>,
}

impl Cache {
    fn print(&self, mended: bool) -> u32 {
        let ranges = self.ranges.read().unwrap();
        if mended { ranges.iter().sum() } else { self.part() }
    }

    fn part(&self) -> u32 {
        self.ranges.read().unwrap().iter().sum()
    }
}

/// One prints, one writes.
pub fn body(mended: bool) {
    let cache = Arc::new(Cache { ranges: RwLock::new(vec![1]) });
    let writer = thread::spawn({
        let cache = Arc::clone(&cache);
        move || cache.ranges.write().unwrap().push(2)
    });
    let sum = cache.print(mended);
    assert!(sum == 1 || sum == 3);
    writer.join().unwrap();
}
