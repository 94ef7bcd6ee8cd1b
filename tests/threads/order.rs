//! Order, sizes, borrowing, and how many run at once.

use selvedge::nz;
use selvedge::threads::{self, Pool, Threads};
use std::cell::Cell;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn results_are_in_input_order() {
    for workers in [1, 2, 3, 16] {
        let threads = Threads::new().max_workers(NonZeroUsize::new(workers).unwrap());
        let expected: Vec<u64> = (0..10_000).map(|n| n * 3).collect();
        assert_eq!(threads.map(0..10_000_u64, |n| n * 3), expected);
        let xs: Vec<u64> = (0..10_000).collect();
        assert_eq!(threads.map_slice(&xs, |n| n * 3), expected);
        assert_eq!(threads.map_range(0..10_000, |n| n as u64 * 3), expected);
        assert_eq!(threads.stream(&xs, |n| n * 3, |results| results.collect::<Vec<_>>()), expected);
    }
}

#[test]
fn no_items_and_one_item() {
    let none: [u8; 0] = [];
    assert!(threads::map(none, |n| n).is_empty());
    assert!(Threads::new().map_slice(&none, |n| *n).is_empty());
    assert!(Threads::new().map_range(7..7, |n| n).is_empty());
    assert_eq!(threads::map([7], |n| n), [7]);
    assert_eq!(Threads::new().map_range(7..8, |n| n), [7]);
    assert_eq!(Threads::new().max_workers(nz!(500)).map([7, 8], |n| n), [7, 8]);
    assert_eq!(Threads::new().max_workers(nz!(500)).map_slice(&[7, 8], |n| *n), [7, 8]);
}

#[test]
fn numbers_too_large_are_no_trouble() {
    let expected: Vec<usize> = (0..20).collect();
    let workers = Threads::new().max_workers(NonZeroUsize::MAX);
    for threads in [
        workers,
        workers.window(NonZeroUsize::MAX),
        workers.chunk(nz!(1)),
        workers.chunk(NonZeroUsize::MAX),
        workers.max_workers(nz!(2)).chunk(NonZeroUsize::MAX).window(NonZeroUsize::MAX),
        workers.max_workers(nz!(1)).chunk(NonZeroUsize::MAX).window(NonZeroUsize::MAX),
    ] {
        assert_eq!(threads.map(0..20, |n| n), expected);
        assert_eq!(threads.map_range(0..20, |n| n), expected);
        let streamed: Vec<_> = threads.stream(0..20, |n| n, |results| results.collect());
        assert_eq!(streamed, expected);
    }
}

#[test]
fn zero_sized_items_and_results() {
    assert_eq!(threads::map(vec![(); 1000], |()| ()), vec![(); 1000]);
    assert_eq!(Threads::new().map_slice(&[(); 1000], |()| ()), vec![(); 1000]);
}

#[test]
fn the_source_need_not_be_send_and_everything_may_borrow() {
    let base = String::from("x");
    let pulled = Rc::new(Cell::new(0));
    let source = (0..100).inspect(|_| pulled.set(pulled.get() + 1));
    let borrowed: Vec<&str> = Threads::new().max_workers(nz!(4)).map(source, |_| base.as_str());
    assert_eq!(borrowed, vec!["x"; 100]);
    assert_eq!(pulled.get(), 100);
}

/// A pool that cannot have helpers costs speed and nothing else.
#[test]
fn without_helpers_the_caller_does_everything() {
    let pool = Pool::new(0, None);
    let me = std::thread::current().id();
    let threads = Threads::new().on(&pool).max_workers(nz!(8));
    let here = |_| assert_eq!(std::thread::current().id(), me);
    assert_eq!(threads.map(0..500, here).len(), 500);
    assert_eq!(threads.map_range(0..500, here).len(), 500);
    threads.stream(0.., here, |results| assert_eq!(results.take(500).count(), 500));
    threads.stream_here(0.., here, |results| assert_eq!(results.take(500).count(), 500));
    assert_eq!(pool.helpers(), 0);
}

/// Helpers stay for the next job, are no more than were asked for, and end
/// with their pool.
#[test]
fn helpers_are_used_again() {
    let pool = Pool::new(100, None);
    let threads = Threads::new().on(&pool).max_workers(nz!(4)).chunk(nz!(1));
    for _ in 0..200 {
        let barrier = Barrier::new(4);
        threads.map_range(0..4, |_| barrier.wait().is_leader());
    }
    // One more may be spawned while another is on its way back to idleness.
    assert!((3..100).contains(&pool.helpers()), "{}", pool.helpers());
}

#[test]
fn one_worker_is_the_calling_thread() {
    let me = std::thread::current().id();
    let threads = Threads::new().max_workers(nz!(1));
    assert!(threads.map(0..100, |_| std::thread::current().id()).iter().all(|id| *id == me));
    assert!(threads.map_range(0..100, |_| std::thread::current().id()).iter().all(|id| *id == me));
}

/// Sixteen workers are sixteen closures at once, on however many cores: each
/// waits for all the others.
#[test]
fn as_many_closures_run_at_once_as_workers_are_asked_for() {
    let barrier = Barrier::new(16);
    let threads = Threads::new().max_workers(nz!(16));
    let wait = |n: usize| {
        barrier.wait();
        n
    };
    assert_eq!(threads.map(0..32, wait), (0..32).collect::<Vec<_>>());
    assert_eq!(threads.chunk(nz!(1)).map_range(0..32, wait), (0..32).collect::<Vec<_>>());
}

#[test]
fn never_more_closures_at_once_than_workers() {
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let count = |n: usize| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::yield_now();
        now.fetch_sub(1, Ordering::SeqCst);
        n
    };
    let threads = Threads::new().max_workers(nz!(3)).chunk(nz!(1));
    threads.map(0..2_000, count);
    threads.map_range(0..2_000, count);
    assert!(most.into_inner() <= 3);
}
