//! Nothing of ours keeps others from running by always being ready: each future
//! and stream, in a loop that never finds a reason to wait, beside a ticker on
//! the same thread and under whatever is to stop it. On the real clock.
//!
//! `loops` has a row for each and says which.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

mod loops;

use loops::{full, loops};
use selvedge::cancel::Token;
use selvedge::gather::gather;
use selvedge::nz;
use selvedge::outcome::Outcome;
use selvedge::queue;
use selvedge::scope::scope;
use selvedge::semaphore::Semaphore;
use selvedge::timeout::with_timeout;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::time::sleep;

type Loop = Pin<Box<dyn Future<Output = ()> + Send>>;
type Endless = fn() -> Loop;

const TICK: Duration = Duration::from_millis(5);
/// A loop that does not give way ends by itself after this long, so that the
/// test fails and does not hang.
const PATIENCE: Duration = Duration::from_secs(5);
/// In time, on a machine that does much else.
const SOON: Duration = Duration::from_secs(2);

/// Runs `future` on one thread, beside a ticker; says how often that ticked and
/// how long it took.
fn beside_a_ticker<F: Future<Output = ()>>(future: F) -> (u32, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let ticks = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let ticker = tokio::spawn({
            let ticks = Arc::clone(&ticks);
            async move {
                // First at once: whatever comes of the clock, it gets a turn.
                loop {
                    ticks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    sleep(TICK).await;
                }
            }
        });
        let start = Instant::now();
        future.await;
        ticker.abort();
        (ticks.load(std::sync::atomic::Ordering::Relaxed), start.elapsed())
    })
}

/// Each loop, under a way to stop it.
fn each_is_stopped<F: Future<Output = ()>>(how: &str, stop: impl Fn(Loop) -> F) {
    for (name, endless) in loops() {
        let (ticks, took) = beside_a_ticker(stop(endless()));
        assert!(took < SOON, "{name} under {how} was stopped after {took:?}");
        assert!(ticks > 0, "{name} under {how} let the ticker tick {ticks} times in {took:?}");
    }
}

const AFTER: Duration = Duration::from_millis(100);

#[test]
fn a_timeout_stops_each() {
    each_is_stopped("with_timeout", |endless| async {
        assert!(with_timeout(endless, AFTER).await.is_err());
    });
}

#[test]
fn tokios_timeout_stops_each() {
    each_is_stopped("tokio's timeout", |endless| async {
        assert!(tokio::time::timeout(AFTER, endless).await.is_err());
    });
}

#[test]
fn a_token_stops_each() {
    each_is_stopped("a token", |endless| async {
        let token = Token::new();
        let stop = token.clone();
        tokio::spawn(async move {
            sleep(AFTER).await;
            stop.cancel();
        });
        assert!(token.run_until_cancelled(endless).await.is_err());
    });
}

#[test]
fn a_scope_stops_each() {
    each_is_stopped("a scope", |endless| async {
        let exit = scope::<()>().run(|scope| async move {
            scope.spawn(async move {
                endless.await;
                Ok(())
            });
            sleep(AFTER).await;
            Err::<(), ()>(())
        });
        assert_eq!(exit.await.outcome, Outcome::Err(()));
    });
}

#[test]
fn each_within_stops_each() {
    each_is_stopped("each_within", |endless| async {
        let item = async move {
            endless.await;
            Ok::<(), ()>(())
        };
        let outcomes = gather([item]).each_within(AFTER).collect().await.unwrap();
        assert!(matches!(outcomes.into_vec()[..], [Outcome::TimedOut(_)]));
    });
}

#[test]
fn the_end_of_the_runtime_stops_each() {
    for (name, endless) in loops() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build();
        let runtime = runtime.unwrap();
        drop(runtime.spawn(endless()));
        std::thread::sleep(TICK);
        let start = Instant::now();
        drop(runtime);
        let took = start.elapsed();
        assert!(took < SOON, "the runtime of {name} ended after {took:?}");
    }
}

/// A sibling that spends the whole budget in every poll of the task.
#[test]
fn what_is_polled_last_is_not_starved() {
    let (_, took) = beside_a_ticker(async {
        let (tx, rx) = full();
        let greedy = async {
            let start = Instant::now();
            while start.elapsed() < PATIENCE {
                tx.send(rx.recv_async().await.unwrap()).unwrap();
            }
        };
        let (mine, other) = queue::unbounded();
        let modest = async {
            for n in 0..100 {
                mine.send(n).unwrap();
                assert_eq!(other.recv_async().await.unwrap(), n);
            }
        };
        tokio::select! {
            biased;
            () = greedy => panic!("the other did not get its turn"),
            () = modest => {}
        }
    });
    assert!(took < SOON, "{took:?}");
}

/// A poll that gives way leaves everything as it was.
#[test]
fn giving_way_loses_and_changes_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (tx, rx) = queue::bounded(nz!(1));
        let permits = Semaphore::new(1);
        tokio::spawn(std::future::poll_fn(move |context| {
            // Spends the budget.
            while let Poll::Ready(spent) = tokio::task::coop::poll_proceed(context) {
                spent.made_progress();
            }
            tx.try_send(1).unwrap();
            let mut receive = rx.recv_async();
            assert!(Pin::new(&mut receive).poll(context).is_pending());
            // What gave way stands in no line.
            drop(receive);
            assert_eq!(rx.len(), 1);
            let mut late = rx.recv_async().by_deadline();
            assert!(Pin::new(&mut late).poll(context).is_pending());
            // Its second poll does not give way again.
            assert!(matches!(Pin::new(&mut late).poll(context), Poll::Ready(Ok(1))));
            let mut send = tx.send_async(2);
            assert!(Pin::new(&mut send).poll(context).is_pending());
            assert_eq!((send.into_value(), rx.len()), (Some(2), 0));
            let mut acquire = permits.acquire();
            assert!(Pin::new(&mut acquire).poll(context).is_pending());
            drop(acquire);
            assert_eq!(permits.available(), 1);
            Poll::Ready(())
        }))
        .await
        .unwrap();
    });
}

/// A poll that finds nothing does not spend the budget.
#[test]
fn waiting_spends_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        tokio::spawn(std::future::poll_fn(|context| {
            let (_tx, rx) = queue::unbounded::<u8>();
            let permits = Semaphore::new(0);
            for _ in 0..1_000 {
                assert!(Pin::new(&mut rx.recv_async()).poll(context).is_pending());
                assert!(Pin::new(&mut permits.acquire()).poll(context).is_pending());
            }
            assert!(tokio::task::coop::has_budget_remaining());
            Poll::Ready(())
        }))
        .await
        .unwrap();
    });
}
