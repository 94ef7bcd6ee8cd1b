//! Every number that a caller can give, at its edges: 0 where the type allows
//! it, 1, 2, the largest and one less. Each gives an answer, or an error that
//! names the number and what it is at most; none aborts, panics in a
//! destructor, or takes the memory that it names.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

use selvedge::counter::{SafeCounter, StripedCounter};
use selvedge::gather::gather;
use selvedge::offload;
use selvedge::outcome::Outcome;
use selvedge::pipeline::{Bound, Error, Flow, Input, Pipeline, Reason};
use selvedge::queue;
use selvedge::rate::{Limiter, Rate};
use selvedge::semaphore::Semaphore;
use selvedge::threads::Threads;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

const MAX: usize = usize::MAX;
const FROM_ZERO: [usize; 5] = [0, 1, 2, MAX - 1, MAX];

fn from_one() -> impl Iterator<Item = NonZeroUsize> {
    FROM_ZERO.into_iter().filter_map(NonZeroUsize::new)
}

fn on_tokio<F: Future>(future: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

#[test]
fn threads() {
    let expected: Vec<u64> = (0..300).map(|n| n + 1).collect();
    for n in from_one() {
        for threads in [
            Threads::new().max_workers(n),
            Threads::new().window(n),
            Threads::new().chunk(n),
            Threads::new().max_workers(n).window(n).chunk(n),
        ] {
            let add = |n: u64| n + 1;
            assert_eq!(threads.map(0..300, add), expected, "{threads:?}");
            assert_eq!(threads.map_range(0..300, |n| n as u64 + 1), expected, "{threads:?}");
            assert_eq!(threads.map_slice(&expected, |n| n + 1)[299], 301, "{threads:?}");
            let streamed: Vec<u64> = threads.stream(0..300, add, |results| results.collect());
            assert_eq!(streamed, expected, "{threads:?}");
        }
    }
    let ends = Threads::new().map_range(MAX - 2..MAX, |n| n);
    assert_eq!(ends, [MAX - 2, MAX - 1]);
    let panic = catch_unwind(|| Threads::new().map_range(0..MAX, |n| n)).unwrap_err();
    let panic = panic.downcast::<String>().unwrap();
    assert!(panic.starts_with("no memory for 18446744073709551615 results"), "{panic}");
}

#[test]
fn queues() {
    for n in from_one() {
        let (tx, rx) = queue::bounded(n);
        assert_eq!(tx.capacity(), Some(n));
        let fit = n.get().min(1000);
        let mut items: VecDeque<usize> = (0..fit).collect();
        assert_eq!(tx.try_send_many(&mut items).unwrap(), fit);
        assert_eq!((rx.len(), rx.is_full()), (fit, fit == n.get()));
        let mut into = Vec::new();
        while into.len() < fit {
            rx.recv_many(&mut into, n).unwrap();
        }
        assert!(into.into_iter().eq(0..fit));
    }
    let (tx, rx) = queue::bounded(nz(1));
    for timeout in [Duration::ZERO, Duration::from_nanos(1), Duration::from_nanos(2)] {
        assert!(rx.recv_timeout(timeout).is_err());
    }
    for timeout in [Duration::MAX, Duration::MAX - Duration::from_nanos(1)] {
        tx.send_timeout(1, timeout).unwrap();
        assert_eq!(rx.recv_timeout(timeout).unwrap(), 1);
    }
}

fn nz(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("not zero")
}

#[test]
fn semaphores() {
    for n in FROM_ZERO {
        let semaphore = Semaphore::new(n);
        drop(semaphore.try_acquire_many(n).unwrap());
        assert_eq!(semaphore.available(), n);
        assert!(n == MAX || semaphore.try_acquire_many(n + 1).is_err());
    }
    // What is held counts: giving it back must find room.
    for held in [1, 2, MAX - 1, MAX] {
        let semaphore = Semaphore::new(MAX);
        let permit = semaphore.try_acquire_many(held).unwrap();
        let added = catch_unwind(AssertUnwindSafe(|| semaphore.add_permits(1))).unwrap_err();
        assert_eq!(
            *added.downcast::<String>().unwrap(),
            "1 permits added to 18446744073709551615 are more than 18446744073709551615"
        );
        assert_eq!(semaphore.available(), MAX - held, "nothing was added");
        drop(permit);
        assert_eq!(semaphore.available(), MAX);
        // What is taken out of circulation does not count.
        semaphore.try_acquire_many(held).unwrap().forget();
        semaphore.add_permits(held);
        assert_eq!(semaphore.available(), MAX);
    }
}

#[test]
fn counters() {
    for n in [0, 1, 2, u64::MAX - 1, u64::MAX] {
        let counter = SafeCounter::with_value(n);
        assert_eq!(counter.value(), n);
        for by in [0, 1, 2, u64::MAX - 1, u64::MAX] {
            let counter = SafeCounter::with_value(n);
            match n.checked_add(by) {
                Some(sum) => assert_eq!(counter.inc_by(by), Ok(sum)),
                None => {
                    let overflow = counter.inc_by(by).unwrap_err();
                    assert_eq!((overflow.value, overflow.increment), (n, by));
                    assert_eq!(counter.value(), n);
                }
            }
        }
        let counter = StripedCounter::new();
        (0..3).for_each(|_| counter.inc_by(n));
        assert_eq!(counter.value(), 3 * u128::from(n));
    }
}

#[test]
fn limiters() {
    for n in from_one() {
        for per in
            [Duration::from_nanos(1), Duration::from_nanos(2), Duration::from_nanos(u64::MAX)]
        {
            let limiter = Limiter::builder(Rate::new(n, per)).burst(n).starts_with(n.get()).build();
            assert!(limiter.try_acquire(1).is_ok(), "{n} {per:?}");
            assert!(limiter.most_in(Duration::MAX) > 0);
            let _ = limiter.try_acquire(MAX);
        }
        assert!(Limiter::per_second(n).try_acquire(1).is_ok());
        let limiter = Limiter::builder(Rate::per_second(n)).starts_with(0).catch_up(Duration::MAX);
        assert!(limiter.build().try_acquire(0).is_ok());
    }
}

#[test]
fn offload_pools() {
    for n in from_one() {
        for backlog in FROM_ZERO {
            let pool = offload::Pool::new(n, backlog);
            assert_eq!(on_tokio(pool.run(|_| 7)), Outcome::Ok(7));
        }
    }
}

#[test]
fn gathers() {
    let items = || (0..20).map(|n| async move { Ok::<_, ()>(n) });
    let expected: Vec<i32> = (0..20).collect();
    for n in from_one() {
        on_tokio(async {
            let whole = || gather(items()).limit(n).window(n);
            assert_eq!(whole().try_collect_in_place().await.unwrap(), expected);
            assert_eq!(whole().try_collect().await.unwrap(), expected);
            let within = whole().each_within(Duration::MAX).grace(Duration::MAX);
            assert_eq!(within.try_collect().await.unwrap(), expected);
        });
    }
}

const LINES: &[u8] = b"a:1\nbad\nb:22\na:3\n";

fn input() -> [Input; 1] {
    [Input::reader("lines", LINES)]
}

#[test]
fn pipelines() {
    for n in from_one() {
        let run = |which: usize| {
            let pipeline = Pipeline::key_value();
            match which {
                0 => pipeline.workers(n),
                1 => pipeline.block_size(n),
                2 => pipeline.workers(n).block_size(n).samples(n.get()),
                _ => pipeline.malformed_at_most(n.get() as u64).within(Duration::MAX),
            }
            .run(input())
        };
        for which in 0..4 {
            let report = run(which).unwrap();
            assert_eq!(report.totals.sorted(), [("b", 22), ("a", 4)], "{n} {which}");
            assert_eq!((report.read.lines, report.totals.top(n.get())[0]), (4, ("b", 22)));
        }
        let limited = Pipeline::key_value().max_line(n).run(input());
        match n.get() {
            1 | 2 => assert_eq!(limited.unwrap().read.malformed, 4),
            most => assert_eq!(
                limited.unwrap_err().to_string(),
                format!("max_line is {most}, and at most 1073741824 is possible")
            ),
        }
    }
    let none = Pipeline::key_value().samples(0).within(Duration::ZERO).run(input()).unwrap();
    assert!(none.stopped.is_some() && none.totals.top(0).is_empty());
    let error = Pipeline::key_value().malformed_at_most(0).run(input()).unwrap_err();
    assert!(matches!(error, Error::TooManyMalformed { limit: 0, .. }));
}

#[test]
fn flows() {
    let length = |line: std::sync::Arc<str>| Ok::<usize, Reason>(line.len());
    for n in from_one() {
        let bound = Bound::new(n).waiting(n);
        on_tokio(async {
            let flow = Flow::lines("lines", ["a", "bb", "ccc"])
                .tasks("wait", bound, |line| async move { Ok(line) })
                .threads("measure", bound, length)
                .window(n)
                .samples(n.get())
                .malformed_at_most(n.get() as u64)
                .within(Duration::MAX);
            let report = flow
                .fold(0, |sum, length| {
                    *sum += length;
                    Ok(())
                })
                .await
                .unwrap();
            assert_eq!(report.totals, 6, "{n}");
            let ended = Flow::inputs(input(), n)
                .fold(0, |sum, _| {
                    *sum += 1;
                    Ok(())
                })
                .await;
            match n.get() {
                1 | 2 => assert_eq!(ended.unwrap().read.malformed, 4),
                most => assert_eq!(
                    ended.unwrap_err().to_string(),
                    format!("max_line is {most}, and at most 1073741824 is possible")
                ),
            }
        });
    }
}
