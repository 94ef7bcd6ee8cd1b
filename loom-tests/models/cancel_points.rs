//! Cancelled at every point: whatever is polled counts its polls, and at the
//! n-th of all polls the cancel comes, for every n until the work ends before
//! it. One execution is all of these, one after the other.
//!
//! None of these covers: panics (shuttle takes every panic for a failure),
//! cancels from a thread of their own (see the models of each block).

use super::kit::Model;
use futures_core::Stream;
use selvedge::cancel::Token;
use selvedge::gather::{Gather, Interrupted, gather};
use selvedge::outcome::Outcome;
use selvedge::rt;
use selvedge::scope::scope;
use selvedge::semaphore::Semaphore;
use selvedge::swap::future::block_on;
use selvedge::swap::thread;
use selvedge::swap::unmodelled::{AtomicUsize, Ordering};
use selvedge::timeout::{current, with_timeout};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// The point at which the cancel comes.
#[derive(Clone)]
struct Point {
    left: Arc<AtomicUsize>,
    token: Token,
    alive: Arc<AtomicUsize>,
}

impl Point {
    /// At the poll with this number, counted from zero.
    fn at(number: usize) -> Self {
        let left = Arc::new(AtomicUsize::new(number + 1));
        Self { left, token: Token::new(), alive: Arc::default() }
    }

    /// Counts the polls of `future`, and whether it is alive.
    fn around<F>(&self, future: F) -> Counted<F> {
        self.alive.fetch_add(1, Ordering::Relaxed);
        Counted { future: Box::pin(future), point: self.clone() }
    }

    fn came(&self) -> bool {
        self.token.is_cancelled()
    }

    fn alive(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }
}

struct Counted<F> {
    future: Pin<Box<F>>,
    point: Point,
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let left = &self.point.left;
        if left.load(Ordering::Relaxed) > 0 && left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.point.token.cancel();
        }
        self.future.as_mut().poll(context)
    }
}

impl<F> Drop for Counted<F> {
    fn drop(&mut self) {
        self.point.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs `work` with the cancel at each point, until it is over before that.
/// `true` if that took more than one.
fn at_every_point(work: impl Fn(&Point)) -> bool {
    for number in 0.. {
        let point = Point::at(number);
        work(&point);
        if !point.came() {
            return number > 1;
        }
    }
    unreachable!("all work ends")
}

/// A gather of three items, whose lanes hold `held` to their very end.
fn three(
    point: &Point,
    permits: &Arc<Semaphore>,
    held: &Arc<()>,
) -> Gather<impl Stream<Item = Counted<impl Future<Output = Result<(), ()>> + use<>>> + use<>> {
    let held = Arc::clone(held);
    let items = [(); 3].map(|()| item(point, permits));
    let hook = move |_| {
        let _held_by_the_hook = &held;
    };
    gather(items).limit(selvedge::nz!(2)).on_progress(hook)
}

/// Waits until lanes that were told to end have ended: the end of the model
/// would end them too.
fn until_let_go(held: &Arc<()>) {
    while Arc::strong_count(held) > 1 {
        thread::yield_now();
    }
}

/// An item that takes a permit, and some time.
fn item(
    point: &Point,
    permits: &Arc<Semaphore>,
) -> Counted<impl Future<Output = Result<(), ()>> + use<>> {
    let acquire = Semaphore::acquire_owned(permits, 1);
    point.around(async move {
        let permit = acquire.await.map_err(drop)?;
        rt::yield_now().await;
        drop(permit);
        Ok(())
    })
}

/// A spawned gather, told to stop through its token at every point: it returns
/// when nothing of it is alive, with every outcome or with none, and every
/// permit is back.
///
/// Does not cover: grace.
#[test]
fn gather_is_told_to_stop() {
    Model::new("cancel_points::gather_is_told_to_stop").executions(2_000).holds(|| {
        let caller = thread::spawn(|| {
            assert!(at_every_point(|point| {
                let permits = Arc::new(Semaphore::new(1));
                let held = Arc::new(());
                let whole = three(point, &permits, &held);
                let ended = block_on(whole.token(point.token.clone()).collect());
                match ended.map_err(|stopped| stopped.why) {
                    Ok(outcomes) => assert_eq!(outcomes.into_vec(), [const { Outcome::Ok(()) }; 3]),
                    Err(Interrupted::Cancelled(_)) => assert!(point.came()),
                    Err(other) => panic!("{other}"),
                }
                assert_eq!((point.alive(), permits.available()), (0, 1));
                until_let_go(&held);
            }));
        });
        caller.join().unwrap();
    });
}

/// A gather is dropped at every point, spawned and in place: all that its
/// items held comes back.
///
/// Does not cover: when it comes back, for the spawned form.
#[test]
fn gather_is_dropped() {
    Model::new("cancel_points::gather_is_dropped").executions(2_000).holds(|| {
        let caller = thread::spawn(|| {
            for in_place in [false, true] {
                assert!(at_every_point(|point| {
                    let permits = Arc::new(Semaphore::new(1));
                    let held = Arc::new(());
                    let whole = three(point, &permits, &held);
                    let ended = block_on(point.token.run_until_cancelled(async {
                        if in_place {
                            whole.collect_in_place().await
                        } else {
                            whole.collect().await
                        }
                    }));
                    assert!(ended.is_ok() || point.came());
                    if !in_place {
                        until_let_go(&held);
                    }
                    assert_eq!((point.alive(), permits.available()), (0, 1));
                }));
            }
        });
        caller.join().unwrap();
    });
}

/// A scope with a child is cancelled at every point, through its token and by
/// being dropped: nobody is alive when the cleanup runs, and it runs once.
///
/// Does not cover: grace, a cleanup that fails.
#[test]
fn scope_is_cancelled_or_dropped() {
    Model::new("cancel_points::scope_is_cancelled_or_dropped").executions(2_000).holds(|| {
        let caller = thread::spawn(|| {
            for dropped in [false, true] {
                assert!(at_every_point(|point| {
                    let permits = Arc::new(Semaphore::new(1));
                    let cleaned = Arc::new(Semaphore::new(0));
                    let cleanup = {
                        let (point, cleaned) = (point.clone(), Arc::clone(&cleaned));
                        async move {
                            assert_eq!(point.alive(), 0, "cleaned up before the join");
                            cleaned.add_permits(1);
                            Ok::<(), ()>(())
                        }
                    };
                    let body = |scope: selvedge::scope::Scope<()>| {
                        let child = item(point, &permits);
                        let inside = item(point, &permits);
                        async move {
                            scope.spawn(child);
                            inside.await
                        }
                    };
                    if dropped {
                        let running = scope().on_exit("count", cleanup).run(body);
                        let ended = block_on(point.token.run_until_cancelled(running));
                        assert!(ended.is_ok() || point.came());
                        cleaned.acquire_blocking(1).unwrap().forget();
                    } else {
                        let running = scope().token(&point.token).on_exit("count", cleanup);
                        let exit = block_on(running.run(body));
                        assert!(exit.drained && (exit.outcome.is_ok() || point.came()));
                        cleaned.try_acquire().expect("it is cleaned up").forget();
                    }
                    assert_eq!((point.alive(), permits.available()), (0, 1));
                    assert_eq!(cleaned.available(), 0, "cleaned up twice");
                }));
            }
        });
        caller.join().unwrap();
    });
}

/// A timeout in a timeout, dropped at every point: the permit that its future
/// held or waited for is back, and no deadline stays behind.
///
/// Does not cover: grace, detaching.
#[test]
fn timeout_is_dropped() {
    Model::new("cancel_points::timeout_is_dropped").holds(|| {
        let caller = thread::spawn(|| {
            let second = Duration::from_secs(1);
            assert!(at_every_point(|point| {
                let permits = Arc::new(Semaphore::new(1));
                let inner = with_timeout(item(point, &permits), second);
                let outer = with_timeout(inner, 2 * second);
                let ended = block_on(point.token.run_until_cancelled(outer));
                assert!(ended.is_ok() || point.came());
                assert_eq!((point.alive(), permits.available()), (0, 1));
                assert_eq!(current(), None);
            }));
        });
        caller.join().unwrap();
    });
}

/// Three requests in line, one of them for all permits, each dropped at every
/// point: no permit is lost, and the others are served.
///
/// Does not cover: a close.
#[test]
fn acquire_is_dropped() {
    Model::new("cancel_points::acquire_is_dropped").executions(2_000).holds(|| {
        let caller = thread::spawn(|| {
            for quitter in 0..3 {
                assert!(at_every_point(|point| {
                    let permits = Arc::new(Semaphore::new(2));
                    let tasks: Vec<_> = [1, 2, 1]
                        .into_iter()
                        .enumerate()
                        .map(|(at, count)| {
                            let acquire = Semaphore::acquire_owned(&permits, count);
                            let quits = (at == quitter).then(|| point.token.clone());
                            let work = point.around(async move {
                                let permit = acquire.await.unwrap();
                                rt::yield_now().await;
                                drop(permit);
                            });
                            rt::spawn(async move {
                                match quits {
                                    Some(token) => drop(token.run_until_cancelled(work).await),
                                    None => work.await,
                                }
                            })
                        })
                        .collect();
                    for task in tasks {
                        block_on(task).unwrap();
                    }
                    assert_eq!((point.alive(), permits.available()), (0, 2));
                }));
            }
        });
        caller.join().unwrap();
    });
}
