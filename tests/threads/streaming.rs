//! The lazy form: bounds, early ends, forgotten iterators.

use super::{Alive, message};
use selvedge::nz;
use selvedge::threads::Threads;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

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
    let pulled = AtomicUsize::new(0);
    let source = (0..10_000_000).inspect(|_| _ = pulled.fetch_add(1, Ordering::SeqCst));
    let consumed = Threads::new().max_workers(nz!(4)).window(nz!(100)).stream(
        source,
        |n: u32| n,
        |mut results| results.by_ref().take(1_000).count(),
    );
    assert_eq!(consumed, 1_000);
    let pulled = pulled.into_inner();
    assert!(pulled <= 1_100, "{pulled} pulled");
}

#[test]
fn nothing_is_pulled_before_the_first_result_is_asked_for() {
    let pulled = AtomicUsize::new(0);
    let source = || (0..100).inspect(|_| _ = pulled.fetch_add(1, Ordering::SeqCst));
    Threads::new().stream(source(), |n| n, |results| assert_eq!(results.size_hint().0, 0));
    Threads::new().stream_here(source(), |n| n, |results| assert_eq!(results.size_hint().0, 0));
    assert_eq!(pulled.load(Ordering::SeqCst), 0);
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
        let (outstanding, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let source = || {
            (0..20_000_u32).inspect(|_| {
                let now = outstanding.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
            })
        };
        let mut threads = Threads::new()
            .max_workers(NonZeroUsize::new(workers).unwrap())
            .window(NonZeroUsize::new(window).unwrap());
        if let Some(chunk) = chunk {
            threads = threads.chunk(NonZeroUsize::new(chunk).unwrap());
        }
        let handed = |_: &u32| _ = outstanding.fetch_sub(1, Ordering::SeqCst);
        let count = threads.stream(source(), |n| n, |results| results.inspect(handed).count());
        assert_eq!(count, 20_000);
        let count = threads.stream_here(source(), |n| n, |results| results.inspect(handed).count());
        assert_eq!(count, 20_000);
        let most = most.into_inner();
        assert!(most <= window, "{most} of {window}");
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

/// Quick items are done by the caller alone, slow ones are shared out: the
/// order, an error's index and a panic's index survive every change of mind.
#[test]
fn quick_and_slow_stretches_take_turns() {
    let slow = |n: u64| (n / 50_000) % 2 == 1 && n % 50_000 < 200;
    let f = |n: u64| {
        if slow(n) {
            (0..20_000).for_each(|_| std::hint::spin_loop());
        }
        n * 2
    };
    let threads = Threads::new().max_workers(nz!(3));
    let mut expected = 0;
    threads.stream(0..250_000, f, |results| {
        for result in results {
            assert_eq!(result, expected * 2);
            expected += 1;
        }
    });
    assert_eq!(expected, 250_000);
    let fail = |n: u64| if n == 201_234 { Err(f(n)) } else { Ok(f(n)) };
    let error = threads.try_map(0.., fail).unwrap_err();
    assert_eq!((error.index, error.into_error()), (201_234, Some(402_468)));
    let boom = |n: u64| if n == 201_234 { panic_any("boom") } else { f(n) };
    threads.stream(0.., boom, |mut results| {
        assert_eq!(results.by_ref().take(201_234).last(), Some(402_466));
        let caught = catch_unwind(AssertUnwindSafe(|| results.next()));
        assert_eq!(message(&*caught.unwrap_err()), "boom");
    });
}

/// A source whose hint says what the test wants it to say.
struct Hinted<I>(I, (usize, Option<usize>));

impl<I: Iterator> Iterator for Hinted<I> {
    type Item = I::Item;
    fn next(&mut self) -> Option<I::Item> {
        self.0.next()
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.1
    }
}

/// A hint is a hint: whatever it says, every item is done, and no memory is
/// taken for what it promises.
#[test]
fn a_source_that_lies_about_its_length_is_not_cut_off() {
    let expected: Vec<u64> = (0..500).collect();
    for hint in [
        (0, Some(0)),
        (1, Some(1)),
        (0, None),
        (usize::MAX, None),
        (usize::MAX, Some(usize::MAX)),
        (usize::MAX - 1, Some(usize::MAX - 1)),
        (10, Some(3)),
    ] {
        for workers in [1, 2, 4] {
            for window in [1, 2, 7, 10_000] {
                let source = || Hinted(0..500_u64, hint);
                let threads = Threads::new()
                    .max_workers(NonZeroUsize::new(workers).unwrap())
                    .window(NonZeroUsize::new(window).unwrap());
                assert_eq!(threads.map(source(), |n| n), expected, "{hint:?} {workers} {window}");
                let streamed: Vec<u64> =
                    threads.stream(source(), |n| n, |results| results.collect());
                assert_eq!(streamed, expected, "{hint:?} {workers} {window}");
                let here: Vec<u64> =
                    threads.stream_here(source(), |n| n, |results| results.collect());
                assert_eq!(here, expected, "{hint:?} {workers} {window}");
                let tried = threads.try_map(source(), Ok::<_, ()>);
                assert_eq!(tried.unwrap(), expected, "{hint:?} {workers} {window}");
            }
        }
    }
}
