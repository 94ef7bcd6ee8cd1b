//! A deadline reaches whatever runs under it: tasks, lanes, children, closures
//! and the ends of queues. On the paused clock, under perturbed schedules.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]
#![allow(clippy::async_yields_async, reason = "a task may outlive the timeout that spawned it")]

mod support;

use selvedge::gather::gather;
use selvedge::nz;
use selvedge::offload::Pool;
use selvedge::outcome::{Outcome, TimedOut};
use selvedge::queue::{self, RecvTimeoutError, SendTimeoutError};
use selvedge::scope::scope;
use selvedge::timeout::{Deadline, Elapsed, current, inherit, with_timeout, within};
use std::time::Duration;
use support::{paused, perturbed};
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
        let items = (0..3).map({
            let rx = rx.clone();
            move |_| {
                let rx = rx.clone();
                perturb.around(async move { rx.recv_async().by_deadline().await })
            }
        });
        let whole = async {
            // Not interrupted by the timeout around it: spawned, and awaited
            // elsewhere.
            tokio::spawn(inherit(current(), gather(items).collect()))
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
fn lanes_and_closures_are_under_the_deadline_of_their_caller() {
    perturbed(|perturb| async move {
        let start = Instant::now();
        let deadline = Some(Deadline::after(ms(100)).named("outer"));
        let items = (0..3).map({
            let perturb = perturb.clone();
            move |n| {
                perturb.around(async move {
                    let inner = with_timeout(sleep(ms(900)), ms(500 + n)).named("inner");
                    inner.await.map_err(TimedOut::from)
                })
            }
        });
        let outcomes = inherit(deadline, perturb.around(gather(items).collect())).await.unwrap();
        for outcome in outcomes {
            assert_eq!(outcome, Outcome::Err(TimedOut::new("outer", ms(100))));
        }
        assert_eq!(start.elapsed(), ms(100));

        let pool = Pool::inline();
        let run = || pool.run(|work| (work.deadline(), work.should_stop()));
        // It has passed: the closure is not started.
        let late = within(deadline, || spawn(run()).poll().map(|outcome| format!("{outcome:?}")));
        assert!(assert_ready!(late).contains("TimedOut"));
        let ahead = Some(Deadline::after(ms(100)));
        assert_eq!(inherit(ahead, run()).await, Outcome::Ok((ahead, false)));
    });
}
