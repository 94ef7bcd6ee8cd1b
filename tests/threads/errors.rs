//! The three policies for errors.

use selvedge::nz;
use selvedge::outcome::Outcome;
use selvedge::threads::{MapErrorKind, OnError, Threads};
use std::cell::Cell;
use std::panic::panic_any;
use std::sync::atomic::{AtomicBool, Ordering};

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
