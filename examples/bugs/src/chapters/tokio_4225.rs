//! A value that two take back. (tokio#4225.)
//!
//! The sender of a oneshot stores the value, marks the channel complete, and
//! takes the value back if it was closed. The receiver closes it, and looks
//! whether it is complete.
//!
//! **The bug.** The sender marks it complete even if it was closed. The
//! receiver then takes the value, and so does the sender.
//!
//! **Mended.** What is closed is never marked complete.

use super::prim::sync::atomic::{AtomicU32, Ordering::SeqCst};
use super::prim::{sync::Mutex, thread};
use std::sync::Arc;

const COMPLETE: u32 = 1;
const CLOSED: u32 = 2;

struct Oneshot {
    state: AtomicU32,
    value: Mutex<Option<u32>>,
}

impl Oneshot {
    fn complete(&self, mended: bool) -> u32 {
        if !mended {
            return self.state.fetch_or(COMPLETE, SeqCst);
        }
        let mut state = self.state.load(SeqCst);
        while state & CLOSED == 0 {
            match self.state.compare_exchange(state, state | COMPLETE, SeqCst, SeqCst) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        state
    }

    fn send(&self, value: u32, mended: bool) -> Result<(), u32> {
        *self.value.lock().unwrap() = Some(value);
        if self.complete(mended) & CLOSED == 0 {
            return Ok(());
        }
        Err(self.value.lock().unwrap().take().expect("somebody took the value"))
    }

    fn close_and_receive(&self) -> Option<u32> {
        self.state.fetch_or(CLOSED, SeqCst);
        if self.state.load(SeqCst) & COMPLETE == 0 {
            return None;
        }
        Some(self.value.lock().unwrap().take().expect("somebody took the value"))
    }
}

/// A value is sent to somebody who closes.
pub fn body(mended: bool) {
    let oneshot = Arc::new(Oneshot { state: AtomicU32::new(0), value: Mutex::new(None) });
    let sender = thread::spawn({
        let oneshot = Arc::clone(&oneshot);
        move || oneshot.send(1, mended)
    });
    let received = oneshot.close_and_receive();
    let sent = sender.join().unwrap();
    assert_eq!(sent.is_ok(), received.is_some(), "the value has two owners, or none");
}
