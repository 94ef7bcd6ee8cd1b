//! A deadline ends the future that was put under it, can be read by what runs
//! there, and reaches nothing else: not what is shared, spawned, gathered,
//! offloaded, given grace or handed back. On the paused clock, under perturbed
//! schedules.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]
#![allow(clippy::async_yields_async, reason = "a task may outlive the timeout that spawned it")]

#[path = "../support/mod.rs"]
mod support;

mod beyond_the_clock;

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use selvedge::cancel::Token;
use selvedge::gather::gather;
use selvedge::nz;
use selvedge::offload::{Pool, Work};
use selvedge::outcome::{Outcome, TimedOut};
use selvedge::pipeline::Flow;
use selvedge::queue::{self, RecvTimeoutError, SendTimeoutError};
use selvedge::rate::Limiter;
use selvedge::scope::{Scope, scope};
use selvedge::semaphore::Semaphore;
use selvedge::timeout::{
    Deadline, Elapsed, Graced, current, free, inherit, with_deadline, with_timeout,
};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use support::{paused, perturbed};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};
use tokio_test::task::spawn;
use tokio_test::{assert_pending, assert_ready};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Runs `future` in a task of its own that inherits a deadline of 100 ms, and
/// sees to it that it takes just as long.
async fn inheriting<F>(perturb: &support::Perturb, future: F) -> F::Output
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let start = Instant::now();
    let deadline = Deadline::after(ms(100)).named("outer");
    let task = tokio::spawn(inherit(Some(deadline), perturb.around(future)));
    let ended = tokio::time::timeout(ms(1_000), task).await.expect("it ends by itself").unwrap();
    assert_eq!(start.elapsed(), ms(100));
    ended
}

#[test]
fn a_receive_ends_at_the_inherited_deadline() {
    perturbed(|perturb| async move {
        let (tx, rx) = queue::unbounded::<u8>();
        let ended = inheriting(&perturb, async move { rx.recv_async().by_deadline().await });
        assert!(matches!(ended.await, Err(RecvTimeoutError::Timeout)));
        drop(tx);

        let (tx, rx) = queue::unbounded::<u8>();
        let ended = inheriting(&perturb, async move {
            let mut items = Vec::new();
            let first = rx.recv_many_async(&mut items, nz!(8)).by_deadline().await;
            (first.is_err(), items)
        });
        assert_eq!(ended.await, (true, vec![]));
        drop(tx);
    });
}

#[test]
fn a_send_ends_at_the_inherited_deadline_and_gives_its_value_back() {
    perturbed(|perturb| async move {
        let (tx, rx) = queue::bounded(nz!(1));
        tx.try_send(1).unwrap();
        let ended = inheriting(&perturb, async move { tx.send_async(2).by_deadline().await });
        assert_eq!(ended.await, Err(SendTimeoutError::Timeout(2)));
        // The last sender is gone: one item, and the end.
        assert_eq!((rx.recv_async().await.ok(), rx.recv_async().await.ok()), (Some(1), None));
    });
}

#[test]
fn a_queue_in_a_gather_and_in_a_scope_ends_at_the_deadline_of_the_whole() {
    perturbed(|perturb| async move {
        let (_tx, rx) = queue::unbounded::<u8>();
        let items = |deadline| {
            let (rx, perturb) = (rx.clone(), perturb.clone());
            (0..3).map(move |_| {
                let rx = rx.clone();
                perturb
                    .around(inherit(deadline, async move { rx.recv_async().by_deadline().await }))
            })
        };
        let whole = async {
            // Not interrupted by the timeout around it: spawned, and awaited
            // elsewhere.
            tokio::spawn(gather(items(current())).collect())
        };
        let whole = with_timeout(whole, ms(100)).await.unwrap();
        let start = Instant::now();
        let outcomes = tokio::time::timeout(ms(1_000), whole).await.expect("it ends").unwrap();
        for outcome in outcomes.unwrap() {
            assert!(matches!(outcome, Outcome::Err(RecvTimeoutError::Timeout)), "{outcome:?}");
        }
        assert_eq!(start.elapsed(), ms(100));

        let within_scope = async {
            let body = |scope: selvedge::scope::Scope<RecvTimeoutError>| async move {
                scope.spawn(async move { rx.recv_async().by_deadline().await.map(drop) });
                Ok(())
            };
            tokio::spawn(inherit(current(), scope().run(body)))
        };
        let running = with_timeout(within_scope, ms(100)).await.unwrap();
        let exit = tokio::time::timeout(ms(1_000), running).await.expect("it ends").unwrap();
        assert!(matches!(exit.outcome, Outcome::Err(RecvTimeoutError::Timeout)), "{exit:?}");
    });
}

#[test]
fn what_is_there_wins_over_a_deadline_that_has_passed() {
    paused().block_on(async {
        let gone = Some(Deadline::after(Duration::ZERO));
        let (tx, rx) = queue::bounded(nz!(1));
        let sent = inherit(gone, tx.send_async(1).by_deadline()).await;
        let received = inherit(gone, rx.recv_async().by_deadline()).await;
        assert_eq!((sent, received.ok()), (Ok(()), Some(1)));
        assert!(inherit(gone, rx.recv_async().by_deadline()).await.is_err());

        // The item and the deadline come at the same instant.
        let soon = Some(Deadline::after(ms(50)));
        let waiting = tokio::spawn(inherit(soon, async move {
            tokio::task::yield_now().await;
            rx.recv_async().by_deadline().await.ok()
        }));
        sleep(ms(50)).await;
        tx.try_send(2).unwrap();
        assert_eq!(waiting.await.unwrap(), Some(2));
    });
}

#[test]
fn without_a_deadline_it_waits_and_a_close_is_told_as_such() {
    paused().block_on(async {
        let (tx, rx) = queue::bounded(nz!(1));
        let mut waiting = spawn(rx.recv_async().by_deadline());
        assert_pending!(waiting.poll());
        sleep(ms(1_000_000)).await;
        assert_pending!(waiting.poll());
        tx.try_send(1).unwrap();
        assert_eq!(assert_ready!(waiting.poll()).ok(), Some(1));
        tx.try_send(2).unwrap();
        let mut sending = spawn(tx.send_async(3).by_deadline());
        assert_pending!(sending.poll());
        rx.close_with("enough");
        assert_eq!(assert_ready!(sending.poll()), Err(SendTimeoutError::Closed(3)));
        assert_eq!(rx.recv_async().by_deadline().await.ok(), Some(2));
        let Err(RecvTimeoutError::Closed(closed)) = rx.recv_async().by_deadline().await else {
            panic!("it is closed");
        };
        assert_eq!(closed.cause().unwrap().to_string(), "enough");
    });
}

/// A receiver that gives up while a wake-up is under way to it, and is not
/// dropped.
#[test]
fn who_gives_up_hands_its_wake_up_on() {
    paused().block_on(async {
        let (tx, rx) = queue::unbounded();
        let deadline = Some(Deadline::after(ms(10)));
        let mut late = spawn(inherit(deadline, rx.recv_async().by_deadline()));
        let mut next = spawn(rx.recv_async());
        assert_pending!(late.poll());
        assert_pending!(next.poll());
        sleep(ms(10)).await;
        assert!(assert_ready!(late.poll()).is_err());
        tx.send(1).unwrap();
        assert!(next.is_woken(), "the first in line had left it");
        assert_eq!(assert_ready!(next.poll()).ok(), Some(1));
    });
}

#[test]
fn three_nested_deadlines_are_told_by_the_first_that_passes() {
    perturbed(|perturb| async move {
        for (inner, middle, outer) in [(10, 20, 30), (20, 10, 30), (30, 20, 10), (20, 30, 10)] {
            let start = Instant::now();
            let work = with_timeout(perturb.around(sleep(ms(900))), ms(inner)).named("inner");
            let work = with_timeout(perturb.around(work), ms(middle)).named("middle");
            let ended = with_timeout(perturb.around(work), ms(outer)).named("outer").await;
            let told: Elapsed = match ended {
                Ok(Ok(Err(elapsed))) | Ok(Err(elapsed)) | Err(elapsed) => elapsed,
                Ok(Ok(Ok(()))) => panic!("it cannot end"),
            };
            // The inner ones are dropped by the first that passes.
            let first = inner.min(middle).min(outer);
            let name = if first == inner {
                "inner"
            } else if first == middle {
                "middle"
            } else {
                "outer"
            };
            assert_eq!((told.deadline().name(), start.elapsed()), (name, ms(first)));
        }
    });
}

#[test]
fn a_closure_is_under_the_deadline_that_it_is_submitted_with() {
    perturbed(|perturb| async move {
        let deadline = Some(Deadline::after(ms(100)).named("outer"));
        sleep(ms(100)).await;
        let pool = Pool::inline();
        let run = |deadline| {
            let seen = |work: &Work| (work.deadline(), work.should_stop(), current());
            perturb.around(pool.run_by(deadline, seen))
        };
        // It has passed: the closure is not started.
        assert_eq!(run(deadline).await, Outcome::TimedOut(TimedOut::new("outer", ms(100))));
        let ahead = Some(Deadline::after(ms(100)));
        assert_eq!(run(ahead).await, Outcome::Ok((ahead, false, ahead)));
        // Not the one that the caller is under.
        assert_eq!(inherit(deadline, run(None)).await, Outcome::Ok((None, false, None)));
        assert_eq!(inherit(deadline, run(ahead)).await, Outcome::Ok((ahead, false, ahead)));
    });
}

/// Five seconds of work, by a timeout of its own that allows for a minute.
async fn load() -> Result<u32, Elapsed> {
    let work = async {
        sleep(ms(5_000)).await;
        42
    };
    with_timeout(work, ms(60_000)).await
}

#[test]
fn grace_and_detaching_reach_work_with_a_timeout_of_its_own() {
    perturbed(|perturb| async move {
        let token = Token::new();
        let mine = token.clone();
        let work = async move {
            mine.cancelled().await;
            sleep(ms(2_000)).await;
            "saved"
        };
        let work = perturb.around(with_timeout(work, ms(60_000)));
        let ended = with_timeout(work, ms(1_000)).or_grace(token.clone(), ms(10_000)).await;
        assert!(matches!(ended, Graced::Late(Ok("saved"), _)), "{ended:?}");
        assert!(token.is_cancelled());

        let work = Box::pin(perturb.around(load()));
        let detached = with_timeout(work, ms(1_000)).or_detach().await.unwrap_err();
        assert_eq!(detached.future.await, Ok(42));
    });
}

#[test]
fn one_waiters_deadline_does_not_end_what_others_share() {
    perturbed(|perturb| async move {
        let shared = perturb.around(load()).shared();
        let hasty = with_timeout(shared.clone(), ms(1_000)).named("hasty").await;
        assert_eq!(hasty.unwrap_err().deadline().name(), "hasty");
        assert_eq!(shared.await, Ok(42));

        let mut set = FuturesUnordered::from_iter([perturb.around(load())]);
        assert!(with_timeout(set.next(), ms(1_000)).await.is_err());
        assert_eq!(set.next().await, Some(Ok(42)));

        let local = LocalSet::new();
        let task = local.spawn_local(perturb.around(load()));
        assert!(with_timeout(local.run_until(sleep(ms(10_000))), ms(1_000)).await.is_err());
        local.await;
        assert_eq!(task.await.unwrap(), Ok(42));
    });
}

#[test]
fn work_that_is_begun_under_a_timeout_does_not_end_with_it() {
    perturbed(|perturb| async move {
        let opened = async { gather([perturb.around(load())]).stream() };
        let mut stream = with_timeout(opened, ms(1_000)).await.unwrap();
        assert_eq!(stream.next().await, Some(Ok((0, Outcome::Ok(42)))));

        let opened = async { gather([perturb.around(free(async { Ok::<_, ()>(current()) }))]) };
        let gathered = with_timeout(opened, ms(1_000)).await.unwrap();
        let read = inherit(Some(Deadline::after(ms(1))), gathered.collect()).await.unwrap();
        assert_eq!(read.into_vec(), [Outcome::Ok(None)]);

        // A lane is spawned: it reads none, whoever collects.
        let items = [async { Ok::<_, ()>(current()) }];
        let read = inherit(Some(Deadline::after(ms(1))), gather(items).collect()).await.unwrap();
        assert_eq!(read.into_vec(), [Outcome::Ok(None)]);

        // A child of a scope reads that of the body, and is not cut by it.
        let body = |scope: Scope<TimedOut>| {
            let child = perturb.around(async {
                assert_eq!(current().unwrap().name(), "outer");
                load().await.map(drop).map_err(TimedOut::from)
            });
            async move {
                scope.spawn(child);
                Ok(())
            }
        };
        let outer = Some(Deadline::after(ms(1_000)).named("outer"));
        assert_eq!(inherit(outer, scope().run(body)).await.outcome, Outcome::Ok(()));
    });
}

#[test]
fn a_free_future_reads_no_deadline() {
    paused().block_on(async {
        let nested = free(async {
            let inner = with_timeout(async { current().unwrap().name() }, ms(50)).named("inner");
            (current(), inner.await)
        });
        assert_eq!(with_timeout(nested, ms(1)).await, Ok((None, Ok("inner"))));
        // What is cut is the free future itself.
        assert!(with_timeout(free(sleep(ms(50))), ms(1)).await.is_err());

        // Only what asks for a deadline is ended by it.
        let (_tx, rx) = queue::unbounded::<u8>();
        let soon = || Some(Deadline::after(ms(10)));
        let waits = |read| {
            let rx = &rx;
            async move {
                let receive = inherit(soon(), async {
                    if read {
                        rx.recv_async().by_deadline().await.is_err()
                    } else {
                        rx.recv_async().await.is_err()
                    }
                });
                tokio::time::timeout(ms(1_000), receive).await.is_ok()
            }
        };
        assert_eq!((waits(true).await, waits(false).await), (true, false));
    });
}
