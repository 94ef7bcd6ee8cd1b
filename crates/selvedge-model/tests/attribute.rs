//! The attribute: every test that it writes is run here.

use selvedge_model::sync::Arc;
use selvedge_model::sync::atomic::{AtomicU32, Ordering};
use selvedge_model::{model, reachable, thread};

#[model(outcomes = [1, 2], reachable = ["second"])]
fn lost_update() -> u32 {
    let n = Arc::new(AtomicU32::new(0));
    let threads = [0, 1].map(|_| {
        let n = Arc::clone(&n);
        thread::spawn(move || {
            let seen = n.load(Ordering::SeqCst);
            if seen == 1 {
                reachable!("second");
            }
            n.store(seen + 1, Ordering::SeqCst);
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
    n.load(Ordering::SeqCst)
}

// Relaxed stores and loads: only weak memory sees neither.
#[model(outcomes = [(0, 1), (1, 0), (1, 1)], weak = [(0, 0)], executions = 10_000)]
fn store_buffering() -> (u32, u32) {
    let cells = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let [a, b] = [0, 1].map(|mine| {
        let cells = Arc::clone(&cells);
        thread::spawn(move || {
            cells[mine].store(1, Ordering::Relaxed);
            cells[1 - mine].load(Ordering::Relaxed)
        })
    });
    (a.join().unwrap(), b.join().unwrap())
}

#[model(engines(stress, shuttle), preemptions = 1, steps = 100, seconds = 5, time = any)]
fn asserts_inside() {
    let n = Arc::new(AtomicU32::new(0));
    let m = Arc::clone(&n);
    let thread = thread::spawn(move || m.fetch_add(1, Ordering::SeqCst));
    n.fetch_add(1, Ordering::SeqCst);
    thread.join().unwrap();
    assert_eq!(n.load(Ordering::SeqCst), 2);
}
