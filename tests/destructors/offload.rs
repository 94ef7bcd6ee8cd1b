//! What an offload pool drops: closures that run or do not, values and
//! payloads, and outcomes that nobody waits for. The pool goes on.

use super::{Bomb, Payload, ended, is_panic, ms};
use selvedge::nz;
use selvedge::offload::Pool;
use selvedge::outcome::Outcome;
use selvedge::timeout::Deadline;
use std::panic::panic_any;
use std::sync::mpsc;
use std::time::Duration;

fn run<T>(body: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(body)
}

/// The pool has all its room and its thread.
async fn works(pool: &Pool) {
    assert_eq!(pool.run(|_| 1).await, Outcome::Ok(1));
    assert_eq!(pool.run(|_| 2).await, Outcome::Ok(2));
    assert_eq!((pool.stats().running, pool.stats().queued, pool.stats().abandoned), (0, 0, 0));
}

/// A closure that is not run, because the pool closed, nobody waits or its
/// deadline has passed, ends as a panic where somebody waits.
#[test]
fn of_a_closure_that_is_not_run() {
    for inline in [true, false] {
        let pool = || if inline { Pool::inline() } else { Pool::new(nz!(1), 2) };
        run(async {
            let pool = pool();
            let bomb = Bomb("closure");
            let passed = Deadline::after(Duration::ZERO);
            let late = pool.run_by(passed, move |_| bomb.disarm()).await;
            assert!(is_panic(&late), "{late:?}");
            works(&pool).await;

            let bomb = Bomb("closure");
            pool.close();
            let closed = pool.run(move |_| bomb.disarm()).await;
            assert!(is_panic(&closed), "{closed:?}");
        });
    }
    run(async {
        let pool = Pool::new(nz!(1), 2);
        let (go, gone) = mpsc::channel::<()>();
        let (started, start) = mpsc::channel();
        let first = pool.try_submit(move |_| started.send(()).is_ok() && gone.recv().is_ok());
        let first = first.unwrap();
        start.recv().unwrap();
        let bombs = [Bomb("closure"), Bomb("closure")];
        let [dropped, queued] = bombs.map(|bomb| pool.try_submit(move |_| bomb.disarm()).unwrap());
        // Refused by the thread when its turn comes.
        drop(dropped);
        // Refused now.
        assert_eq!(ended(|| pool.close()), Ok(()));
        go.send(()).unwrap();
        assert_eq!(first.await, Outcome::Ok(true));
        let queued = queued.await;
        assert!(is_panic(&queued), "{queued:?}");
    });
}

/// What a closure holds and what it panics with are its own affair; the thread
/// goes on.
#[test]
fn of_a_closure_that_runs() {
    for pool in [Pool::inline(), Pool::new(nz!(1), 2)] {
        run(async {
            let bomb = Bomb("closure");
            let held = pool.run(move |_| assert_eq!({ &bomb }.0, "closure")).await;
            assert!(is_panic(&held), "{held:?}");
            let payload = pool.run(|_| panic_any(Payload("payload"))).await;
            assert!(is_panic::<(), _>(&payload), "{payload:?}");
            let value = pool.run(|_| Bomb("value")).await;
            assert_eq!(value.ok().map(Bomb::disarm), Some("value"));
            works(&pool).await;
        });
    }
}

/// The value of a job that was dropped: in its thread if it came later, in
/// whoever drops the job if it was there.
#[test]
fn of_a_job_that_is_dropped() {
    run(async {
        let pool = Pool::new(nz!(1), 2);
        let (started, start) = mpsc::channel();
        let job = pool.try_submit(move |work| {
            started.send(()).unwrap();
            while !work.token().is_cancelled() {
                std::thread::yield_now();
            }
            Bomb("late")
        });
        start.recv().unwrap();
        drop(job.unwrap());
        while pool.stats().running > 0 {
            tokio::time::sleep(ms(1)).await;
        }
        works(&pool).await;

        let job = pool.try_submit(|_| Bomb("there")).unwrap();
        // The next has its turn after it.
        works(&pool).await;
        assert_eq!(ended(|| drop(job)), Err("there"));
        works(&pool).await;
    });
}
