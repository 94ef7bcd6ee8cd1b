//! Scopes under explored schedules, their children being tasks of shuttle's.
//!
//! None of these covers: panics (shuttle takes every panic for a failure),
//! grace, more than one cleanup.

use super::kit::Model;
use selvedge::cancel::Token;
use selvedge::outcome::Outcome;
use selvedge::rt;
use selvedge::scope::scope;
use selvedge::semaphore::Semaphore;
use selvedge::swap::future::block_on;
use selvedge::swap::unmodelled::{AtomicUsize, Ordering};
use selvedge::swap::{Arc, thread};
use selvedge::timeout::with_timeout;

/// Counts a child for as long as it lives.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Success or cancel, whichever comes first: the cleanup ran exactly once,
/// after the child was gone.
///
/// Does not cover: a body that waits.
#[test]
fn cleanup_runs_once_after_the_join() {
    let model = Model::new("scope::cleanup_runs_once_after_the_join");
    model.reaches([false, true], || {
        let token = Token::new();
        let caller = thread::spawn({
            let token = token.clone();
            move || {
                let alive = Arc::new(AtomicUsize::new(0));
                let cleaned = Arc::new(AtomicUsize::new(0));
                let cleanup = {
                    let (alive, cleaned) = (Arc::clone(&alive), Arc::clone(&cleaned));
                    async move {
                        assert_eq!(alive.load(Ordering::Relaxed), 0, "cleaned up before the join");
                        cleaned.fetch_add(1, Ordering::Relaxed);
                        Ok(())
                    }
                };
                let body = |scope: selvedge::scope::Scope<()>| {
                    let child = Alive::new(&alive);
                    async move {
                        scope.spawn(async move {
                            rt::yield_now().await;
                            drop(child);
                            Ok(())
                        });
                        Ok(())
                    }
                };
                let running = scope().token(&token).on_exit("count", cleanup).run(body);
                let exit = block_on(running);
                assert_eq!(cleaned.load(Ordering::Relaxed), 1);
                exit.outcome
            }
        });
        let canceller = thread::spawn(move || token.cancel());
        canceller.join().unwrap();
        match caller.join().unwrap() {
            Outcome::Ok(()) => true,
            Outcome::Cancelled(_) => false,
            other => panic!("{other:?}"),
        }
    });
}

/// A child fails while another never ends: the scope has the failure as its
/// outcome, and the other is gone.
///
/// Does not cover: two failures.
#[test]
fn failing_child_stops_its_siblings() {
    Model::new("scope::failing_child_stops_its_siblings").holds(|| {
        let caller = thread::spawn(|| {
            let alive = Arc::new(AtomicUsize::new(0));
            let exit = block_on(scope().run(|scope| {
                let sibling = Alive::new(&alive);
                async move {
                    scope.spawn(async move {
                        let _sibling = sibling;
                        std::future::pending().await
                    });
                    scope.spawn(async { Err("failed") });
                    std::future::pending::<Result<(), _>>().await
                }
            }));
            assert_eq!(alive.load(Ordering::Relaxed), 0, "returned before the join");
            assert_eq!(exit.outcome, Outcome::Err("failed"));
        });
        caller.join().unwrap();
    });
}

/// Dropped at any time, the scope still runs its cleanup, once.
///
/// Does not cover: a runtime that is gone.
#[test]
fn dropped_scope_still_cleans_up() {
    let model = Model::new("scope::dropped_scope_still_cleans_up");
    model.reaches([false, true], || {
        let cleaned = Arc::new(Semaphore::new(0));
        let caller = thread::spawn({
            let cleaned = Arc::clone(&cleaned);
            move || {
                let cleanup = async move {
                    cleaned.add_permits(1);
                    Ok::<_, ()>(())
                };
                let body = |_| async { rt::spawn(async { Ok(()) }).await.unwrap() };
                let running = scope().on_exit("count", cleanup).run(body);
                block_on(with_timeout(running, std::time::Duration::from_secs(1))).is_ok()
            }
        });
        let ended = caller.join().unwrap();
        cleaned.acquire_blocking(1).unwrap().forget();
        assert!(cleaned.try_acquire().is_err(), "cleaned up twice");
        ended
    });
}
