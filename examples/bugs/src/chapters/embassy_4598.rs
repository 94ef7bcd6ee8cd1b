//! A reset that forgets who waits. (embassy#4598.)
//!
//! A signal holds a value, or who waits for one. `reset` is there to throw an
//! old value away.
//!
//! **The bug.** It throws away whatever there is, and who waits is not known
//! any more when the value comes.
//!
//! **Mended.** Only a value is thrown away.

use super::prim::{sync::Mutex, thread};
use std::sync::Arc;

enum State {
    Empty,
    Waiting(thread::Thread),
    Value(u32),
}

struct Signal(Mutex<State>);

impl Signal {
    fn wait(&self) -> u32 {
        loop {
            let mut state = self.0.lock().unwrap();
            if let State::Value(value) = *state {
                *state = State::Empty;
                return value;
            }
            *state = State::Waiting(thread::current());
            drop(state);
            thread::park();
        }
    }

    fn reset(&self, mended: bool) {
        let mut state = self.0.lock().unwrap();
        if !mended || matches!(*state, State::Value(_)) {
            *state = State::Empty;
        }
    }

    fn signal(&self, value: u32) {
        let before = std::mem::replace(&mut *self.0.lock().unwrap(), State::Value(value));
        if let State::Waiting(thread) = before {
            thread.unpark();
        }
    }
}

/// One waits; the other resets, and signals.
pub fn body(mended: bool) {
    let signal = Arc::new(Signal(Mutex::new(State::Empty)));
    let waits = thread::spawn({
        let signal = Arc::clone(&signal);
        move || signal.wait()
    });
    signal.reset(mended);
    signal.signal(1);
    assert_eq!(waits.join().unwrap(), 1);
}
