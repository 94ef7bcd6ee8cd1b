//! To say stop to somebody who waits for you. (moby#28462, from GoKer.)
//!
//! A monitor probes a container now and then, and writes down how it is, under
//! the container's lock. To stop the container is to tell the monitor.
//!
//! **The bug.** The one who stops has the lock, and waits until the monitor has
//! heard; the monitor is in a probe, and waits for the lock.
//!
//! **Mended.** A stop is a channel that is closed: nobody waits for that.

use super::prim::{
    sync::{Mutex, mpsc},
    thread,
};
use std::sync::Arc;

/// At most two probes, and a stop.
pub fn body(mended: bool) {
    let container = Arc::new(Mutex::new(0));
    let (stop, stopped) = mpsc::sync_channel(0);
    let monitor = thread::spawn({
        let container = Arc::clone(&container);
        move || {
            for _ in 0..2 {
                match stopped.try_recv() {
                    Ok(()) | Err(mpsc::TryRecvError::Disconnected) => return,
                    Err(mpsc::TryRecvError::Empty) => *container.lock().unwrap() += 1,
                }
            }
            let _ = stopped.recv();
        }
    });
    let guard = container.lock().unwrap();
    if !mended {
        stop.send(()).unwrap();
    }
    drop(stop);
    drop(guard);
    monitor.join().unwrap();
}
