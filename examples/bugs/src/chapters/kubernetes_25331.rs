//! A result that nobody fetches. (kubernetes#25331, from GoKer.)
//!
//! A watch sends its results through a channel. Who has had enough of it says
//! so, and does not read any more.
//!
//! **The bug.** The watch has found an error, and waits for it to be fetched;
//! to cancel does not end that.
//!
//! **Mended.** It waits for either.

use super::prim::sync::atomic::{AtomicBool, Ordering::SeqCst};
use super::prim::{sync::mpsc, thread};
use std::sync::Arc;

/// An error, while the watch is stopped.
pub fn body(mended: bool) {
    let cancelled = Arc::new(AtomicBool::new(false));
    let (results, incoming) = mpsc::sync_channel(0);
    let watch = thread::spawn({
        let cancelled = Arc::clone(&cancelled);
        move || {
            if cancelled.load(SeqCst) {
                return;
            }
            if !mended {
                results.send("an error").unwrap();
                return;
            }
            while results.try_send("an error").is_err() {
                if cancelled.load(SeqCst) {
                    return;
                }
                thread::yield_now();
            }
        }
    });
    if incoming.try_recv().is_err() {
        cancelled.store(true, SeqCst);
    }
    watch.join().unwrap();
    drop(incoming);
}
