//! To stop with the lock that the worker needs. (etcd#6873, from GoKer.)
//!
//! A broadcaster merges updates into its state, on a thread of its own. To stop
//! it is to close the channel and to wait for the thread.
//!
//! **The bug.** It waits with the state locked; the thread has an update in
//! hand and needs that lock.
//!
//! **Mended.** The lock is given up before the wait.

use super::prim::{
    sync::{Mutex, mpsc},
    thread,
};
use std::sync::Arc;

/// One update, and a stop.
pub fn body(mended: bool) {
    let (updates, incoming) = mpsc::channel();
    let state = Arc::new(Mutex::new((0, Some(updates))));
    let worker = thread::spawn({
        let state = Arc::clone(&state);
        move || {
            while let Ok(update) = incoming.recv() {
                state.lock().unwrap().0 += update;
            }
        }
    });
    state.lock().unwrap().1.as_ref().unwrap().send(1).unwrap();

    let mut guard = state.lock().unwrap();
    guard.1 = None; // closes the channel
    if mended {
        drop(guard);
        worker.join().unwrap();
    } else {
        worker.join().unwrap();
        drop(guard);
    }
}
