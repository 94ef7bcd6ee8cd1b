//! What has a helper thread works in a forked child as it does in its parent,
//! whose threads the child has not.
#![cfg(all(target_os = "linux", not(loom)))]
#![allow(missing_docs, reason = "a test binary")]
#![allow(unsafe_code, reason = "it forks")]

use selvedge::nz;
use selvedge::offload::{Pool, SubmitError, to_thread};
use selvedge::outcome::{Crash, Outcome};
use selvedge::rate::Limiter;
use selvedge::threads::Threads;
use std::sync::{Barrier, mpsc};
use std::time::{Duration, Instant};

/// Whether `test` says so in a forked child, within ten seconds.
fn in_a_child(test: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child touches nothing that another thread of this process may
    // have locked but the allocator, which glibc makes usable in the child.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", std::io::Error::last_os_error());
    if child == 0 {
        // SAFETY: it kills the child if that hangs.
        unsafe { libc::alarm(10) };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)).unwrap_or(false);
        // SAFETY: it ends the child, with nothing of the parent's run.
        unsafe { libc::_exit(i32::from(!ended)) }
    }
    let mut status = 0;
    // SAFETY: our child, and a place for its status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

/// Three permits at a hundred a second, with a runtime of its own.
fn waits(limiter: &Limiter) -> bool {
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let granted = runtime.block_on(async {
        for _ in 0..3 {
            tokio::time::timeout(Duration::from_secs(10), limiter.acquire(1)).await.ok()?.ok()?;
        }
        Some(())
    });
    // A timeout polls what is inside once more when it passes, which would hide
    // that nothing else did: far less time must have gone by than one takes.
    let took = start.elapsed();
    granted.is_some() && took >= Duration::from_millis(10) && took < Duration::from_secs(10)
}

#[test]
fn a_limiter_waits_in_a_forked_child() {
    let limiter = Limiter::per_second(nz!(100));
    assert!(waits(&limiter), "in the parent");
    assert!(in_a_child(|| waits(&limiter)), "in the child");
    assert!(waits(&limiter), "in the parent again");
}

fn run<T>(body: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(body)
}

/// Two closures that wait for each other: they have a thread each.
fn two_at_once() -> bool {
    let both = Barrier::new(2);
    let threads = Threads::new().max_workers(nz!(2)).chunk(nz!(1));
    let waits = |n| {
        both.wait();
        n + 1
    };
    threads.map([1, 2], waits) == [2, 3]
        && threads.stream([1, 2], waits, |results| results.collect::<Vec<_>>()) == [2, 3]
}

#[test]
fn a_map_has_helpers_in_a_forked_child() {
    assert!(two_at_once(), "in the parent");
    assert!(in_a_child(two_at_once), "in the child");
    assert!(two_at_once(), "in the parent again");
}

#[test]
fn an_offload_pool_works_in_a_forked_child() {
    let works = |pool: &Pool| {
        run(async {
            pool.run(|_| 1).await == Outcome::Ok(1) && to_thread(|_| 2).await == Outcome::Ok(2)
        })
    };
    let (mut pool, closed) = (Some(Pool::new(nz!(1), 2)), Pool::new(nz!(1), 1));
    closed.close();
    assert!(pool.as_ref().is_some_and(works), "in the parent");
    // Its only thread is at work, and its backlog is full.
    let (go, gone) = mpsc::channel::<()>();
    let submit = |wait: Option<mpsc::Receiver<()>>| {
        let waits = move |_: &_| wait.is_none_or(|gone| gone.recv().is_ok());
        pool.as_ref().and_then(|pool| pool.try_submit(waits).ok())
    };
    let (mut first, mut second, mut third) = (submit(Some(gone)), submit(None), submit(None));
    let inside = in_a_child(|| {
        for job in [&mut first, &mut second] {
            let left = run(job.as_mut().unwrap());
            if !matches!(left, Outcome::Crashed(Crash::NoThread(_))) {
                return false;
            }
        }
        let refused = matches!(closed.try_submit(|_| ()), Err(SubmitError::Closed(_)));
        let works = pool.as_ref().is_some_and(works);
        drop((first.take(), third.take(), pool.take()));
        refused && works
    });
    assert!(inside, "in the child");
    go.send(()).unwrap();
    for job in [first, second, third] {
        assert_eq!(run(job.unwrap()), Outcome::Ok(true));
    }
    assert!(pool.as_ref().is_some_and(works), "in the parent again");
}
