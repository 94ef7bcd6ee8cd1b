//! The offload pool on real threads and on tokio.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

mod support;

use selvedge::nz;
use selvedge::offload::{Job, Pool, SubmitError, Work, to_thread};
use selvedge::outcome::Outcome;
use selvedge::swap::future::block_on;
use selvedge::timeout::{Deadline, with_timeout};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use support::{paused, perturbed};

/// A closure that says when it has started and goes on until it is told.
fn held()
-> (impl FnOnce(&selvedge::offload::Work) -> bool + Send, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (started, has_started) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let work = move |work: &selvedge::offload::Work| {
        started.send(()).unwrap();
        let _ = released.recv();
        work.should_stop()
    };
    (work, has_started, release)
}

#[test]
fn handles_travel() {
    fn is_sync<T: Sync>() {}
    fn is_send<T: Send + 'static>() {}
    is_sync::<Pool>();
    is_send::<Pool>();
    is_send::<Job<u8>>();
}

#[test]
fn abandoned_work_is_counted_and_keeps_its_permit() {
    let pool = Pool::new(nz!(1), 0);
    let (work, has_started, release) = held();
    let job = pool.try_submit(work).unwrap();
    has_started.recv().unwrap();
    assert_eq!((pool.stats().running, pool.stats().abandoned), (1, 0));
    drop(job);
    assert_eq!((pool.stats().running, pool.stats().abandoned), (1, 1));
    let full = pool.try_submit(|_| 1).unwrap_err();
    let SubmitError::Full(given_back) = full else { panic!("{full:?}") };
    release.send(()).unwrap();
    // Waits for the permit, which comes when the closure has ended.
    let Ok(job) = block_on(pool.submit(given_back)) else { panic!("closed") };
    assert_eq!(block_on(job), Outcome::Ok(1));
    assert_eq!((pool.stats().abandoned, pool.stats().abandoned_ever), (0, 1));
}

#[test]
fn a_closure_sees_that_nobody_waits() {
    let pool = Pool::new(nz!(1), 0);
    let (work, has_started, release) = held();
    let (told, tell) = mpsc::channel();
    let job = pool.try_submit(move |w| told.send(work(w))).unwrap();
    has_started.recv().unwrap();
    drop(job);
    release.send(()).unwrap();
    assert!(tell.recv().unwrap());
}

#[test]
fn a_dropped_job_that_was_queued_never_runs() {
    let pool = Pool::new(nz!(1), 1);
    let (work, has_started, release) = held();
    let first = pool.try_submit(work).unwrap();
    has_started.recv().unwrap();
    drop(pool.try_submit(|_| panic!("it ran")).unwrap());
    release.send(()).unwrap();
    assert_eq!(block_on(first), Outcome::Ok(false));
    assert_eq!(block_on(pool.run(|_| 2)), Outcome::Ok(2));
    assert_eq!(pool.stats().abandoned_ever, 0);
}

#[test]
fn a_panic_is_an_outcome_and_the_worker_lives() {
    let pool = Pool::new(nz!(1), 0);
    for _ in 0..3 {
        let ended = block_on(pool.run(|_| -> u8 { panic!("in the pool") }));
        assert!(matches!(ended, Outcome::Panicked(panic) if panic.message() == "in the pool"));
    }
    assert_eq!(block_on(pool.run(|_| 1)), Outcome::Ok(1));
}

#[test]
fn closing_cancels_what_is_queued_and_not_what_runs() {
    let pool = Pool::new(nz!(1), 1);
    let (work, has_started, release) = held();
    let runs = pool.try_submit(work).unwrap();
    has_started.recv().unwrap();
    let queued = pool.try_submit(|_| 1).unwrap();
    drop(pool);
    assert!(matches!(block_on(queued), Outcome::Cancelled(_)));
    release.send(()).unwrap();
    assert_eq!(block_on(runs), Outcome::Ok(false));
}

#[test]
fn a_closed_pool_gives_the_closure_back() {
    let pool = Pool::new(nz!(1), 1);
    pool.close();
    assert!(matches!(pool.try_submit(|_| 1), Err(SubmitError::Closed(_))));
    assert!(matches!(block_on(pool.submit(|_| 1)), Err(SubmitError::Closed(_))));
    assert!(matches!(block_on(pool.run(|_| 1)), Outcome::Cancelled(_)));
}

#[test]
fn a_deadline_that_has_passed_keeps_the_closure_from_starting() {
    let pool = Pool::new(nz!(1), 0);
    let deadline = Some(Deadline::after(Duration::ZERO).named("gone"));
    let ended = block_on(pool.run_by(deadline, |_| panic!("it ran")));
    assert!(matches!(ended, Outcome::TimedOut(which) if which.deadline() == "gone"));
}

#[test]
fn the_deadline_reaches_the_closure() {
    perturbed(|perturb| async move {
        let pool = Pool::inline();
        let deadline = Deadline::after(Duration::from_secs(3));
        let run = pool.run_by(deadline, |work| {
            let seen = selvedge::timeout::current();
            assert_eq!(seen, work.deadline());
            seen.unwrap().remaining()
        });
        assert_eq!(perturb.around(run).await, Outcome::Ok(Duration::from_secs(3)));
    });
}

#[test]
fn inline_work_is_deterministic_on_the_paused_clock() {
    paused().block_on(async {
        let pool = Pool::inline();
        let start = tokio::time::Instant::now();
        let job = pool.submit(|_| 3).await.unwrap();
        assert_eq!(pool.stats().running, 0);
        assert_eq!(job.await, Outcome::Ok(3));
        drop(pool.submit(|_| panic!("never polled, never run")).await.unwrap());
        let panicked = pool.run(|_| -> u8 { panic!("inline") }).await;
        assert!(matches!(panicked, Outcome::Panicked(_)));
        assert_eq!(start.elapsed(), Duration::ZERO);
    });
}

#[test]
fn the_event_loop_goes_on_while_a_closure_runs() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (work, has_started, release) = held();
    runtime.block_on(async {
        let pool = Pool::new(nz!(1), 0);
        let job = pool.submit(work).await.unwrap();
        let (mut started, mut turns) = (false, 0);
        while !started || turns < 100 {
            started |= has_started.try_recv().is_ok();
            tokio::task::yield_now().await;
            turns += 1;
        }
        // The loop turned a hundred times beside it, and now lets it end.
        release.send(()).unwrap();
        assert_eq!(job.await, Outcome::Ok(false));
    });
}

#[test]
fn many_callers_share_the_pool_of_the_process() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..200_u64)
            .map(|n| tokio::spawn(async move { to_thread(move |_| n * n).await }))
            .collect();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), Outcome::Ok((n * n) as u64));
        }
    });
}

#[test]
fn a_runtime_that_is_dropped_abandons_its_jobs_and_leaves_the_pool_usable() {
    let pool = std::sync::Arc::new(Pool::new(nz!(1), 1));
    let (work, has_started, release) = held();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let running = {
        let pool = std::sync::Arc::clone(&pool);
        runtime.spawn(async move { pool.run(work).await })
    };
    let queued = {
        let pool = std::sync::Arc::clone(&pool);
        runtime.spawn(async move { pool.run(|_| panic!("it ran")).await })
    };
    runtime.block_on(async {
        while has_started.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    });
    drop(runtime);
    assert!(block_on(running).unwrap_err().is_cancelled());
    assert!(block_on(queued).unwrap_err().is_cancelled());
    assert_eq!((pool.stats().running, pool.stats().abandoned), (1, 1));
    release.send(()).unwrap();
    assert_eq!(block_on(pool.run(|_| 1)), Outcome::Ok(1));
    assert_eq!((pool.stats().abandoned, pool.stats().abandoned_ever), (0, 1));
}

/// tokio moves a paused clock as soon as no task has anything to do: it must
/// not while one waits for a thread.
#[test]
fn a_paused_clock_stands_while_a_task_waits_for_a_thread() {
    // How often the runtime has found nothing to do.
    let idle = std::sync::Arc::new(AtomicUsize::new(0));
    let parks = std::sync::Arc::clone(&idle);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_park(move || {
            parks.fetch_add(1, SeqCst);
        })
        .build()
        .unwrap();
    // Goes on until it has, and long enough for a clock to move that can.
    let slow = || {
        let (idle, before) = (std::sync::Arc::clone(&idle), idle.load(SeqCst));
        move |_: &Work| {
            while idle.load(SeqCst) == before {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    runtime.block_on(async {
        let minute = Duration::from_secs(60);
        let start = tokio::time::Instant::now();
        let done = with_timeout(to_thread(slow()), minute).await.unwrap();
        assert_eq!(done, Outcome::Ok(()));
        // Waiting for room is waiting for a thread as well.
        let pool = Pool::new(nz!(1), 0);
        let both = async { tokio::join!(pool.run(slow()), pool.run(slow())) };
        let done = with_timeout(both, minute).await.unwrap();
        assert_eq!(done, (Outcome::Ok(()), Outcome::Ok(())));
        assert_eq!(start.elapsed(), Duration::ZERO);

        // It moves again, also while the job is there and not looked at.
        let mut job = pool.submit(slow()).await.ok().unwrap();
        assert!(with_timeout(&mut job, Duration::ZERO).await.is_err());
        tokio::time::sleep(minute).await;
        assert_eq!((job.await, start.elapsed()), (Outcome::Ok(()), minute));
        // And with a job whose outcome nobody awaits any more.
        let (go_on, told) = std::sync::mpsc::channel();
        let (started, has_started) = std::sync::mpsc::channel();
        let until_told = move |_: &Work| {
            started.send(()).unwrap();
            told.recv_timeout(Duration::from_secs(10)).is_ok()
        };
        let mut job = pool.submit(until_told).await.ok().unwrap();
        assert!(with_timeout(&mut job, Duration::ZERO).await.is_err());
        // Dropped before it starts, it would never run.
        has_started.recv().unwrap();
        drop(job);
        tokio::time::sleep(minute).await;
        // It would be gone if it had been waited for.
        go_on.send(()).expect("the job still runs");
    });
}

/// As many closures as there are threads each wait for another of their pool:
/// those run in place.
#[test]
fn work_inside_of_work_runs_in_place() {
    // Within its first poll: if not, the others below would wait for ever.
    let pool = std::sync::Arc::new(Pool::new(nz!(1), 0));
    let inner = std::sync::Arc::clone(&pool);
    let at_once = block_on(pool.run(move |_| {
        let polled = pin!(inner.run(|_| 7)).poll(&mut Context::from_waker(Waker::noop()));
        polled == Poll::Ready(Outcome::Ok(7))
    }));
    assert_eq!(at_once, Outcome::Ok(true));
    for (workers, backlog) in [(nz!(1), 0), (nz!(1), 1), (nz!(2), 0), (nz!(2), 8)] {
        let pool = std::sync::Arc::new(Pool::new(workers, backlog));
        let depth = |pool: std::sync::Arc<Pool>| {
            fn nested(pool: &std::sync::Arc<Pool>, depth: u32) -> u32 {
                if depth == 0 {
                    return 0;
                }
                let inner = std::sync::Arc::clone(pool);
                1 + block_on(pool.run(move |_| nested(&inner, depth - 1))).ok().unwrap()
            }
            let inner = std::sync::Arc::clone(&pool);
            move || block_on(pool.run(move |_| nested(&inner, 5))).ok().unwrap()
        };
        std::thread::scope(|scope| {
            let each = [(); 4].map(|()| scope.spawn(depth(std::sync::Arc::clone(&pool))));
            assert_eq!(each.map(|one| one.join().unwrap()), [5; 4]);
        });
    }
    let outer = |_: &_| block_on(to_thread(|_| 7)).ok();
    let each: Vec<_> =
        (0..32).map(|_| std::thread::spawn(move || block_on(to_thread(outer)))).collect();
    assert!(each.into_iter().all(|one| one.join().unwrap() == Outcome::Ok(Some(7))));
}

/// The closures of two jobs that are queued on a pool's own thread run when
/// they are awaited there.
#[test]
fn a_job_that_is_awaited_on_its_pools_own_thread_runs_there() {
    let pool = std::sync::Arc::new(Pool::new(nz!(1), 2));
    let inner = std::sync::Arc::clone(&pool);
    let here = || std::thread::current().id();
    let outer = block_on(pool.run(move |_| {
        let queued = [(); 2].map(|()| inner.try_submit(move |_| here()).unwrap());
        queued.map(|job| block_on(job).ok().unwrap() == here())
    }));
    assert_eq!(outer, Outcome::Ok([true; 2]));
}

#[test]
#[should_panic(expected = "`Job` polled after completion")]
fn a_job_that_is_polled_after_its_end_says_so() {
    let pool = Pool::new(nz!(1), 0);
    let mut job = pool.try_submit(|_| 1).unwrap();
    assert_eq!(block_on(&mut job), Outcome::Ok(1));
    // Once: a job that said nothing would never wake who waits for it.
    let _ = Pin::new(&mut job).poll(&mut Context::from_waker(Waker::noop()));
}
