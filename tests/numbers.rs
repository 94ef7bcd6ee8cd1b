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
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Poll, Waker};
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

/// A limit is honoured, also one that is larger than anything that was made
/// room for; every one of the items can be woken.
#[test]
fn as_many_in_place_as_the_limit_says() {
    let items = 70_000;
    for (limit, expected) in [(1, 1), (65_535, 65_535), (65_537, 65_537), (MAX, items)] {
        let (started, open) = (Cell::new(0), Cell::new(false));
        let wakers = RefCell::new(Vec::new());
        let each = (0..items).map(|n| {
            let (mut first, mut yielded) = (true, false);
            let (started, open, wakers) = (&started, &open, &wakers);
            poll_fn(move |context| {
                started.set(started.get() + usize::from(std::mem::take(&mut first)));
                // The later ones give way once more: that is a wake-up while
                // the gather is polled.
                if open.get() && (n < 5000 || std::mem::take(&mut yielded)) {
                    return Poll::Ready(Ok::<_, ()>(n));
                }
                if open.get() {
                    yielded = true;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                wakers.borrow_mut().push(context.waker().clone());
                Poll::Pending
            })
        });
        let mut all = tokio_test::task::spawn(gather(each).limit(nz(limit)).collect_in_place());
        loop {
            let before = started.get();
            assert!(all.poll().is_pending());
            if started.get() == before {
                break;
            }
        }
        assert_eq!(started.get(), expected, "limit {limit}");
        open.set(true);
        wakers.take().into_iter().for_each(Waker::wake);
        let ended = loop {
            assert!(all.is_woken(), "limit {limit}");
            if let Poll::Ready(ended) = all.poll() {
                break ended;
            }
        };
        assert!(ended.unwrap().all().unwrap().into_iter().eq(0..items), "limit {limit}");
    }
}

#[cfg(target_os = "linux")]
mod processes {
    use super::{FROM_ZERO, from_one, nz};
    use selvedge::outcome::Outcome;
    use selvedge::process::{Builder, Fault, Pool};
    use std::num::{NonZeroU32, NonZeroU64};
    use std::time::Duration;

    const EDGES: [u64; 5] = [0, 1, 2, u64::MAX - 1, u64::MAX];
    const EDGES_32: [u32; 4] = [1, 2, u32::MAX - 1, u32::MAX];
    const NANO: Duration = Duration::from_nanos(1);

    fn builder() -> Builder {
        Pool::builder().workers(nz(2))
    }

    fn add(n: u64) -> u64 {
        n + 1
    }

    /// Everything that a pool runs, and its end.
    fn works(builder: Builder, what: &str) {
        let pool = builder.build().unwrap_or_else(|error| panic!("{what}: {error}"));
        let expected: Vec<u64> = (1..41).collect();
        assert_eq!(pool.map(add, 0..40).unwrap(), expected, "{what}");
        let streamed = pool.stream(add, 0..40, nz(3)).map(|report| report.into_result().unwrap());
        assert!(streamed.eq(expected), "{what}");
        assert_eq!(pool.submit(add, 1).wait().outcome, Outcome::Ok(2), "{what}");
        pool.shutdown();
    }

    #[test]
    fn numbers_of_tasks_and_workers() {
        for n in from_one() {
            works(Pool::builder().workers(n), &format!("workers {n}"));
            works(builder().submit_limit(n), &format!("submit_limit {n}"));
            let pool = builder().build().unwrap();
            let reports = pool.stream(add, 0..40, n);
            assert!(reports.map(|report| report.index).eq(0..40), "window {n}");
        }
        for n in EDGES.into_iter().filter_map(NonZeroU64::new) {
            works(builder().max_tasks_per_worker(n), &format!("max_tasks {n}"));
        }
        for n in EDGES_32.into_iter().filter_map(NonZeroU32::new) {
            works(builder().batch(n), &format!("batch {n}"));
            works(builder().idempotent(n), &format!("idempotent {n}"));
        }
        let huge = NonZeroU32::MAX;
        let all = Pool::builder().workers(nz(usize::MAX)).submit_limit(nz(usize::MAX));
        works(all.batch(huge).idempotent(huge).max_tasks_per_worker(NonZeroU64::MAX), "all");
    }

    #[test]
    fn numbers_of_attempts() {
        // A task that takes its worker down is started as often as was said.
        let crash = |_: u64| -> u64 { std::process::abort() };
        for n in [1, 2] {
            let pool = builder().idempotent(NonZeroU32::new(n).unwrap()).build().unwrap();
            assert_eq!(pool.map(crash, [1]).unwrap_err().attempt, n);
        }
        for (crashes, broken) in [(0, true), (1, false), (2, false), (u32::MAX, false)] {
            for period in [NANO, Duration::MAX - NANO, Duration::MAX] {
                let pool = builder().restart_intensity(crashes, period).build().unwrap();
                assert_eq!(pool.map(crash, [1]).unwrap_err().attempt, 1);
                let next = pool.map_outcomes(add, [1]).remove(0).outcome;
                match (broken, next) {
                    (true, Outcome::Err(Fault::Broken(why))) => {
                        assert!(why.contains("restart_intensity: at most 0 crashes in "), "{why}");
                    }
                    (false, Outcome::Ok(2)) => {}
                    (_, next) => panic!("{crashes} in {period:?}: {next:?}"),
                }
            }
        }
        works(builder().restart_intensity(u32::MAX, Duration::ZERO), "crashes in no time");
    }

    #[test]
    fn numbers_of_bytes() {
        for bytes in EDGES {
            let pool = builder().largest_result(bytes).build().unwrap();
            let outcome = pool.map_outcomes(|n: u64| n, [300]).remove(0).outcome;
            match (bytes, outcome) {
                (0 | 1, Outcome::Err(Fault::Encode(why))) => {
                    assert!(why.contains(&format!("{bytes} byte")), "{why}");
                }
                (2.., Outcome::Ok(300)) => {}
                (_, outcome) => panic!("largest_result {bytes}: {outcome:?}"),
            }
            let patience = Duration::from_millis(20);
            let pool = builder().memory_limit(bytes).start_patience(patience).build().unwrap();
            match (bytes, pool.map_outcomes(add, [1]).remove(0).outcome) {
                (0..=2, Outcome::Err(Fault::Broken(why))) => {
                    let named = format!("memory_limit: {bytes} bytes");
                    assert!(why.contains(&named), "{why}");
                }
                (3.., Outcome::Ok(2)) => {}
                (_, outcome) => panic!("memory_limit {bytes}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn durations() {
        for duration in [Duration::MAX - NANO, Duration::MAX] {
            works(builder().deadline(duration), "deadline");
            works(builder().start_patience(duration), "start_patience");
            let pool = builder().build().unwrap();
            assert_eq!(pool.submit(add, 1).wait_timeout(duration).unwrap().outcome, Outcome::Ok(2));
        }
        for duration in [Duration::ZERO, NANO, 2 * NANO] {
            works(builder().start_patience(duration), "start_patience");
            let pool = builder().deadline(duration).build().unwrap();
            let slow = |_: u64| std::thread::sleep(Duration::from_secs(60));
            match pool.map_outcomes(slow, [1]).remove(0).outcome {
                Outcome::TimedOut(passed) => assert_eq!(passed.after(), duration),
                other => panic!("deadline {duration:?}: {other:?}"),
            }
            let waiting = pool.submit(slow, 1).wait_timeout(duration);
            assert!(waiting.is_err() || waiting.is_ok_and(|report| !report.outcome.is_ok()));
        }
    }

    #[test]
    fn maps_on_either_backend() {
        use selvedge::map::{Backend, concurrent_map};
        for workers in FROM_ZERO.map(std::num::NonZeroUsize::new) {
            for backend in [Backend::Thread, Backend::Process] {
                let mapped = concurrent_map(add, [1, 2], backend, workers);
                assert_eq!(mapped, [2, 3], "{backend} {workers:?}");
            }
        }
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
