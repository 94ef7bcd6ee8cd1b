//! To shut a door that somebody stands in. (kubernetes#6632, from GoKer.)
//!
//! Each frame that is written resets an idle monitor, through a channel and
//! under the write lock. When the connection closes, the monitor takes the
//! write lock to mark that there is nobody to be reset.
//!
//! **The bug.** The writer has the lock and waits for the monitor to receive;
//! the monitor has seen the close, and waits for the lock.
//!
//! **Mended.** The monitor gives its end of the channel up first: who sends
//! there gets an error.

use super::prim::{
    sync::{Mutex, mpsc},
    thread,
};
use std::sync::Arc;

enum Event {
    Reset,
    Closed,
}

/// A frame, while the connection closes.
pub fn body(mended: bool) {
    let (events, incoming) = mpsc::sync_channel(0);
    let monitored = Arc::new(Mutex::new(true));
    let monitor = thread::spawn({
        let monitored = Arc::clone(&monitored);
        move || {
            while let Ok(Event::Reset) = incoming.recv() {}
            let incoming = (!mended).then_some(incoming);
            *monitored.lock().unwrap() = false;
            drop(incoming);
        }
    });
    let connection = thread::spawn({
        let events = events.clone();
        move || events.send(Event::Closed)
    });
    {
        let monitored = monitored.lock().unwrap();
        if *monitored {
            let _ = events.send(Event::Reset);
        }
    }
    drop(events);
    let _ = connection.join().unwrap();
    monitor.join().unwrap();
}
