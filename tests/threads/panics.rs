//! Panics of items, sources and destructors.

use super::{Alive, caught, message};
use selvedge::nz;
use selvedge::threads::Threads;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread::ThreadId;

#[test]
fn a_panic_surfaces_with_its_payload_and_the_lowest_index_wins() {
    for workers in [1, 2, 8] {
        let threads = Threads::new().max_workers(NonZeroUsize::new(workers).unwrap());
        let boom = |n: usize| {
            if n % 100 == 57 {
                panic_any(n);
            }
            n
        };
        let xs: Vec<usize> = (0..1_000).collect();
        for payload in [
            caught(|| threads.map(0..1_000, boom)),
            caught(|| threads.map_slice(&xs, |n| boom(*n))),
            caught(|| threads.map_range(0..1_000, boom)),
        ] {
            assert_eq!(payload.downcast_ref(), Some(&57_usize));
        }
    }
}

#[test]
fn results_before_a_panic_are_delivered_and_nothing_after_it() {
    let threads = Threads::new().max_workers(nz!(4));
    threads.stream(
        0..,
        |n: u32| if n == 1_234 { panic_any("at 1234") } else { n },
        |mut results| {
            for expected in 0..1_234 {
                assert_eq!(results.next(), Some(expected));
            }
            let payload = catch_unwind(AssertUnwindSafe(|| results.next())).unwrap_err();
            assert_eq!(message(&*payload), "at 1234");
            assert_eq!(results.next(), None);
        },
    );
}

/// rayon#638: once a panic is known no further item is started.
#[test]
fn work_does_not_go_on_after_a_panic() {
    let started = AtomicUsize::new(0);
    let threads = Threads::new().max_workers(nz!(4)).chunk(nz!(1)).window(nz!(16));
    let boom = |n: usize| {
        started.fetch_add(1, Ordering::SeqCst);
        if n == 3 {
            panic_any("three");
        }
    };
    assert_eq!(message(&*caught(|| threads.map(0.., boom))), "three");
    assert!(started.swap(0, Ordering::SeqCst) <= 3 + 16);
    // Without a window the others may go on for as long as the panic takes to
    // be noticed; they wait for it here.
    let panicking = AtomicBool::new(false);
    let slow = |n: usize| {
        started.fetch_add(1, Ordering::SeqCst);
        if n == 0 {
            panicking.store(true, Ordering::SeqCst);
            panic_any("zero");
        }
        while !panicking.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    };
    let caught = catch_unwind(AssertUnwindSafe(|| threads.map_range(0..100_000, slow)));
    assert_eq!(message(&*caught.unwrap_err()), "zero");
    assert!(started.into_inner() < 50_000);
}

#[test]
fn a_panic_leaks_nothing() {
    for bad in [0, 1, 500, 999] {
        let alive = AtomicI64::new(0);
        let xs: Vec<usize> = (0..1_000).collect();
        let threads = Threads::new().max_workers(nz!(4));
        let make = |n: usize| if n == bad { panic_any("bad") } else { Alive::new(&alive) };
        assert!(catch_unwind(AssertUnwindSafe(|| threads.map_slice(&xs, |n| make(*n)))).is_err());
        assert_eq!(alive.load(Ordering::SeqCst), 0);
        let source = (0..1_000).map(|n| (n, Alive::new(&alive)));
        let both = |(n, item)| (item, make(n));
        assert!(catch_unwind(AssertUnwindSafe(|| threads.map(source, both))).is_err());
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }
}

/// The source's panic has a place in the order too: after what it yielded.
#[test]
fn a_panic_of_the_source_comes_after_its_items() {
    let alive = AtomicI64::new(0);
    for workers in [1, 4] {
        let source =
            (0..).map(|n| if n == 300 { panic_any("dry") } else { (n, Alive::new(&alive)) });
        Threads::new().max_workers(NonZeroUsize::new(workers).unwrap()).stream(
            source,
            |(n, item): (u32, _)| (item, n),
            |mut results| {
                for expected in 0..300 {
                    assert_eq!(results.next().map(|(_, n)| n), Some(expected));
                }
                let caught = catch_unwind(AssertUnwindSafe(|| results.next().is_some()));
                assert_eq!(message(&*caught.unwrap_err()), "dry");
            },
        );
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }
}

/// Items whose destructors panic: the call still joins everything, and one of
/// the panics surfaces.
#[test]
fn panicking_destructors_do_not_break_the_join() {
    struct Grenade<'a>(&'a AtomicUsize);
    impl Drop for Grenade<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
            if !std::thread::panicking() {
                panic_any("drop");
            }
        }
    }
    let dropped = AtomicUsize::new(0);
    let source = (0..40).map(|_| Grenade(&dropped));
    let threads = Threads::new().max_workers(nz!(3)).chunk(nz!(1));
    let caught = catch_unwind(AssertUnwindSafe(|| threads.map(source, drop)));
    assert_eq!(message(&*caught.unwrap_err()), "drop");
    assert!(dropped.into_inner() >= 1);
}

/// Results whose destructors panic: every one is dropped all the same, and what
/// surfaces is the panic that left them without an owner.
#[test]
fn panicking_destructors_of_results_leak_none_of_them() {
    struct Grenade<'a>(&'a AtomicI64);
    impl Drop for Grenade<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
            if !std::thread::panicking() {
                panic_any("drop");
            }
        }
    }
    for (workers, bad) in [(1, 39), (1, 20), (3, 39)] {
        let alive = AtomicI64::new(0);
        let make = |n: usize| {
            if n == bad {
                panic_any("bad");
            }
            alive.fetch_add(1, Ordering::SeqCst);
            Grenade(&alive)
        };
        let threads = Threads::new().max_workers(NonZeroUsize::new(workers).unwrap()).chunk(nz!(4));
        let caught = catch_unwind(AssertUnwindSafe(|| threads.map_range(0..40, make)));
        let Err(payload) = caught else { panic!("there is no output") };
        assert_eq!(message(&*payload), "bad");
        assert_eq!(alive.load(Ordering::SeqCst), 0, "{workers} workers, bad {bad}");
    }
}

/// An item that is never done may still panic when a helper drops it. The
/// helper stops at an error on the first item of its chunk; both threads are
/// known to be at work since each waits for the other.
#[test]
fn what_was_not_done_and_panics_in_drop_hides_no_error() {
    struct Undone(usize, ThreadId);
    impl Drop for Undone {
        fn drop(&mut self) {
            if std::thread::current().id() != self.1 {
                panic_any("dropped by a helper");
            }
        }
    }
    let (me, both) = (std::thread::current().id(), Barrier::new(2));
    let source = (0..4).map(|n| Undone(n, me));
    let threads = Threads::new().max_workers(nz!(2)).chunk(nz!(2)).window(nz!(4));
    let mapped = threads.try_map(source, |item| {
        let first = item.0 % 2 == 0;
        std::mem::forget(item);
        if first {
            both.wait();
        }
        if std::thread::current().id() == me { Ok(()) } else { Err(()) }
    });
    assert!(mapped.unwrap_err().into_error().is_some());
}
