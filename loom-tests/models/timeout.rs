//! Timeouts under every explored schedule, on the modelled clock: a timer may
//! fire at any scheduling point.
//!
//! None of these covers: how late a timer is, tokio's own timer.

use super::kit::Model;
use selvedge::cancel::Token;
use selvedge::rt;
use selvedge::swap::future::block_on;
use selvedge::swap::{Arc, thread, unmodelled};
use selvedge::timeout::{Graced, current, inherit, with_timeout};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A value and a deadline race: one of the two, never a third; and the value
/// is there if and only if the future was let to its end.
///
/// Does not cover: deadlines that enclose it.
#[test]
fn value_or_elapsed_and_never_a_third() {
    let model = Model::new("timeout::value_or_elapsed_and_never_a_third");
    model.reaches([Some(7), None], || {
        let ran_to_end = Arc::new(unmodelled::AtomicBool::new(false));
        let waiter = thread::spawn({
            let ran_to_end = Arc::clone(&ran_to_end);
            move || {
                let work = async {
                    let value = rt::spawn(async { 7 }).await.unwrap();
                    ran_to_end.store(true, unmodelled::Ordering::Relaxed);
                    value
                };
                block_on(with_timeout(work, SECOND)).ok()
            }
        });
        let value = waiter.join().unwrap();
        assert_eq!(value.is_some(), ran_to_end.load(unmodelled::Ordering::Relaxed));
        value
    });
}

/// Of two nested deadlines either may fire, each for its own future and under
/// its own name: the outer one never ends the inner future with the inner
/// one's error, and a task that was spawned inside is ended by its own alone,
/// whatever it was given to read.
///
/// Does not cover: three levels.
#[test]
fn each_deadline_ends_its_own_future() {
    let model = Model::new("timeout::each_deadline_ends_its_own_future");
    model.reaches(["value", "inner", "outer"], || {
        let event = Token::new();
        let waiter = thread::spawn({
            let event = event.clone();
            move || {
                block_on(async {
                    let child = async move {
                        assert_eq!(current().unwrap().name(), "outer");
                        let inner = with_timeout(event.cancelled_owned(), 9 * SECOND);
                        inner.named("inner").await.map(drop).map_err(|e| e.deadline().name())
                    };
                    let spawning = async { rt::spawn(inherit(current(), child)).await.unwrap() };
                    match with_timeout(spawning, SECOND).named("outer").await {
                        Ok(Ok(())) => "value",
                        Ok(Err(name)) => name,
                        Err(elapsed) => elapsed.deadline().name(),
                    }
                })
            }
        });
        let finisher = thread::spawn(move || event.cancel());
        finisher.join().unwrap();
        waiter.join().unwrap()
    });
}

/// A future with grace ends in time, late or not at all; in the last case
/// only is its value gone, and the token is cancelled in the last two.
///
/// Does not cover: a future that ignores the token for a while.
#[test]
fn grace_gives_back_late_values() {
    let model = Model::new("timeout::grace_gives_back_late_values");
    model.reaches(["in time", "late", "dropped"], || {
        let (event, stop) = (Token::new(), Token::new());
        let waiter = thread::spawn({
            let event = event.clone();
            move || {
                let work = with_timeout(event.cancelled(), SECOND);
                let ended = block_on(work.or_grace(stop.clone(), SECOND));
                assert_eq!(stop.is_cancelled(), !matches!(ended, Graced::InTime(_)));
                match ended {
                    Graced::InTime(_) => "in time",
                    Graced::Late(..) => "late",
                    Graced::Dropped(_) => "dropped",
                }
            }
        });
        let finisher = thread::spawn(move || event.cancel());
        finisher.join().unwrap();
        waiter.join().unwrap()
    });
}

/// A task that is handed back at its deadline still gives its value.
///
/// Does not cover: futures that are not tasks.
#[test]
fn detached_task_is_not_lost() {
    let model = Model::new("timeout::detached_task_is_not_lost");
    model.reaches([false, true], || {
        let event = Token::new();
        let waiter = thread::spawn({
            let event = event.clone();
            move || {
                block_on(async {
                    let task = rt::spawn(async move {
                        event.cancelled().await;
                        7
                    });
                    match with_timeout(task, SECOND).or_detach().await {
                        Ok(value) => (value, false),
                        Err(detached) => (detached.future.await, true),
                    }
                })
            }
        });
        let finisher = thread::spawn(move || event.cancel());
        finisher.join().unwrap();
        let (value, was_handed_back) = waiter.join().unwrap();
        assert_eq!(value, Some(7));
        was_handed_back
    });
}
