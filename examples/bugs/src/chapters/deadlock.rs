//! Two locks, two orders. (SCTBench, `CS.deadlock01`.)
//!
//! Two threads each need two locks.
//!
//! **The bug.** They take them in opposite orders.
//!
//! **Mended.** In the same order.

use super::prim::{sync::Mutex, thread};
use std::sync::Arc;

/// Two threads, two locks.
pub fn body(mended: bool) {
    let locks = Arc::new([Mutex::new(0), Mutex::new(0)]);
    let other = thread::spawn({
        let locks = Arc::clone(&locks);
        move || {
            let (first, second) = if mended { (0, 1) } else { (1, 0) };
            let mut a = locks[first].lock().unwrap();
            let mut b = locks[second].lock().unwrap();
            *a += 1;
            *b += 1;
        }
    });
    {
        let mut a = locks[0].lock().unwrap();
        let mut b = locks[1].lock().unwrap();
        *a += 1;
        *b += 1;
    }
    other.join().unwrap();
}
