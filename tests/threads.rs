//! The ordered map over threads, from outside: what it promises, on real
//! threads.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

use selvedge::nz;
use selvedge::outcome::Outcome;
use selvedge::threads::{self, MapErrorKind, OnError, Threads};
use std::cell::Cell;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::rc::Rc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .expect("a text payload")
}

fn caught<R>(f: impl FnOnce() -> R) -> Box<dyn std::any::Any + Send> {
    catch_unwind(AssertUnwindSafe(f)).err().expect("a panic")
}

/// Counts its instances alive.
struct Alive<'c>(&'c AtomicI64);

impl<'c> Alive<'c> {
    fn new(count: &'c AtomicI64) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

// ---- order, borrowing, sizes

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

// ---- streaming

/// rayon#210: results in order while the source goes on for ever.
#[test]
fn an_endless_source_streams() {
    let taken: Vec<u64> =
        Threads::new().stream(0.., |n: u64| n * 2, |results| results.take(5_000).collect());
    assert_eq!(taken, (0..5_000).map(|n| n * 2).collect::<Vec<_>>());
}

/// cpython#74028: the source is pulled no further than the window. Ten million
/// items are on offer, a thousand are consumed.
#[test]
fn stopping_early_leaves_the_source_unpulled() {
    let pulled = Cell::new(0_usize);
    let source = (0..10_000_000).inspect(|_| pulled.set(pulled.get() + 1));
    let consumed = Threads::new().max_workers(nz!(4)).window(nz!(100)).stream(
        source,
        |n: u32| n,
        |mut results| results.by_ref().take(1_000).count(),
    );
    assert_eq!(consumed, 1_000);
    assert!(pulled.get() <= 1_100, "{} pulled", pulled.get());
}

#[test]
fn nothing_is_pulled_before_the_first_result_is_asked_for() {
    let pulled = Cell::new(0_usize);
    let source = (0..100).inspect(|_| pulled.set(pulled.get() + 1));
    Threads::new().stream(source, |n| n, |results| assert_eq!(results.size_hint().0, 0));
    assert_eq!(pulled.get(), 0);
}

/// cpython#131466: pulled and not yet handed out never exceeds the window.
#[test]
fn the_window_is_never_exceeded() {
    for (workers, window, chunk) in [
        (1, 1, None),
        (2, 1, None),
        (4, 2, Some(1)),
        (4, 7, None),
        (4, 64, Some(5)),
        (3, 1000, None),
    ] {
        let outstanding = Cell::new(0_usize);
        let most = Cell::new(0_usize);
        let source = (0..20_000_u32).inspect(|_| {
            outstanding.set(outstanding.get() + 1);
            most.set(most.get().max(outstanding.get()));
        });
        let mut threads = Threads::new()
            .max_workers(NonZeroUsize::new(workers).unwrap())
            .window(NonZeroUsize::new(window).unwrap());
        if let Some(chunk) = chunk {
            threads = threads.chunk(NonZeroUsize::new(chunk).unwrap());
        }
        let count = threads.stream(
            source,
            |n| n,
            |results| results.map(|_| outstanding.set(outstanding.get() - 1)).count(),
        );
        assert_eq!(count, 20_000);
        assert!(most.get() <= window, "{} of {window}", most.get());
    }
}

#[test]
fn a_window_smaller_than_the_workers_still_streams() {
    let threads = Threads::new().max_workers(nz!(8)).window(nz!(1));
    assert_eq!(threads.map(0..500, |n| n), (0..500).collect::<Vec<_>>());
}

/// Dropping the results stops the work: items that were not started are
/// dropped unused, and the rest of `body` runs without helpers at work.
#[test]
fn dropping_the_results_stops_the_work() {
    let alive = AtomicI64::new(0);
    let started = AtomicUsize::new(0);
    Threads::new().max_workers(nz!(4)).window(nz!(64)).chunk(nz!(1)).stream(
        std::iter::repeat_with(|| Alive::new(&alive)),
        |item| {
            started.fetch_add(1, Ordering::SeqCst);
            item
        },
        |mut results| {
            assert!(results.next().is_some());
            drop(results);
        },
    );
    assert!(started.into_inner() <= 64);
    assert_eq!(alive.into_inner(), 0);
}

/// The closure scope joins whether or not the iterator's destructor ran, so
/// nothing of the borrowed stack is touched afterwards.
#[test]
fn forgetting_the_results_is_sound() {
    for _ in 0..200 {
        let at_work = AtomicUsize::new(0);
        Threads::new().max_workers(nz!(4)).chunk(nz!(1)).stream(
            0..,
            |n: u32| {
                at_work.fetch_add(1, Ordering::SeqCst);
                std::hint::spin_loop();
                at_work.fetch_sub(1, Ordering::SeqCst);
                n
            },
            |mut results| {
                assert_eq!(results.next(), Some(0));
                std::mem::forget(results);
            },
        );
        assert_eq!(at_work.load(Ordering::SeqCst), 0, "a helper outlived the call");
    }
}

#[test]
fn a_panic_of_the_consumer_stops_and_joins() {
    let alive = AtomicI64::new(0);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        Threads::new().max_workers(nz!(4)).stream(
            std::iter::repeat_with(|| Alive::new(&alive)),
            |item| item,
            |mut results| {
                results.next();
                panic_any("enough");
            },
        )
    }));
    assert_eq!(message(&*caught.unwrap_err()), "enough");
    assert_eq!(alive.into_inner(), 0);
}

#[test]
fn the_stream_is_fused() {
    Threads::new().max_workers(nz!(2)).stream(
        0..3,
        |n| n,
        |mut results| {
            assert_eq!(results.by_ref().count(), 3);
            assert_eq!(results.next(), None);
            assert_eq!(results.next(), None);
        },
    );
}

// ---- panics

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
    assert!(catch_unwind(AssertUnwindSafe(|| threads.map(0.., boom))).is_err());
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

// ---- errors

#[test]
fn the_first_error_in_order_is_deterministic() {
    for _ in 0..50 {
        let error = Threads::new()
            .max_workers(nz!(8))
            .try_map(0.., |n: usize| if n >= 20 && n.is_multiple_of(2) { Err(n) } else { Ok(()) })
            .unwrap_err();
        assert_eq!((error.index, error.into_error()), (20, Some(20)));
    }
}

#[test]
fn a_panic_below_the_first_error_is_the_one_reported() {
    let error = Threads::new()
        .max_workers(nz!(4))
        .try_map(0..100, |n: u32| match n {
            30 => panic_any("thirty"),
            40 => Err("forty"),
            n => Ok(n),
        })
        .unwrap_err();
    assert_eq!(error.index, 30);
    assert!(matches!(&error.kind, MapErrorKind::Panicked(panic) if panic.message() == "thirty"));
    assert_eq!(error.to_string(), "item 30 panicked: thirty");
}

#[test]
fn the_source_is_not_pulled_much_beyond_an_error() {
    let pulled = Cell::new(0_usize);
    let source = (0..).inspect(|_| pulled.set(pulled.get() + 1));
    let threads = Threads::new().max_workers(nz!(4)).window(nz!(32));
    let error = threads.try_map(source, |n: u32| if n == 100 { Err(()) } else { Ok(()) });
    assert_eq!(error.unwrap_err().index, 100);
    assert!(pulled.get() <= 101 + 32);
}

/// The first error to happen ends everything, even behind an item that is
/// still at work: item 0 here ends only when the error was noticed.
#[test]
fn the_first_error_seen_stops_everything() {
    let failed = AtomicBool::new(false);
    let error = Threads::new()
        .max_workers(nz!(3))
        .on_error(OnError::FirstSeen)
        .try_map(0.., |n: u32| match n {
            0 => {
                while !failed.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                Ok(())
            }
            1 => {
                failed.store(true, Ordering::SeqCst);
                Err("one")
            }
            _ => Ok(()),
        })
        .unwrap_err();
    assert_eq!((error.index, error.into_error()), (1, Some("one")));
}

/// cpython#108518: an error does not end the iteration when all are wanted.
#[test]
fn collecting_all_reports_every_item_once() {
    let ends = Threads::new().max_workers(nz!(4)).map_outcomes(0..300, |n: u32| match n % 3 {
        0 => Ok(n),
        1 => Err(n),
        _ => panic_any("two"),
    });
    assert_eq!(ends.len(), 300);
    for (n, end) in (0..).zip(ends) {
        match (n % 3, end) {
            (0, Outcome::Ok(value)) => assert_eq!(value, n),
            (1, Outcome::Err(error)) => assert_eq!(error, n),
            (2, Outcome::Panicked(panic)) => assert_eq!(panic.message(), "two"),
            (_, other) => panic!("{n}: {other:?}"),
        }
    }
    let ok = Threads::new().stream_outcomes(
        0..,
        |n: u32| if n.is_multiple_of(2) { Ok(n) } else { Err(()) },
        |results| results.take(10).filter(Outcome::is_ok).count(),
    );
    assert_eq!(ok, 5);
}

// ---- nesting

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
        |inner| threads.stream(inner, |n| n * 2, |outer| outer.take(1_000).sum()),
    );
    assert_eq!(sum, (0..1_000).map(|n| (n + 1) * 2).sum());
}

// ---- progress

#[test]
fn progress_is_monotonic_bounded_and_complete() {
    for total in [1_usize, 5, 10_000] {
        let last = AtomicUsize::new(0);
        let caller = std::thread::current().id();
        let hook = |done: usize, of: Option<usize>| {
            assert_eq!(std::thread::current().id(), caller);
            assert_eq!(of, Some(total));
            assert!(done <= total && done >= last.swap(done, Ordering::SeqCst));
        };
        let threads = Threads::new().max_workers(nz!(4)).progress(&hook);
        let xs = vec![0_u8; total];
        threads.map(&xs, |n| *n);
        assert_eq!(last.swap(0, Ordering::SeqCst), total);
        threads.map_slice(&xs, |n| *n);
        assert_eq!(last.swap(0, Ordering::SeqCst), total);
    }
}

/// A source that understates its length never makes `done` exceed `total`.
#[test]
fn progress_never_exceeds_a_total_that_was_wrong() {
    struct Liar(u32);
    impl Iterator for Liar {
        type Item = u32;
        fn next(&mut self) -> Option<u32> {
            self.0 += 1;
            (self.0 <= 50).then_some(self.0)
        }
        fn size_hint(&self) -> (usize, Option<usize>) {
            (3, Some(3))
        }
    }
    let last = AtomicUsize::new(0);
    let hook = |done: usize, of: Option<usize>| {
        assert!(of.is_none_or(|of| done <= of));
        last.store(done, Ordering::SeqCst);
    };
    let all = Threads::new().max_workers(nz!(2)).progress(&hook).map(Liar(0), |n| n);
    assert_eq!((all.len(), last.into_inner()), (50, 50));
}

#[test]
fn a_panicking_progress_hook_stops_and_joins() {
    let alive = AtomicI64::new(0);
    let hook = |_, _| panic_any("hook");
    let threads = Threads::new().max_workers(nz!(4)).progress(&hook);
    let caught = catch_unwind(AssertUnwindSafe(|| threads.map(0..1_000, |_| Alive::new(&alive))));
    assert_eq!(message(&*caught.err().unwrap()), "hook");
    let caught =
        catch_unwind(AssertUnwindSafe(|| threads.map_range(0..1_000, |_| Alive::new(&alive))));
    assert_eq!(message(&*caught.err().unwrap()), "hook");
    assert_eq!(alive.into_inner(), 0);
}

#[test]
fn the_types_are_send_and_sync_where_that_makes_sense() {
    fn both<T: Send + Sync>() {}
    both::<Threads<'static>>();
    both::<threads::MapError<String>>();
}
