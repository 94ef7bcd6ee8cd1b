//! A ring whose stations do not wait for the token. (SCTBench,
//! `CS.token_ring`.)
//!
//! Each of three stations copies the value of the one before it, the first adds
//! one. After a round, all have the same.
//!
//! **The bug.** A station copies whenever it gets the lock, whether the one
//! before it has or not.
//!
//! **Mended.** It waits for its turn.

use super::prim::{
    sync::{Condvar, Mutex},
    thread,
};
use std::sync::Arc;

struct Ring {
    state: Mutex<(usize, [u32; 3])>,
    passed: Condvar,
}

impl Ring {
    fn station(&self, index: usize, mended: bool) {
        let mut state = self.state.lock().unwrap();
        while mended && state.0 != index {
            state = self.passed.wait(state).unwrap();
        }
        state.1[index] = match index {
            0 => state.1[2] + 1,
            _ => state.1[index - 1],
        };
        state.0 += 1;
        self.passed.notify_all();
    }
}

/// One round.
pub fn body(mended: bool) {
    let ring = Arc::new(Ring { state: Mutex::new((0, [0; 3])), passed: Condvar::new() });
    let stations = [0, 1, 2].map(|index| {
        let ring = Arc::clone(&ring);
        thread::spawn(move || ring.station(index, mended))
    });
    for thread in stations {
        thread.join().unwrap();
    }
    let values = ring.state.lock().unwrap().1;
    assert_eq!(values, [1, 1, 1], "somebody did not wait for the token");
}
