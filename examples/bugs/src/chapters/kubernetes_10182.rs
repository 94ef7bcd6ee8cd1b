//! To send with the lock that the receiver needs. (kubernetes#10182, from
//! GoKer.)
//!
//! A manager keeps the status of pods under a lock, and sends each change
//! through a channel to a thread that syncs it.
//!
//! **The bug.** The setter sends with the lock taken, and the syncing thread
//! takes it for every change. One change in hand and another on its way, and
//! both wait for each other.
//!
//! **Mended.** The setter sends after it has given the lock up.

use super::prim::{
    sync::{Mutex, mpsc},
    thread,
};
use std::sync::Arc;

/// Two setters and the syncing thread.
pub fn body(mended: bool) {
    let statuses = Arc::new(Mutex::new([false; 2]));
    let (changes, incoming) = mpsc::sync_channel(0);
    let setters = [0, 1].map(|pod| {
        let (statuses, changes) = (Arc::clone(&statuses), changes.clone());
        thread::spawn(move || {
            let mut statuses = statuses.lock().unwrap();
            statuses[pod] = true;
            if mended {
                drop(statuses);
            }
            changes.send(pod).unwrap();
        })
    });
    for _ in 0..2 {
        let pod: usize = incoming.recv().unwrap();
        let mut statuses = statuses.lock().unwrap();
        statuses[pod] = false;
    }
    for thread in setters {
        thread.join().unwrap();
    }
}
