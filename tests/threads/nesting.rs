//! Maps inside maps.

use selvedge::nz;
use selvedge::threads::Threads;
use std::cell::Cell;
use std::num::NonZeroUsize;

/// rayon#592: a waiter never runs a stranger's task, so nothing that is locked
/// around a nested map can be met again further down the same stack.
#[test]
fn a_waiter_runs_no_unrelated_work() {
    std::thread_local!(static DEPTH: Cell<u32> = const { Cell::new(0) });
    let threads = Threads::new().max_workers(nz!(4)).chunk(nz!(1));
    threads.map(0..64, |_| {
        DEPTH.with(|depth| assert_eq!(depth.replace(1), 0, "a second task on this stack"));
        threads.map(0..8, |n: u32| std::hint::black_box(n));
        DEPTH.with(|depth| depth.set(0));
    });
}

#[test]
fn maps_nest_with_one_worker_and_with_many() {
    for workers in [1, 2, 5] {
        let threads = Threads::new().max_workers(NonZeroUsize::new(workers).unwrap());
        let nested = threads.map(0..20_u64, |a| {
            threads
                .map(0..20_u64, |b| {
                    threads.map_range(0..20, |c| a + b + c as u64).iter().sum::<u64>()
                })
                .iter()
                .sum::<u64>()
        });
        let expected: Vec<u64> = (0..20)
            .map(|a| (0..20).map(|b| (0..20).map(|c| a + b + c).sum::<u64>()).sum())
            .collect();
        assert_eq!(nested, expected);
    }
}

#[test]
fn a_source_may_be_a_stream_itself() {
    let threads = Threads::new().max_workers(nz!(3));
    let sum: u64 = threads.stream(
        0..,
        |n: u64| n + 1,
        |inner| threads.stream_here(inner, |n| n * 2, |outer| outer.take(1_000).sum()),
    );
    assert_eq!(sum, (0..1_000).map(|n| (n + 1) * 2).sum());
}
