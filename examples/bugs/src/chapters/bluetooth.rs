//! A driver that works after it was stopped. (SCTBench, `CS.bluetooth_driver`;
//! Qadeer and Wu, KISS, PLDI 2004.)
//!
//! A driver counts the requests in it, itself among them. To stop it is to say
//! so, to leave, and to wait for the count to reach zero; then its memory goes.
//!
//! **The bug.** A request looks whether the driver stops, finds that it does
//! not, and only then counts itself in. In between the driver has stopped.
//!
//! **Mended.** It counts itself in first, and looks then.

use super::prim::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use super::prim::thread;
use std::sync::Arc;

struct Driver {
    inside: AtomicI32,
    stopping: AtomicBool,
    empty: AtomicBool,
    stopped: AtomicBool,
}

impl Driver {
    fn enter(&self, mended: bool) -> bool {
        if mended {
            self.inside.fetch_add(1, SeqCst);
        }
        if self.stopping.load(SeqCst) {
            if mended {
                self.leave();
            }
            return false;
        }
        if !mended {
            self.inside.fetch_add(1, SeqCst);
        }
        true
    }

    fn leave(&self) {
        if self.inside.fetch_sub(1, SeqCst) == 1 {
            self.empty.store(true, SeqCst);
        }
    }

    fn request(&self, mended: bool) {
        if self.enter(mended) {
            assert!(!self.stopped.load(SeqCst), "a request in a stopped driver");
            self.leave();
        }
    }

    fn stop(&self) {
        self.stopping.store(true, SeqCst);
        self.leave();
        while !self.empty.load(SeqCst) {
            thread::yield_now();
        }
        self.stopped.store(true, SeqCst);
    }
}

/// A request while the driver is stopped.
pub fn body(mended: bool) {
    let driver = Arc::new(Driver {
        inside: AtomicI32::new(1),
        stopping: AtomicBool::new(false),
        empty: AtomicBool::new(false),
        stopped: AtomicBool::new(false),
    });
    let stop = thread::spawn({
        let driver = Arc::clone(&driver);
        move || driver.stop()
    });
    driver.request(mended);
    stop.join().unwrap();
}
