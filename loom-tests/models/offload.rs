//! The offload pool under explored schedules.
//!
//! None of these covers: panics (shuttle takes every panic for a failure),
//! more than one worker.

use super::kit::Model;
use selvedge::offload::Pool;
use selvedge::outcome::Outcome;
use selvedge::swap::atomic::fence;
use selvedge::swap::future::block_on;
use selvedge::swap::unmodelled::{AtomicUsize, Ordering};
use selvedge::swap::{Arc, thread};

/// A step that touches nothing.
fn others_may_run() {
    fence(Ordering::SeqCst);
}

/// A job that is dropped while it runs, or before, keeps its permit until it
/// has ended: there is room for the next only then.
///
/// Does not cover: a backlog.
#[test]
fn abandoned_work_keeps_its_permit() {
    let model = Model::new("offload::abandoned_work_keeps_its_permit").executions(70_000);
    model.reaches([false, true], || {
        let caller = thread::spawn(|| {
            let pool = Pool::new(selvedge::nz!(1), 0);
            let running = Arc::new(AtomicUsize::new(0));
            let work = {
                let running = Arc::clone(&running);
                move |_: &_| {
                    running.fetch_add(1, Ordering::Relaxed);
                    others_may_run();
                    running.fetch_sub(1, Ordering::Relaxed);
                }
            };
            let abandoned = block_on(pool.submit(work)).unwrap();
            drop(abandoned);
            let room = pool.try_submit(|_: &_| ()).is_ok();
            assert!(!room || running.load(Ordering::Relaxed) == 0, "room beside running work");
            assert!(block_on(pool.run(|_| ())).is_ok());
            assert_eq!(pool.stats().abandoned, 0);
            room
        });
        caller.join().unwrap()
    });
}

/// The pool is closed while a job is submitted, queued or running: it has one
/// outcome, its own or the cancellation.
///
/// Does not cover: a job that is dropped.
#[test]
fn close_leaves_no_job_without_an_outcome() {
    let model = Model::new("offload::close_leaves_no_job_without_an_outcome");
    model.reaches([false, true], || {
        let pool = Arc::new(Pool::new(selvedge::nz!(1), 1));
        let caller = thread::spawn({
            let pool = Arc::clone(&pool);
            move || block_on(pool.run(|_| 7))
        });
        let closer = thread::spawn(move || pool.close());
        closer.join().unwrap();
        match caller.join().unwrap() {
            Outcome::Ok(7) => true,
            Outcome::Cancelled(_) => false,
            other => panic!("{other:?}"),
        }
    });
}

/// One worker and no backlog: two callers take turns, and never run at once.
///
/// Does not cover: the order of the two.
#[test]
fn never_more_running_than_workers() {
    let model = Model::new("offload::never_more_running_than_workers").executions(10_000);
    model.holds(|| {
        let pool = Arc::new(Pool::new(selvedge::nz!(1), 0));
        let running = Arc::new(AtomicUsize::new(0));
        let callers = [0, 1].map(|_| {
            let (pool, running) = (Arc::clone(&pool), Arc::clone(&running));
            thread::spawn(move || {
                let work = move |_: &_| {
                    assert_eq!(running.fetch_add(1, Ordering::Relaxed), 0, "two at once");
                    others_may_run();
                    running.fetch_sub(1, Ordering::Relaxed);
                };
                assert!(block_on(pool.run(work)).is_ok());
            })
        });
        for caller in callers {
            caller.join().unwrap();
        }
    });
}
