//! A test that leans on who comes first. (knative/serving#2137, from GoKer.)
//!
//! A breaker lets one request in at a time. A test starts two, each of which
//! waits, once in, for the test to let it go; then it lets the first go, waits
//! for it to end, and does the same with the second.
//!
//! **The bug.** The second may have got in first: it waits to be let go, the
//! first waits to get in, and the test waits for the first.
//!
//! **Mended.** The test lets both go, and waits then.

use super::prim::{
    sync::{Condvar, Mutex},
    thread,
};
use std::sync::Arc;

/// Something that opens once.
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self { open: Mutex::new(false), opened: Condvar::new() })
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.opened.wait(open).unwrap();
        }
    }
}

/// Two requests.
pub fn body(mended: bool) {
    let breaker = Arc::new(Mutex::new(()));
    let requests = [0, 1].map(|_| {
        let gate = Gate::new();
        let request = thread::spawn({
            let (breaker, gate) = (Arc::clone(&breaker), Arc::clone(&gate));
            move || {
                let _active = breaker.lock().unwrap();
                gate.pass();
            }
        });
        (gate, request)
    });
    if mended {
        requests.iter().for_each(|(gate, _)| gate.open());
    }
    for (gate, request) in requests {
        gate.open();
        request.join().unwrap();
    }
}
