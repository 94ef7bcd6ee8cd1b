//! Workers are started for tasks, and again after what went wrong with one.
#![cfg(all(target_os = "linux", not(loom)))]
#![allow(missing_docs, reason = "a test binary")]
#![allow(unsafe_code, reason = "kills processes and sets limits")]

mod alone;

use alone::in_a_process_of_its_own;
use selvedge::nz;
use selvedge::outcome::Outcome;
use selvedge::process::{Fault, Pool};
use std::collections::BTreeSet;
use std::fs::File;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, Instant};

fn kill(pid: u32) {
    // SAFETY: sends a signal to a process that this test started.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
}

/// Lowers how many descriptors this process may have.
fn limit_descriptors(most: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain calls on this process's own limit.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = most;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
}

/// All descriptors that are left, until they are dropped.
fn take_all_descriptors() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[test]
fn one_item_starts_one_worker() {
    let pool = Pool::builder().workers(nz!(8)).build().unwrap();
    assert!(pool.worker_pids().is_empty(), "no task, no worker");
    for n in 0..20 {
        assert_eq!(pool.map(|n: u32| n + 1, [n]).unwrap(), [n + 1]);
    }
    assert_eq!(pool.worker_pids().len(), 1, "each task found the worker idle");
    // Tasks that meet need a worker each.
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().to_str().unwrap();
    let meet = |(n, dir): (u32, String)| {
        File::create(format!("{dir}/{n}")).unwrap();
        while std::fs::read_dir(&dir).unwrap().count() < 3 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::process::id()
    };
    let met = pool.map(meet, (0..3).map(|n| (n, here.to_owned()))).unwrap();
    assert_eq!(met.into_iter().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(pool.worker_pids().len(), 3);
}

/// Every worker that waits for work is killed, again and again.
#[test]
fn deaths_of_idle_workers_break_nothing() {
    let pool = Pool::builder().workers(nz!(2)).start_patience(Duration::ZERO).build().unwrap();
    let mut killed = BTreeSet::new();
    for n in 0..30_u32 {
        assert_eq!(pool.map(|n: u32| n + 1, [n, n]).unwrap(), [n + 1; 2], "round {n}");
        for pid in pool.worker_pids() {
            kill(pid);
            killed.insert(pid);
        }
        let end = Instant::now() + Duration::from_secs(60);
        while !pool.worker_pids().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(pool.worker_pids().is_empty(), "an idle pool needs no worker");
    }
    assert!(killed.len() >= 30 && !pool.is_broken(), "{} killed", killed.len());
}

/// No descriptor for a while, when the pool has none of its workers yet and
/// again when it has lost one.
#[test]
fn a_moment_without_descriptors_breaks_nothing() {
    if in_a_process_of_its_own("a_moment_without_descriptors_breaks_nothing") {
        return;
    }
    let pool = Pool::builder().workers(nz!(2)).build().unwrap();
    limit_descriptors(64);
    for round in 0..3_u32 {
        let taken = take_all_descriptors();
        let task = pool.submit(|n: u32| n + 1, round);
        let Err(task) = task.wait_timeout(Duration::from_millis(100)) else {
            panic!("round {round}: a worker was started without descriptors")
        };
        assert!(!pool.is_broken(), "round {round}");
        drop(taken);
        assert_eq!(task.wait().outcome, Outcome::Ok(round + 1), "round {round}");
        for pid in pool.worker_pids() {
            kill(pid);
        }
        while !pool.worker_pids().is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Sixty-four workers are asked for; the system has room for some of them.
#[test]
fn a_pool_goes_on_with_the_workers_there_are() {
    if in_a_process_of_its_own("a_pool_goes_on_with_the_workers_there_are") {
        return;
    }
    limit_descriptors(48);
    let pool = Pool::builder()
        .workers(nz!(64))
        .start_patience(Duration::ZERO)
        .batch(NonZeroU32::MIN)
        .build()
        .unwrap();
    let slow = |n: u32| {
        std::thread::sleep(Duration::from_millis(2));
        (n, std::process::id())
    };
    let mut at_work = BTreeSet::new();
    for (n, end) in pool.map_outcomes(slow, 0..2_000).into_iter().enumerate() {
        let Outcome::Ok((value, pid)) = end.outcome else { panic!("{end:?}") };
        assert_eq!(value, n as u32);
        at_work.insert(pid);
    }
    assert!(!pool.is_broken());
    assert!((4..=24).contains(&at_work.len()), "{} workers", at_work.len());
}

/// A task that was tried again before the pool broke says how often it ran.
#[test]
fn a_task_reports_how_often_it_was_started() {
    let pool = |crashes| {
        Pool::builder()
            .workers(nz!(1))
            .idempotent(NonZeroU32::new(9).unwrap())
            .restart_intensity(crashes, Duration::from_secs(600))
            .build()
            .unwrap()
    };
    let abort = |()| -> u8 { std::process::abort() };
    let report = pool(2).submit(abort, ()).wait();
    assert!(matches!(report.outcome, Outcome::Err(Fault::Broken(_))), "{report:?}");
    assert_eq!(report.attempt, 3);
    let report = pool(100).submit(abort, ()).wait();
    assert!(matches!(report.outcome, Outcome::Crashed(_)), "{report:?}");
    assert_eq!(report.attempt, 9);
    let broken = pool(0);
    assert_eq!(broken.submit(abort, ()).wait().attempt, 1);
    assert_eq!(broken.submit(abort, ()).wait().attempt, 0, "never started");
}

/// Every number that a pool can be given.
#[test]
fn any_number_is_an_answer_or_an_error() {
    const U64: [u64; 4] = [1, 2, u64::MAX - 1, u64::MAX];
    const U32: [u32; 4] = [1, 2, u32::MAX - 1, u32::MAX];
    const USIZE: [usize; 4] = [1, 2, usize::MAX - 1, usize::MAX];
    let check = |what: &str, pool: Pool| {
        let all = pool.map(|n: u32| n + 1, 0..100).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert!(all.into_iter().eq(1..101), "{what}");
        let one = pool.submit(|n: u32| n + 1, 7).wait_timeout(Duration::MAX).unwrap();
        assert_eq!(one.outcome, Outcome::Ok(8), "{what}");
        pool.shutdown();
    };
    let two = || Pool::builder().workers(nz!(2));
    for n in USIZE.map(|n| NonZeroUsize::new(n).unwrap()) {
        check(&format!("workers {n}"), Pool::builder().workers(n).build().unwrap());
        check(&format!("submit_limit {n}"), two().submit_limit(n).build().unwrap());
        let pool = two().build().unwrap();
        let all = pool.stream(|n: u32| n + 1, 0..100, n).map(|end| end.outcome.ok().unwrap());
        assert!(all.eq(1..101), "a window of {n}");
    }
    for n in U64 {
        let tasks = n.try_into().unwrap();
        check(&format!("max_tasks {n}"), two().max_tasks_per_worker(tasks).build().unwrap());
        for deadline in [Duration::from_secs(n), Duration::MAX] {
            check(&format!("deadline {deadline:?}"), two().deadline(deadline).build().unwrap());
        }
        let patience = Duration::from_secs(n);
        check(&format!("patience {patience:?}"), two().start_patience(patience).build().unwrap());
    }
    for n in U32 {
        let attempts = n.try_into().unwrap();
        check(&format!("idempotent {n}"), two().idempotent(attempts).build().unwrap());
        check(&format!("batch {n}"), two().batch(attempts).build().unwrap());
        for period in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            check(
                &format!("intensity {n} {period:?}"),
                two().restart_intensity(n, period).build().unwrap(),
            );
        }
    }
    for n in [0, 1, 2, u64::MAX - 1, u64::MAX] {
        check(&format!("largest {n}"), two().largest_result(n.max(8)).build().unwrap());
        let end = two().largest_result(n).build().unwrap().submit(|n: u64| n, u64::MAX).wait();
        match end.outcome {
            Outcome::Ok(value) => assert!(n > 8 && value == u64::MAX, "largest {n}"),
            Outcome::Err(Fault::Encode(_)) => assert!(n < 8),
            other => panic!("largest {n}: {other:?}"),
        }
        // With no memory no worker starts.
        let pool = two().memory_limit(n).start_patience(Duration::ZERO).build().unwrap();
        match pool.map(|n: u32| n, [7]) {
            Ok(all) => assert!(n > 2 && all == [7], "memory {n}"),
            Err(failed) => {
                assert!(n <= 2 && matches!(failed.outcome, Outcome::Err(Fault::Broken(_))));
            }
        }
    }
    let now = two().deadline(Duration::ZERO).build().unwrap().submit(|n: u32| n, 1).wait();
    assert!(matches!(now.outcome, Outcome::Ok(1) | Outcome::TimedOut(_)), "{now:?}");
}
