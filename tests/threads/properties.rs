//! The ordered map over threads agrees with a sequential one, whatever the
//! workers, windows, chunks and delays.

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use selvedge::outcome::Outcome;
use selvedge::threads::{MapErrorKind, OnError, Threads};
use std::cell::Cell;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

fn config(name: &str) -> ProptestConfig {
    let path = format!("{}/proptest-regressions/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    ProptestConfig {
        cases: 64,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(path.leak()))),
        ..ProptestConfig::default()
    }
}

/// An item: what it takes and how it ends.
#[derive(Debug, Clone, Copy)]
struct Item {
    value: u32,
    spins: u8,
    yields: u8,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Good,
    Error,
    Panic,
}

impl Item {
    /// Takes its time; no clock, so that a run is as quick as it can be.
    fn delay(self) {
        for _ in 0..u32::from(self.spins) * 20 {
            std::hint::spin_loop();
        }
        for _ in 0..self.yields {
            std::thread::yield_now();
        }
    }

    fn run(self) -> Result<u32, u32> {
        self.delay();
        match self.end {
            End::Good => Ok(self.value.wrapping_mul(3)),
            End::Error => Err(self.value),
            End::Panic => resume_unwind(Box::new(self.value)),
        }
    }
}

fn items(bad: u32) -> impl Strategy<Value = Vec<Item>> {
    let end = prop_oneof![
        100 => Just(End::Good),
        bad => Just(End::Error),
        bad => Just(End::Panic),
    ];
    let item = (any::<u32>(), any::<u8>(), 0..3_u8, end)
        .prop_map(|(value, spins, yields, end)| Item { value, spins, yields, end });
    prop::collection::vec(item, 0..150)
}

/// Workers, window, chunk.
fn setups() -> impl Strategy<Value = (Threads<'static>, Option<usize>)> {
    (1..9_usize, prop::option::of(1..80_usize), prop::option::of(1..20_usize)).prop_map(
        |(workers, window, chunk)| {
            let some = |n| NonZeroUsize::new(n).expect("from one up");
            let mut threads = Threads::new().max_workers(some(workers));
            if let Some(window) = window {
                threads = threads.window(some(window));
            }
            if let Some(chunk) = chunk {
                threads = threads.chunk(some(chunk));
            }
            (threads, window)
        },
    )
}

/// The first item that does not end well, and how.
fn first_bad(items: &[Item]) -> Option<(usize, End, u32)> {
    let at = items.iter().position(|item| item.end != End::Good)?;
    Some((at, items[at].end, items[at].value))
}

proptest! {
    #![proptest_config(config("threads"))]

    /// Every form gives what a sequential map gives.
    #[test]
    fn equals_the_sequential_map(items in items(0), (threads, _) in setups()) {
        let f = |item: Item| item.run().expect("all are good");
        let expected: Vec<u32> = items.iter().map(|item| item.value.wrapping_mul(3)).collect();
        prop_assert_eq!(&threads.map(items.iter().copied(), f), &expected);
        prop_assert_eq!(&threads.map_slice(&items, |item| f(*item)), &expected);
        prop_assert_eq!(&threads.map_range(0..items.len(), |i| f(items[i])), &expected);
        let streamed: Vec<u32> = threads.stream(&items, |item| f(*item), |results| results.collect());
        prop_assert_eq!(&streamed, &expected);
        let here: Vec<u32> = threads.stream_here(&items, |item| f(*item), |results| results.collect());
        prop_assert_eq!(&here, &expected);
        prop_assert_eq!(threads.try_map(items.iter().copied(), Item::run), Ok(expected));
    }

    /// The lowest index that fails is what is reported, in the stopping forms,
    /// and what is before it is delivered.
    #[test]
    fn the_lowest_failure_is_reported(items in items(3), (threads, _) in setups()) {
        let bad = first_bad(&items);
        match (threads.try_map(items.iter().copied(), Item::run), bad) {
            (Ok(all), None) => prop_assert_eq!(all.len(), items.len()),
            (Err(error), Some((at, end, value))) => {
                prop_assert_eq!(error.index, at);
                match error.kind {
                    MapErrorKind::Error(error) => {
                        prop_assert_eq!((End::Error, error), (end, value));
                    }
                    MapErrorKind::Panicked(_) => prop_assert_eq!(End::Panic, end),
                }
            }
            (got, bad) => prop_assert!(false, "{got:?} for {bad:?}"),
        }

        let first_panic = items.iter().find(|item| item.end == End::Panic).map(|item| item.value);
        let mapped = catch_unwind(AssertUnwindSafe(|| threads.map_slice(&items, |item| item.run())));
        prop_assert_eq!(mapped.err().and_then(|p| p.downcast_ref().copied()), first_panic);
        let delivered = Cell::new(0);
        let streamed = catch_unwind(AssertUnwindSafe(|| {
            threads.stream(&items, |item| item.run(), |results| {
                results.for_each(|_| delivered.set(delivered.get() + 1));
            });
        }));
        prop_assert_eq!(streamed.err().and_then(|p| p.downcast_ref().copied()), first_panic);
        let before = items.iter().position(|item| item.end == End::Panic).unwrap_or(items.len());
        prop_assert_eq!(delivered.take(), before);
        let here = catch_unwind(AssertUnwindSafe(|| {
            threads.stream_here(&items, |item| item.run(), |results| {
                results.for_each(|_| delivered.set(delivered.get() + 1));
            });
        }));
        prop_assert_eq!(here.err().and_then(|p| p.downcast_ref().copied()), first_panic);
        prop_assert_eq!(delivered.get(), before);
    }

    /// The error seen first is one that happened; collecting all reports every
    /// item as it ended.
    #[test]
    fn other_policies_tell_the_truth(items in items(5), (threads, _) in setups()) {
        let seen = threads.on_error(OnError::FirstSeen).try_map(items.iter().copied(), Item::run);
        match seen {
            Ok(all) => {
                prop_assert!(first_bad(&items).is_none());
                prop_assert_eq!(all.len(), items.len());
            }
            Err(error) => match error.kind {
                MapErrorKind::Error(value) => {
                    prop_assert_eq!((items[error.index].end, items[error.index].value), (End::Error, value));
                }
                MapErrorKind::Panicked(_) => {
                    prop_assert_eq!(items[error.index].end, End::Panic);
                }
            },
        }
        let all = threads.map_outcomes(items.iter().copied(), Item::run);
        prop_assert_eq!(all.len(), items.len());
        for (item, outcome) in items.iter().zip(all) {
            match outcome {
                Outcome::Ok(value) => {
                    prop_assert_eq!((item.end, item.value.wrapping_mul(3)), (End::Good, value));
                }
                Outcome::Err(value) => prop_assert_eq!((item.end, item.value), (End::Error, value)),
                Outcome::Panicked(_) => prop_assert_eq!(item.end, End::Panic),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    /// What was pulled and not handed out, and what runs at once, stay within
    /// their bounds; a consumer that stops early leaves no item behind.
    #[test]
    fn window_and_workers_are_hard_bounds(
        items in items(0),
        (threads, window) in setups(),
        workers in 1..9_usize,
        take in 0..150_usize,
    ) {
        let threads = threads.max_workers(NonZeroUsize::new(workers).expect("from one up"));
        // Raised and lowered by one each, and never below the truth.
        let (outstanding, most_outstanding) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let handed = Cell::new(0_usize);
        let (running, most_running) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let source = || items.iter().copied().inspect(|_| {
            let now = outstanding.fetch_add(1, Ordering::SeqCst) + 1;
            most_outstanding.fetch_max(now, Ordering::SeqCst);
        });
        let hand = |_| {
            outstanding.fetch_sub(1, Ordering::SeqCst);
            handed.set(handed.get() + 1);
        };
        let f = |item: Item| {
            most_running.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let result = item.run();
            running.fetch_sub(1, Ordering::SeqCst);
            result
        };
        threads.stream(source(), f, |results| results.take(take).for_each(hand));
        prop_assert_eq!(handed.take(), take.min(items.len()));
        outstanding.store(0, Ordering::SeqCst);
        threads.stream_here(source(), f, |results| results.take(take).for_each(hand));
        prop_assert_eq!(handed.take(), take.min(items.len()));
        prop_assert_eq!(running.into_inner(), 0);
        prop_assert!(most_running.into_inner() <= workers);
        if let Some(window) = window {
            prop_assert!(most_outstanding.into_inner() <= window);
        }
    }

    /// Maps nest.
    #[test]
    fn nested_maps_agree(
        items in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20),
        (outer, _) in setups(),
        (inner, _) in setups(),
    ) {
        let sums = outer.map_slice(&items, |row| {
            inner.map(row.iter().copied(), u32::from).into_iter().sum::<u32>()
        });
        let expected: Vec<u32> =
            items.iter().map(|row| row.iter().copied().map(u32::from).sum()).collect();
        prop_assert_eq!(sums, expected);
    }
}
