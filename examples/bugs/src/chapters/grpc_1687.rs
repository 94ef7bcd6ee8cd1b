//! To send through what is closed. (grpc-go#1687, from GoKer.)
//!
//! A handler hands its writes to a transport, unless that is closed. The status
//! is the last of them: after it, the channel of the writes is closed.
//!
//! **The bug.** Another write has looked already, found nothing closed, and
//! sends. In Go that is a panic.
//!
//! **Mended.** To look and to send are one.

use super::prim::sync::atomic::{AtomicBool, Ordering::SeqCst};
use super::prim::{sync::Mutex, thread};
use std::sync::Arc;

struct Transport {
    closed: AtomicBool,
    writes: Mutex<Option<Vec<u32>>>,
}

impl Transport {
    fn write(&self, what: u32, mended: bool) -> bool {
        if self.closed.load(SeqCst) {
            return false;
        }
        let mut writes = self.writes.lock().unwrap();
        if mended && writes.is_none() {
            return false;
        }
        writes.as_mut().expect("send on a closed channel").push(what);
        true
    }

    fn status(&self, mended: bool) {
        self.write(0, mended);
        self.closed.store(true, SeqCst);
        *self.writes.lock().unwrap() = None;
    }
}

/// A write beside the status.
pub fn body(mended: bool) {
    let transport = Transport { closed: AtomicBool::new(false), writes: Mutex::new(Some(vec![])) };
    let transport = Arc::new(transport);
    let handler = thread::spawn({
        let transport = Arc::clone(&transport);
        move || transport.write(1, mended)
    });
    transport.status(mended);
    handler.join().unwrap();
}
