//! The progress hook.

use super::{Alive, message};
use selvedge::nz;
use selvedge::threads::{self, Threads};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

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
