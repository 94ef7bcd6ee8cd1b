//! Cancelled at every point, on the paused clock under perturbed schedules:
//! whatever is polled counts its polls, and at the n-th of all polls the
//! cancel comes, for every n until the work ends before it.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

mod support;

use selvedge::cancel::Token;
use selvedge::gather::{Gather, GatherError, Interrupted, Iter, gather};
use selvedge::outcome::Outcome;
use selvedge::scope::scope;
use selvedge::semaphore::Semaphore;
use selvedge::timeout::{Graced, current, with_timeout};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use support::{Perturb, perturbed_by};
use tokio::time::sleep;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

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

/// Runs `work` under ten schedules, with the cancel at each point, until it is
/// over before that; which has to take `at_least` so many.
fn at_every_point<F: Future<Output = ()>>(at_least: usize, work: impl Fn(Perturb, Point) -> F) {
    perturbed_by(10, |perturb| {
        let work = &work;
        async move {
            for number in 0.. {
                let point = Point::at(number);
                work(perturb.clone(), point.clone()).await;
                if !point.came() {
                    assert!(number >= at_least, "over after {number} polls");
                    return;
                }
            }
        }
    });
}

/// An item that takes a permit, and some time.
fn item(
    perturb: &Perturb,
    point: &Point,
    permits: &Arc<Semaphore>,
) -> impl Future<Output = Result<(), ()>> + use<> {
    let acquire = Semaphore::acquire_owned(permits, 1);
    perturb.around(point.around(async move {
        let permit = acquire.await.map_err(drop)?;
        sleep(ms(10)).await;
        drop(permit);
        tokio::task::yield_now().await;
        Ok(())
    }))
}

/// Four items for two permits, at most three in flight.
fn four(
    perturb: Perturb,
    point: Point,
    permits: Arc<Semaphore>,
) -> Gather<Iter<impl Iterator<Item = impl Future<Output = Result<(), ()>> + Send> + Send>> {
    gather((0..4).map(move |_| item(&perturb, &point, &permits))).limit(selvedge::nz!(3))
}

/// Until tasks that were told to end have ended.
async fn until_nobody_lives(point: &Point) {
    while point.alive() > 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn gather_told_to_stop_has_joined_when_it_returns() {
    for fail_fast in [false, true] {
        at_every_point(12, |perturb, point| async move {
            let permits = Arc::new(Semaphore::new(2));
            let whole = four(perturb, point.clone(), Arc::clone(&permits));
            let whole = whole.token(point.token.clone());
            let ended = if fail_fast {
                whole.try_collect().await.map(|values| values.len())
            } else {
                let outcomes = whole.collect().await;
                let outcomes = outcomes.map_err(|stopped| GatherError::Interrupted(stopped.why));
                outcomes.map(|all| all.iter().filter(|one| one.is_ok()).count())
            };
            match ended {
                Ok(values) => assert_eq!(values, 4),
                Err(GatherError::Interrupted(Interrupted::Cancelled(_))) => assert!(point.came()),
                Err(other) => panic!("{other:?}"),
            }
            assert_eq!((point.alive(), permits.available()), (0, 2));
        });
    }
}

#[test]
fn gather_dropped_lets_go_of_everything() {
    for form in ["spawned", "in place", "stream"] {
        at_every_point(12, |perturb, point| async move {
            let permits = Arc::new(Semaphore::new(2));
            let whole = four(perturb, point.clone(), Arc::clone(&permits));
            let ended = point.token.run_until_cancelled(async {
                match form {
                    "spawned" => whole.collect().await.unwrap().len(),
                    "in place" => whole.collect_in_place().await.unwrap().len(),
                    _ => {
                        let (mut stream, mut count) = (whole.stream(), 0);
                        while let Some(next) = stream.next().await {
                            assert_eq!(next, Ok((count, Outcome::Ok(()))));
                            count += 1;
                        }
                        count
                    }
                }
            });
            match ended.await {
                Ok(count) => assert_eq!(count, 4),
                Err(_) => assert!(point.came()),
            }
            if form != "in place" {
                until_nobody_lives(&point).await;
            }
            assert_eq!((point.alive(), permits.available()), (0, 2));
        });
    }
}

#[test]
fn scope_cancelled_or_dropped_cleans_up_once_after_the_join() {
    for dropped in [false, true] {
        at_every_point(8, |perturb, point| async move {
            let permits = Arc::new(Semaphore::new(2));
            let cleaned = Arc::new(Semaphore::new(0));
            let cleanup = {
                let (point, cleaned) = (point.clone(), Arc::clone(&cleaned));
                async move {
                    assert_eq!(point.alive(), 0, "cleaned up before the join");
                    sleep(ms(10)).await;
                    cleaned.add_permits(1);
                    Ok::<(), ()>(())
                }
            };
            let body = |scope: selvedge::scope::Scope<()>| {
                let children = [(); 3].map(|()| item(&perturb, &point, &permits));
                let inside = item(&perturb, &point, &permits);
                async move {
                    for child in children {
                        scope.spawn(child);
                    }
                    inside.await
                }
            };
            let running = scope().on_exit("count", perturb.around(cleanup));
            if dropped {
                let ended = point.token.run_until_cancelled(running.run(body)).await;
                assert!(ended.is_ok() || point.came());
                cleaned.acquire().await.unwrap().forget();
            } else {
                let exit = running.token(&point.token).run(body).await;
                assert!(exit.drained && (exit.outcome.is_ok() || point.came()));
                cleaned.try_acquire().expect("it is cleaned up").forget();
            }
            assert_eq!((point.alive(), permits.available()), (0, 2));
            tokio::task::yield_now().await;
            assert_eq!(cleaned.available(), 0, "cleaned up twice");
        });
    }
}

#[test]
fn timeout_dropped_leaves_nothing_behind() {
    for form in ["plain", "nested", "grace", "detach"] {
        at_every_point(1, |perturb, point| async move {
            let permits = Arc::new(Semaphore::new(1));
            let work = item(&perturb, &point, &permits);
            let ended = point.token.run_until_cancelled(async {
                match form {
                    "plain" => assert_eq!(with_timeout(work, ms(20)).await, Ok(Ok(()))),
                    "nested" => {
                        let inner = with_timeout(work, ms(5)).named("inner");
                        let elapsed = with_timeout(inner, ms(20)).await.unwrap().unwrap_err();
                        assert_eq!(elapsed.deadline().name(), "inner");
                    }
                    "grace" => {
                        let ended = with_timeout(work, ms(5)).or_grace(Token::new(), ms(20));
                        assert!(matches!(ended.await, Graced::Late(Ok(()), _)));
                    }
                    _ => {
                        let detached = with_timeout(Box::pin(work), ms(5)).or_detach().await;
                        assert_eq!(detached.unwrap_err().future.await, Ok(()));
                    }
                }
            });
            assert!(ended.await.is_ok() || point.came());
            assert_eq!((point.alive(), permits.available()), (0, 1));
            assert_eq!(current(), None);
        });
    }
}

#[test]
fn acquire_dropped_loses_no_permit_and_holds_nobody_up() {
    for quitter in 0..4 {
        at_every_point(2, |perturb, point| async move {
            let permits = Arc::new(Semaphore::new(2));
            let mut tasks = Vec::new();
            for (at, count) in [1, 2, 1, 2].into_iter().enumerate() {
                let acquire = Semaphore::acquire_owned(&permits, count);
                let work = async move {
                    let permit = acquire.await.unwrap();
                    sleep(ms(10)).await;
                    drop(permit);
                };
                let token = point.token.clone();
                tasks.push(if at == quitter {
                    let work = point.around(perturb.around(work));
                    tokio::spawn(async move { drop(token.run_until_cancelled(work).await) })
                } else {
                    tokio::spawn(perturb.around(work))
                });
            }
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!((point.alive(), permits.available()), (0, 2));
        });
    }
}
