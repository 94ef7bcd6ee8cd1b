//! What every other model stands on: that the kit refuses a wrong claim, and
//! that the facade means what std means where a checker alone would not.

use super::kit::Model;
use selvedge::swap::atomic::{AtomicU64, Ordering};
use selvedge::swap::thread::{self, Thread};
use selvedge::swap::{Arc, Mutex, Parked, time};
use std::time::Duration;

/// Two increments, neither of which can be lost: 2 and nothing else.
fn two_increments() -> u64 {
    let cell = Arc::new(AtomicU64::new(0));
    let actors = [0, 1].map(|_| {
        let cell = Arc::clone(&cell);
        thread::spawn(move || cell.fetch_add(1, Ordering::Relaxed))
    });
    for actor in actors {
        actor.join().unwrap();
    }
    cell.load(Ordering::Relaxed)
}

/// A model that reaches an outcome it does not allow is red.
#[test]
#[should_panic(expected = "outcome 2 is not allowed (allowed: [])")]
fn an_outcome_that_is_not_allowed_is_refused() {
    Model::new("ground::refused").reaches([], two_increments);
}

/// A model that never reaches an outcome it promises is red: the claim is then
/// weaker than it reads, or the search is too small.
#[test]
#[should_panic(expected = "outcomes that no execution reached: [1]")]
fn an_outcome_that_is_never_reached_is_refused() {
    Model::new("ground::refused").reaches([1, 2], two_increments);
}

/// A model in which nothing happens at the same time is red.
#[test]
#[cfg_attr(loom, should_panic(expected = "there is one schedule only"))]
#[cfg_attr(not(loom), should_panic(expected = "nothing runs beside the body"))]
fn a_model_of_one_execution_is_refused() {
    Model::new("ground::refused").holds(|| {});
}

/// A thread parks until it is woken or until its deadline, and either may
/// happen first, however far the deadline lies ahead.
///
/// Does not cover: loom, where the deadline does not pass; how long it takes.
#[test]
fn a_deadline_and_a_wake_up_race() {
    let model = Model::new("ground::a_deadline_and_a_wake_up_race").shuttle_only();
    model.reaches([false, true], || {
        let handle: Arc<Mutex<Option<Thread>>> = Arc::new(Mutex::new(None));
        let sleeper = thread::spawn({
            let handle = Arc::clone(&handle);
            move || {
                *handle.lock() = Some(thread::current());
                let far = time::now() + Duration::from_secs(3_600);
                thread::park_until(Some(far)) == Parked::TimedOut
            }
        });
        let waker = thread::spawn(move || {
            if let Some(sleeper) = handle.lock().take() {
                sleeper.unpark();
            }
        });
        waker.join().unwrap();
        sleeper.join().unwrap()
    });
}

/// A wake-up that comes before its thread parks is not lost: the loop of
/// "check, park" ends under every schedule.
///
/// Does not cover: wake-ups for no reason under shuttle, which has none.
#[test]
fn a_wake_up_before_the_park_is_not_lost() {
    Model::new("ground::a_wake_up_before_the_park_is_not_lost").holds(|| {
        let shared = Arc::new((AtomicU64::new(0), Mutex::new(None::<Thread>)));
        let sleeper = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                *shared.1.lock() = Some(thread::current());
                while shared.0.load(Ordering::SeqCst) == 0 {
                    // A step between the look and the park: there it may come.
                    drop(shared.1.lock());
                    thread::park();
                }
            }
        });
        let waker = thread::spawn(move || {
            shared.0.store(1, Ordering::SeqCst);
            if let Some(sleeper) = shared.1.lock().take() {
                sleeper.unpark();
            }
        });
        waker.join().unwrap();
        sleeper.join().unwrap();
    });
}
