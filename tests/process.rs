//! The process pool from outside: what it returns and in which order.
#![cfg(all(target_os = "linux", not(loom)))]
#![allow(missing_docs, reason = "a test binary")]
#![allow(unsafe_code, reason = "an initializer that sets a variable")]

use selvedge::nz;
use selvedge::outcome::{Crash, Outcome};
use selvedge::process::{BuildError, Busy, Fault, Pool};
use std::time::Duration;

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers.try_into().unwrap()).build().unwrap()
}

fn double(n: u64) -> u64 {
    2 * n
}

#[test]
fn maps_in_order() {
    let pool = pool(2);
    assert_eq!(pool.map(double, 0..3).unwrap(), [0, 2, 4]);
    let expected: Vec<u64> = (0..100_000).map(double).collect();
    assert_eq!(pool.map(|n| 2 * n, 0..100_000).unwrap(), expected);
    assert_eq!(pool.map(double, []).unwrap(), []);
}

#[test]
fn the_first_failure_in_order_stops_a_map() {
    let pool = pool(2);
    for _ in 0..20 {
        let failed = pool
            .map(|n: u32| if n % 40 == 39 { panic!("at {n}") } else { n }, 0..1_000)
            .unwrap_err();
        assert_eq!(failed.index, 39);
        assert!(failed.to_string().starts_with("item 39: panicked: at 39"), "{failed}");
    }
    let failed =
        pool.map(|n: u32| if n == 7 { std::process::abort() } else { n }, 0..).unwrap_err();
    assert_eq!((failed.index, failed.attempt), (7, 1));
    assert_eq!(failed.outcome, Outcome::Crashed(Crash::Signal(6)));
}

#[test]
fn a_functions_own_error_is_an_error() {
    let failed =
        pool(2).try_map(|n: i32| if n == 3 { Err(n) } else { Ok(n) }, 0..1_000).unwrap_err();
    assert_eq!((failed.index, failed.outcome), (3, Outcome::Err(Fault::Task(3))));
    assert_eq!(pool(1).try_map(|n: i32| Ok::<_, ()>(n), 0..3).unwrap(), [0, 1, 2]);
}

#[test]
fn what_serde_refuses_is_an_error_of_that_item() {
    use std::collections::BTreeMap;
    /// Serializes as a map of unknown length, which postcard refuses.
    #[derive(Debug, Clone, PartialEq)]
    struct Odd(bool);
    impl serde::Serialize for Odd {
        fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            if self.0 { Err(serde::ser::Error::custom("odd")) } else { ().serialize(s) }
        }
    }
    impl<'de> serde::Deserialize<'de> for Odd {
        fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
            <()>::deserialize(d).map(|()| Self(false))
        }
    }
    let pool = pool(2);
    let ends = pool.map_outcomes(|odd: Odd| odd.0, [Odd(false), Odd(true), Odd(false)]);
    assert_eq!(ends[0].outcome, Outcome::Ok(false));
    assert!(matches!(ends[1].outcome, Outcome::Err(Fault::Encode(_))), "{:?}", ends[1]);
    assert_eq!(ends[2].outcome, Outcome::Ok(false));
    // All of them, so that nothing else wakes the map.
    let ends = pool.map_outcomes(|odd: Odd| odd.0, [Odd(true), Odd(true)]);
    assert_eq!(ends.len(), 2);
    let ends = pool.map_outcomes(|n: u32| Odd(n == 1), 0..3);
    assert!(matches!(ends[1].outcome, Outcome::Err(Fault::Encode(_))), "{:?}", ends[1]);
    assert_eq!(ends[2].outcome, Outcome::Ok(Odd(false)));
    let map: BTreeMap<String, u32> = [("a".to_owned(), 1)].into();
    let sum = pool.submit(|map: BTreeMap<String, u32>| map.values().sum::<u32>(), map).wait();
    assert_eq!(sum.outcome, Outcome::Ok(1));
}

#[test]
fn sizes_around_every_threshold_cross() {
    let pool = pool(2);
    let sizes = [0, 1, 1_000, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 200_000, 300_000, 5 << 20];
    let bytes = |n: usize| -> Vec<u8> { (0..n).map(|at| (at * 31 % 251) as u8).collect() };
    let turned = |mut bytes: Vec<u8>| {
        bytes.reverse();
        bytes
    };
    for (back, size) in pool.map(turned, sizes.map(bytes)).unwrap().into_iter().zip(sizes) {
        assert!(back == turned(bytes(size)), "{size} bytes");
    }
    // The same through serde, number by number.
    let words = |n: usize| -> Vec<u32> { (0..n as u32).map(|at| at << 15).collect() };
    let turned = |mut words: Vec<u32>| {
        words.reverse();
        words
    };
    for (back, size) in
        pool.map(turned, sizes.map(|n| words(n / 4))).unwrap().into_iter().zip(sizes)
    {
        assert!(back == turned(words(size / 4)), "{size} bytes");
    }
    // Small items, large results, many in a batch; and the other way round.
    let strings = pool.map(|n: usize| "x".repeat(n * 100), 0..600).unwrap();
    assert!(strings.iter().enumerate().all(|(n, string)| string.len() == n * 100));
    assert_eq!(pool.map(|string: String| string.len(), strings).unwrap()[599], 59_900);
}

/// Large payloads use the same memory again and again; what is in it is always
/// the right one's, also when a worker dies over it.
#[test]
fn large_payloads_cross_again_and_again() {
    let pool = Pool::builder()
        .workers(nz!(2))
        .idempotent(std::num::NonZeroU32::new(2).unwrap())
        .build()
        .unwrap();
    let payload = |n: u32| vec![1 << 28 | n; 16_000 + 307 * (n as usize * 31 % 97)];
    let sum = |numbers: &[u32]| numbers.iter().map(|n| u64::from(*n)).sum::<u64>();
    let back = pool
        .map(
            |mut numbers: Vec<u32>| {
                numbers.iter_mut().for_each(|n| *n += 1);
                numbers
            },
            (0..30).map(payload),
        )
        .unwrap();
    for (n, back) in (0..30).zip(back) {
        assert_eq!(sum(&back), sum(&payload(n)) + back.len() as u64, "item {n}");
    }
    let bytes = |n: u8| vec![n; 100_000 + 5_003 * usize::from(n)];
    let ends = pool.map_outcomes(
        |bytes: Vec<u8>| if bytes[0] % 40 == 39 { std::process::abort() } else { bytes },
        (0..100).map(bytes),
    );
    for (n, end) in (0..100).zip(ends) {
        let expected =
            if n % 40 == 39 { Outcome::Crashed(Crash::Signal(6)) } else { Outcome::Ok(bytes(n)) };
        assert!(end.outcome == expected, "item {n}");
    }
}

#[test]
fn a_result_beyond_the_limit_costs_one_task() {
    let refused = |outcome: &dyn std::fmt::Debug| {
        let outcome = format!("{outcome:?}");
        assert!(outcome.contains("Encode") && outcome.contains("largest_result"), "{outcome}");
    };
    // Results that are their bytes, ones that are not, ones that fit the shared memory,
    // and a panic whose text is longer than any result may be.
    let pool = Pool::builder().workers(nz!(1)).largest_result(100_000).build().unwrap();
    let ends = pool.map_outcomes(|n: usize| vec![0_u8; n], [10, 200_000, 90_000]);
    refused(&ends[1].outcome);
    assert!(ends[0].outcome.is_ok() && ends[2].outcome.is_ok(), "{ends:?}");
    let ends = pool.map_outcomes(|n: usize| "x".repeat(n), [10, 200_000, 90_000]);
    refused(&ends[1].outcome);
    assert!(ends[0].outcome.is_ok() && ends[2].outcome.is_ok(), "{ends:?}");
    let pool = Pool::builder().workers(nz!(1)).largest_result(8).build().unwrap();
    let say = |n: usize| if n < 20 { "x".repeat(n) } else { panic!("{}", "x".repeat(n)) };
    let ends = pool.map_outcomes(say, [3, 9, 90_000, 4]);
    refused(&ends[1].outcome);
    assert!(matches!(ends[2].outcome, Outcome::Panicked(_)), "{:?}", ends[2].outcome);
    assert!(ends[0].outcome.is_ok() && ends[3].outcome.is_ok(), "{ends:?}");
}

#[test]
fn a_stream_pulls_no_further_than_its_window() {
    let pool = pool(2);
    let pulled = std::cell::Cell::new(0_u64);
    let source = (0..).inspect(|n| pulled.set(n + 1));
    let mut stream = pool.stream(double, source, nz!(10));
    for n in 0..500 {
        assert_eq!(stream.next().unwrap().outcome, Outcome::Ok(2 * n));
        assert!(pulled.get() <= n + 10, "{} pulled after {n}", pulled.get());
    }
    drop(stream);
    assert_eq!(pool.map(double, [4]).unwrap(), [8]);
}

#[test]
fn submit_wait_and_cancel() {
    let pool = pool(1);
    let nap = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
    let first = pool.submit(nap, 60_000);
    let second = pool.submit(nap, 0);
    let third = pool.submit(nap, 1);
    let second = second.wait_timeout(Duration::from_millis(20)).unwrap_err();
    // One that has not started never will; the one that runs is killed.
    third.cancel();
    assert!(matches!(third.wait().outcome, Outcome::Cancelled(_)));
    first.cancel();
    let report = first.wait();
    assert!(matches!(report.outcome, Outcome::Cancelled(_)), "{report:?}");
    assert_eq!(second.wait().outcome, Outcome::Ok(()));
    // Cancelling what has ended changes nothing.
    let done = pool.submit(double, 4);
    pool.submit(double, 4).wait().into_result().unwrap();
    done.cancel();
    assert_eq!(done.wait().outcome, Outcome::Ok(8));
}

#[test]
fn every_call_has_a_form_with_the_context() {
    let words = ["warp", "weft", "selvedge"].map(str::to_owned).to_vec();
    let pool = Pool::builder().workers(nz!(2)).context(words).build().unwrap();
    let length = |words: &Vec<String>, at: usize| words[at].len();
    assert_eq!(pool.map_with(length, [2, 0]).unwrap(), [8, 4]);
    // Who does not ask for it does not get it.
    assert_eq!(pool.map(double, [2, 1]).unwrap(), [4, 2]);
    assert_eq!(pool.submit(double, 3).wait().outcome, Outcome::Ok(6));
    let found = |words: &Vec<String>, at: usize| words.get(at).cloned().ok_or(at);
    assert_eq!(pool.try_map_with(found, [1]).unwrap(), ["weft"]);
    let failed = pool.try_map_with(found, [1, 7, 8]).unwrap_err();
    assert_eq!((failed.index, failed.outcome), (1, Outcome::Err(Fault::Task(7))));
    let ends = pool.map_outcomes_with(length, [0, 3, 2]);
    assert_eq!(ends[0].outcome, Outcome::Ok(4));
    assert!(matches!(ends[1].outcome, Outcome::Panicked(_)), "{:?}", ends[1]);
    assert_eq!(ends[2].outcome, Outcome::Ok(8));
    let reports: Vec<_> = pool.stream_with(length, [0, 2], nz!(1)).collect();
    assert_eq!(reports[1].outcome, Outcome::Ok(8));
    assert_eq!(pool.submit_with(length, 2).wait().outcome, Outcome::Ok(8));
    assert_eq!(pool.try_submit_with(length, 2).unwrap().wait().outcome, Outcome::Ok(8));
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        assert_eq!(pool.map_async_with(length, [2, 0]).await.unwrap(), [8, 4]);
        assert_eq!(pool.submit_async_with(length, 2).await.await.outcome, Outcome::Ok(8));
    });
}

#[tokio::test]
async fn submitted_tasks_are_bounded() {
    let pool = Pool::builder().workers(nz!(1)).submit_limit(nz!(2)).build().unwrap();
    let nap = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
    let first = pool.submit(nap, 60_000);
    let second = pool.submit(nap, 0);
    assert_eq!(pool.try_submit(nap, 0).unwrap_err(), Busy(0));
    // Somebody waits for a place, changes their mind, and harms nobody.
    let impatient = tokio_test::task::spawn(pool.submit_async(nap, 1)).poll().is_ready();
    assert!(!impatient);
    let mut third = tokio_test::task::spawn(pool.submit_async(nap, 2));
    assert!(third.poll().is_pending());
    // Whose handle is dropped keeps its place until the task ends.
    drop(second);
    assert!(third.poll().is_pending());
    std::thread::scope(|scope| {
        let fourth = scope.spawn(|| pool.submit(nap, 3).wait());
        first.cancel();
        assert!(matches!(first.wait().outcome, Outcome::Cancelled(_)));
        assert_eq!(fourth.join().unwrap().outcome, Outcome::Ok(()));
    });
    assert_eq!(third.await.await.outcome, Outcome::Ok(()));
    // Maps are bounded by their own windows and take no places.
    let last = pool.submit(nap, 0);
    assert_eq!(pool.map(double, 0..100).unwrap().len(), 100);
    drop(last);
}

/// Wakers run foreign code on the pool's thread: one that panics must not take
/// the thread down, or everybody would wait for ever.
#[test]
fn a_panicking_waker_harms_nobody() {
    struct Bomb;
    impl std::task::Wake for Bomb {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("a waker that panics");
        }
    }
    let pool = pool(1);
    let waker = std::sync::Arc::new(Bomb).into();
    let mut handle = pool.submit(|ms| std::thread::sleep(Duration::from_millis(ms)), 20);
    let mut context = std::task::Context::from_waker(&waker);
    assert!(std::pin::Pin::new(&mut handle).poll(&mut context).is_pending());
    assert_eq!(pool.map(double, [4]).unwrap(), [8]);
    assert_eq!(handle.wait().outcome, Outcome::Ok(()));
}

#[test]
fn shutdown_drains_and_terminate_tells_what_was_not_done() {
    let running = pool(2);
    let handles: Vec<_> = (0..200_u64).map(|n| running.submit(double, n)).collect();
    running.shutdown();
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.wait().outcome, Outcome::Ok(2 * n as u64));
    }
    let running = pool(1);
    assert_eq!(running.submit(double, 1).wait().outcome, Outcome::Ok(2));
    let nap = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
    let handles: Vec<_> = (0..5).map(|_| running.submit(nap, 60_000)).collect();
    let ids: Vec<u64> = handles.iter().filter_map(|handle| handle.id()).collect();
    let mut undone = running.terminate();
    undone.sort();
    assert_eq!(undone, ids);
    for handle in handles {
        assert!(matches!(handle.wait().outcome, Outcome::Cancelled(_)));
    }
}

#[test]
fn dropping_a_pool_ends_the_wait_for_its_tasks() {
    let running = pool(2);
    let handle = running.submit(|ms| std::thread::sleep(Duration::from_millis(ms)), 60_000);
    drop(running);
    assert!(matches!(handle.wait().outcome, Outcome::Cancelled(_)));
}

#[test]
fn a_worker_is_replaced_after_its_tasks() {
    let pool = Pool::builder()
        .workers(nz!(1))
        .max_tasks_per_worker(std::num::NonZeroU64::new(10).unwrap())
        .build()
        .unwrap();
    let pids = pool.map(|_: u32| std::process::id(), 0..100).unwrap();
    let mut distinct = pids.clone();
    distinct.dedup();
    assert_eq!(distinct.len(), 10, "{pids:?}");
    assert!(distinct.iter().all(|pid| pids.iter().filter(|p| *p == pid).count() == 10));
}

#[test]
fn environment_and_initializer() {
    let pool = Pool::builder()
        .workers(nz!(2))
        .env("SELVEDGE_TEST", "yes")
        .env_remove("PATH")
        // SAFETY: before any other thread of the worker reads it.
        .initializer(|| unsafe { std::env::set_var("SELVEDGE_TEST_2", "too") })
        .build()
        .unwrap();
    let names = ["SELVEDGE_TEST", "SELVEDGE_TEST_2", "PATH", "SELVEDGE_WORKER"];
    let values = pool.map(|name: String| std::env::var(name).ok(), names.map(str::to_owned));
    assert_eq!(values.unwrap(), [Some("yes".to_owned()), Some("too".to_owned()), None, None]);
}

#[test]
fn an_initializer_that_fails_breaks_the_pool() {
    let broken = Pool::builder()
        .workers(nz!(2))
        .start_patience(Duration::ZERO)
        .initializer(|| panic!("no licence"))
        .build()
        .unwrap();
    let failed = broken.map(double, 0..10).unwrap_err();
    let Outcome::Err(Fault::Broken(why)) = &failed.outcome else { panic!("{failed}") };
    assert!(why.contains("no licence"), "{why}");
    assert!(broken.is_broken());
    assert!(broken.map(double, [1]).is_err());
    broken.shutdown();
    let broken = Pool::builder()
        .workers(nz!(1))
        .start_patience(Duration::ZERO)
        .initializer(|| std::process::exit(9))
        .build()
        .unwrap();
    let failed = broken.map(double, 0..10).unwrap_err();
    assert!(failed.to_string().contains("exited with code 9"), "{failed}");
}

#[test]
fn too_many_crashes_break_the_pool_if_so_told() {
    let pool = Pool::builder()
        .workers(nz!(1))
        .restart_intensity(3, Duration::from_secs(600))
        .build()
        .unwrap();
    let ends = pool.map_outcomes(|_: u32| -> u32 { std::process::abort() }, 0..10);
    let crashed = ends.iter().filter(|end| matches!(end.outcome, Outcome::Crashed(_))).count();
    let broken =
        ends.iter().filter(|end| matches!(end.outcome, Outcome::Err(Fault::Broken(_)))).count();
    assert_eq!((crashed, broken), (4, 6));
}

#[test]
fn a_worker_starts_no_pool() {
    let inner = pool(1)
        .submit(|()| Pool::builder().build().map(drop).map_err(|error| error.to_string()), ())
        .wait();
    let message = "a worker process cannot start a pool of its own".to_owned();
    assert_eq!(inner.outcome, Outcome::Ok(Err(message)));
    assert!(matches!(Pool::builder().build().map(drop), Ok::<(), BuildError>(())));
}

#[test]
fn a_slow_task_does_not_hold_up_its_batch() {
    // Fifty short tasks travel behind one that only ends when they are done.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap().to_owned();
    let pool = Pool::builder()
        .workers(nz!(2))
        .batch(std::num::NonZeroU32::new(100).unwrap())
        .build()
        .unwrap();
    let items: Vec<(String, u32)> = (0..50).map(|n| (path.clone(), n)).collect();
    let meet = |(path, n): (String, u32)| {
        if n == 0 {
            while std::fs::read_dir(&path).unwrap().count() < 49 {
                std::thread::yield_now();
            }
        } else {
            std::fs::write(format!("{path}/{n}"), "").unwrap();
        }
        n
    };
    assert_eq!(pool.map(meet, items).unwrap(), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn async_forms() {
    let pool = pool(2);
    assert_eq!(pool.map_async(double, 0..1_000).await.unwrap()[999], 1998);
    let handles: Vec<_> = (0..10_u64).map(|n| pool.submit(double, n)).collect();
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.await.outcome, Outcome::Ok(2 * n as u64));
    }
    let mut stream = std::pin::pin!(pool.stream(double, 0.., nz!(16)));
    for n in 0..100 {
        let next = std::future::poll_fn(|context| {
            futures_core::Stream::poll_next(stream.as_mut(), context)
        });
        assert_eq!(next.await.unwrap().outcome, Outcome::Ok(2 * n));
    }
}
