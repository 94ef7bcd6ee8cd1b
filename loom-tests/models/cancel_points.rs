//! Cancelled at every point: whatever is polled counts its polls, and at the
//! n-th of all polls the cancel comes, for every n until the work ends before
//! it. Each n is explored by itself.
//!
//! None of these covers: panics (shuttle takes every panic for a failure),
//! cancels from a thread of their own (see the models of each block).

use super::kit::Model;
use futures_core::Stream;
use selvedge::cancel::Token;
use selvedge::gather::{Gather, Interrupted, gather};
use selvedge::outcome::Outcome;
use selvedge::rt;
use selvedge::scope::{Scope, scope};
use selvedge::semaphore::Semaphore;
use selvedge::swap::future::block_on;
use selvedge::swap::unmodelled::{AtomicUsize, Ordering};
use selvedge::swap::{Condvar, Mutex, thread};
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

/// Explores `work` with the cancel at each point, until it is over before that
/// in every schedule.
fn at_every_point(model: Model, work: impl Fn(&Point) + Send + Sync + 'static) {
    model.holds_in_each_case(move |number| {
        let point = Point::at(number);
        work(&point);
        point.came()
    });
}

/// How many of those that hold one of these are not gone.
#[derive(Clone, Default)]
struct Holders(Arc<(Mutex<usize>, Condvar)>);

struct Held(Holders);

impl Drop for Held {
    fn drop(&mut self) {
        *self.0.0.0.lock() -= 1;
        self.0.0.1.notify_one();
    }
}

impl Holders {
    fn held(&self) -> Held {
        *self.0.0.lock() += 1;
        Held(self.clone())
    }

    /// Waits until all of them are gone: the end of the model would end lanes
    /// too.
    fn wait(&self) {
        let mut left = self.0.0.lock();
        while *left > 0 {
            left = self.0.1.wait(left);
        }
    }
}

/// A gather of three items; its lanes are among the holders to their end.
fn three(
    point: &Point,
    permits: &Arc<Semaphore>,
    holders: &Holders,
) -> Gather<impl Stream<Item = Counted<impl Future<Output = Result<(), ()>> + use<>>> + use<>> {
    let held = holders.held();
    let items = [(); 3].map(|()| item(point, permits));
    let hook = move |_| {
        let _held_by_the_hook = &held;
    };
    gather(items).limit(selvedge::nz!(2)).on_progress(hook)
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
    let model = Model::new("cancel_points::gather_is_told_to_stop").executions(2_000);
    at_every_point(model, |point| {
        let permits = Arc::new(Semaphore::new(1));
        let holders = Holders::default();
        let whole = three(point, &permits, &holders);
        let ended = block_on(whole.token(point.token.clone()).collect());
        match ended.map_err(|stopped| stopped.why) {
            Ok(outcomes) => assert_eq!(outcomes.into_vec(), [const { Outcome::Ok(()) }; 3]),
            Err(Interrupted::Cancelled(_)) => assert!(point.came()),
            Err(other) => panic!("{other}"),
        }
        assert_eq!((point.alive(), permits.available()), (0, 1));
        holders.wait();
    });
}

/// A spawned gather is dropped at every point: all that its items held comes
/// back.
///
/// Does not cover: when it comes back.
#[test]
fn gather_is_dropped() {
    let model = Model::new("cancel_points::gather_is_dropped").executions(2_000);
    at_every_point(model, |point| {
        let permits = Arc::new(Semaphore::new(1));
        let holders = Holders::default();
        let items = [(); 3].map(|()| {
            let held = holders.held();
            let item = item(point, &permits);
            // It goes after the item, which may hold a permit until then.
            async move { (item.await, held).0 }
        });
        let hook = holders.held();
        let whole = gather(items).limit(selvedge::nz!(2)).on_progress(move |_| _ = &hook);
        let ended = block_on(point.token.run_until_cancelled(whole.collect()));
        assert!(ended.is_ok() || point.came());
        holders.wait();
        assert_eq!((point.alive(), permits.available()), (0, 1));
    });
}

/// The same for a gather in place, where it comes back at once, beside somebody
/// else who takes the permit.
#[test]
fn gather_in_place_is_dropped() {
    at_every_point(Model::new("cancel_points::gather_in_place_is_dropped"), |point| {
        let permits = Arc::new(Semaphore::new(1));
        let rival = Arc::clone(&permits);
        let rival = thread::spawn(move || drop(rival.acquire_blocking(1).unwrap()));
        let whole = three(point, &permits, &Holders::default());
        let ended = block_on(point.token.run_until_cancelled(whole.collect_in_place()));
        assert!(ended.is_ok() || point.came());
        assert_eq!(point.alive(), 0);
        rival.join().unwrap();
        assert_eq!(permits.available(), 1);
    });
}

/// A cleanup that looks whether anybody is alive, and counts itself.
fn cleanup(
    point: &Point,
    cleaned: &Arc<Semaphore>,
) -> impl Future<Output = Result<(), ()>> + Send + use<> {
    let (point, cleaned) = (point.clone(), Arc::clone(cleaned));
    async move {
        assert_eq!(point.alive(), 0, "cleaned up before the join");
        cleaned.add_permits(1);
        Ok(())
    }
}

type Work = Pin<Box<dyn Future<Output = Result<(), ()>> + Send>>;

/// A child that takes a permit, beside a body that does.
fn body_and_child(
    point: &Point,
    permits: &Arc<Semaphore>,
) -> impl FnOnce(Scope<()>) -> Work + Send + use<> {
    let (point, permits) = (point.clone(), Arc::clone(permits));
    move |scope| {
        let child = item(&point, &permits);
        let inside = item(&point, &permits);
        Box::pin(async move {
            scope.spawn(child);
            inside.await
        })
    }
}

/// A scope with a child is dropped at every point: nobody is alive when the
/// cleanup runs, and it runs once.
///
/// Does not cover: grace, a cleanup that fails.
#[test]
fn scope_is_dropped() {
    at_every_point(Model::new("cancel_points::scope_is_dropped"), |point| {
        let permits = Arc::new(Semaphore::new(1));
        let cleaned = Arc::new(Semaphore::new(0));
        let (body, cleanup) = (body_and_child(point, &permits), cleanup(point, &cleaned));
        let running = scope().on_exit("count", cleanup).run(body);
        let ended = block_on(point.token.run_until_cancelled(running));
        assert!(ended.is_ok() || point.came());
        cleaned.acquire_blocking(1).unwrap().forget();
        assert_eq!((point.alive(), permits.available()), (0, 1));
        assert_eq!(cleaned.available(), 0, "cleaned up twice");
    });
}

/// The same for a scope that is cancelled through its token.
#[test]
fn scope_is_cancelled() {
    at_every_point(Model::new("cancel_points::scope_is_cancelled"), |point| {
        let permits = Arc::new(Semaphore::new(1));
        let cleaned = Arc::new(Semaphore::new(0));
        let (body, cleanup) = (body_and_child(point, &permits), cleanup(point, &cleaned));
        let running = scope().token(&point.token).on_exit("count", cleanup);
        let exit = block_on(running.run(body));
        assert!(exit.drained && (exit.outcome.is_ok() || point.came()));
        cleaned.try_acquire().expect("it is cleaned up").forget();
        assert_eq!((point.alive(), permits.available()), (0, 1));
        assert_eq!(cleaned.available(), 0, "cleaned up twice");
    });
}

/// A timeout in a timeout, dropped at every point: the permit that its future
/// held or waited for is back, and no deadline stays behind. Beside it somebody
/// else takes the permit.
///
/// Does not cover: grace, detaching.
#[test]
fn timeout_is_dropped() {
    at_every_point(Model::new("cancel_points::timeout_is_dropped"), |point| {
        let second = Duration::from_secs(1);
        let permits = Arc::new(Semaphore::new(1));
        let rival = Arc::clone(&permits);
        let rival = thread::spawn(move || drop(rival.acquire_blocking(1).unwrap()));
        let inner = with_timeout(item(point, &permits), second);
        let outer = with_timeout(inner, 2 * second);
        let ended = block_on(point.token.run_until_cancelled(outer));
        assert!(ended.is_ok() || point.came());
        assert_eq!(point.alive(), 0);
        rival.join().unwrap();
        assert_eq!(permits.available(), 1);
        assert_eq!(current(), None);
    });
}

/// Three requests in line, one of them for all permits, of which the first
/// quits at any moment: no permit is lost, and the others are served.
///
/// Does not cover: a close.
#[test]
fn first_acquire_is_dropped() {
    acquire_is_dropped(Model::new("cancel_points::first_acquire_is_dropped"), 0);
}

/// The same for the one in the middle, which wants all permits.
#[test]
fn middle_acquire_is_dropped() {
    acquire_is_dropped(Model::new("cancel_points::middle_acquire_is_dropped"), 1);
}

/// The same for the last one.
#[test]
fn last_acquire_is_dropped() {
    acquire_is_dropped(Model::new("cancel_points::last_acquire_is_dropped"), 2);
}

fn acquire_is_dropped(model: Model, quitter: usize) {
    model.holds(move || {
        let permits = Arc::new(Semaphore::new(2));
        let token = Token::new();
        let actors = [1, 2, 1].map(|count| Semaphore::acquire_owned(&permits, count));
        let mut actors: Vec<_> = actors
            .into_iter()
            .enumerate()
            .map(|(at, acquire)| {
                let quits = (at == quitter).then(|| token.clone());
                let work = async move {
                    let permit = acquire.await.unwrap();
                    rt::yield_now().await;
                    drop(permit);
                };
                thread::spawn(move || match quits {
                    Some(token) => drop(block_on(token.run_until_cancelled(work))),
                    None => block_on(work),
                })
            })
            .collect();
        actors.push(thread::spawn(move || _ = token.cancel()));
        for actor in actors {
            actor.join().unwrap();
        }
        assert_eq!(permits.available(), 2);
    });
}
