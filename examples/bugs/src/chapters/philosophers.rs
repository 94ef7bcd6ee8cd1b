//! Philosophers who all reach to the left. (SCTBench, `CS.din_phil4_sat`;
//! Dijkstra.)
//!
//! Each has a fork to its left and one to its right, shared with the
//! neighbours, and needs both to eat.
//!
//! **The bug.** All take the left one first. If all have one, nobody eats.
//!
//! **Mended.** The last reaches to the right first.

use super::prim::{sync::Mutex, thread};
use std::sync::Arc;

const SEATS: usize = 4;

/// Four of them.
pub fn body(mended: bool) {
    let forks = Arc::new([0; SEATS].map(Mutex::new));
    let philosophers: Vec<_> = (0..SEATS)
        .map(|seat| {
            let forks = Arc::clone(&forks);
            thread::spawn(move || {
                let (mut left, mut right) = (seat, (seat + 1) % SEATS);
                if mended && seat == SEATS - 1 {
                    (left, right) = (right, left);
                }
                let mut one = forks[left].lock().unwrap();
                let mut other = forks[right].lock().unwrap();
                *one += 1;
                *other += 1;
            })
        })
        .collect();
    for thread in philosophers {
        thread.join().unwrap();
    }
}
