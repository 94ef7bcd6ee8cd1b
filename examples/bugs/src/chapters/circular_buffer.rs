//! Who is not due gives up instead of waiting. (SCTBench,
//! `CS.circular_buffer`.)
//!
//! A sender and a receiver take turns at a buffer: one writes 0, 1, 2, the
//! other reads 0, 1, 2.
//!
//! **The bug.** Who finds that it is not its turn does not wait: it goes on with
//! the next number, and the two count differently from there.
//!
//! **Mended.** It waits for its turn.

use super::prim::{
    sync::{Condvar, Mutex},
    thread,
};
use std::sync::Arc;

struct Buffer {
    slot: Mutex<Option<u32>>,
    turned: Condvar,
}

impl Buffer {
    fn send(&self, number: u32, mended: bool) {
        let mut slot = self.slot.lock().unwrap();
        while mended && slot.is_some() {
            slot = self.turned.wait(slot).unwrap();
        }
        if slot.is_none() {
            *slot = Some(number);
            self.turned.notify_one();
        }
    }

    fn receive(&self, number: u32, mended: bool) {
        let mut slot = self.slot.lock().unwrap();
        while mended && slot.is_none() {
            slot = self.turned.wait(slot).unwrap();
        }
        if let Some(sent) = slot.take() {
            assert_eq!(sent, number, "the two count differently");
            self.turned.notify_one();
        }
    }
}

/// Three numbers.
pub fn body(mended: bool) {
    let buffer = Arc::new(Buffer { slot: Mutex::new(None), turned: Condvar::new() });
    let sender = thread::spawn({
        let buffer = Arc::clone(&buffer);
        move || (0..3).for_each(|number| buffer.send(number, mended))
    });
    (0..3).for_each(|number| buffer.receive(number, mended));
    sender.join().unwrap();
}
