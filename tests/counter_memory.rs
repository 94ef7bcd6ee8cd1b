//! What the counters leave in memory: a test binary of its own, since it
//! weighs the whole process.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]
#![allow(unsafe_code, reason = "an allocator that counts, with the counter under test")]

use selvedge::counter::{SafeCounter, StripedCounter};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::mpsc;
use std::thread;

struct Weighing;

/// `SafeCounter` may be used in an allocator: it allocates nothing.
static ALLOCATED: SafeCounter = SafeCounter::new();
static FREED: SafeCounter = SafeCounter::new();

// SAFETY: hands everything to `System`.
unsafe impl GlobalAlloc for Weighing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATED.inc_by(layout.size() as u64);
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = FREED.inc_by(layout.size() as u64);
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static GLOBAL: Weighing = Weighing;

fn alive() -> u64 {
    let freed = FREED.value();
    ALLOCATED.value() - freed
}

/// Whatever runs between two weighings, the runtime may keep a little.
const SLACK: u64 = 1024;

/// One test, since tests beside it would be weighed too. Each of its parts,
/// once it has run, leaves nothing more when it runs again.
#[test]
fn counters_and_threads_leave_nothing_behind() {
    for part in [threads_end_first, counters_end_first, thread_outlives_many_counters] {
        part();
        let before = alive();
        part();
        part();
        let grown = alive().saturating_sub(before);
        assert!(grown < SLACK, "{grown} bytes more after two more runs");
    }
}

/// Threads that die before their counters.
fn threads_end_first() {
    let counters: Vec<StripedCounter> = (0..20).map(|_| StripedCounter::new()).collect();
    for _ in 0..3 {
        thread::scope(|scope| {
            let adders: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| counters.iter().for_each(StripedCounter::inc)))
                .collect();
            adders.into_iter().for_each(|adder| adder.join().unwrap());
        });
    }
    assert!(counters.iter().all(|counter| counter.take() == 9));
}

/// Counters that die before their threads, one of their stripes full.
fn counters_end_first() {
    let (done, wait) = mpsc::channel();
    let adder = {
        let counters: Vec<StripedCounter> = (0..20).map(|_| StripedCounter::new()).collect();
        let (ready, counted) = mpsc::channel();
        let adder = thread::spawn(move || {
            counters.iter().for_each(|counter| counter.inc_by(u64::MAX));
            drop(counters);
            ready.send(()).unwrap();
            wait.recv().unwrap();
        });
        counted.recv().unwrap();
        adder
    };
    done.send(()).unwrap();
    adder.join().unwrap();
}

/// What a thread keeps of dropped counters is at most what it needed for those
/// that were alive at one time.
fn thread_outlives_many_counters() {
    let thread = thread::spawn(|| {
        let round = || {
            let counters: Vec<StripedCounter> = (0..8).map(|_| StripedCounter::new()).collect();
            counters.iter().for_each(StripedCounter::inc);
        };
        round();
        let before = alive();
        (0..100).for_each(|_| round());
        let grown = alive().saturating_sub(before);
        assert!(grown < SLACK, "a thread kept {grown} bytes of 800 dropped counters");
    });
    thread.join().unwrap();
}
