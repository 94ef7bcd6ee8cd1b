//! The semaphore on std and tokio: what one thread can see.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

use proptest::prelude::*;
use selvedge::semaphore::{Acquire, Closed, OwnedPermit, Semaphore, TryAcquireError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio_test::task::{Spawn, spawn};
use tokio_test::{assert_pending, assert_ready, assert_ready_eq};

fn is<T: Send + Sync>() {}

#[test]
fn handles_travel() {
    is::<Semaphore>();
    is::<OwnedPermit>();
    is::<Acquire<&Semaphore>>();
}

#[test]
fn nothing_is_given_at_once_even_behind_others() {
    let semaphore = Semaphore::new(0);
    let mut waiting = spawn(semaphore.acquire());
    assert_pending!(waiting.poll());
    let mut nothing = spawn(semaphore.acquire_many(0));
    assert_eq!(assert_ready!(nothing.poll()).unwrap().count(), 0);
}

#[test]
fn a_close_leaves_held_and_granted_permits_alone() {
    let semaphore = Semaphore::new(1);
    let held = semaphore.try_acquire().unwrap();
    let mut granted = spawn(semaphore.acquire());
    let mut refused = spawn(semaphore.acquire());
    assert_pending!(granted.poll());
    assert_pending!(refused.poll());
    drop(held);
    semaphore.close();
    assert!(granted.is_woken() && refused.is_woken());
    assert_eq!(assert_ready!(refused.poll()).unwrap_err(), Closed);
    drop(assert_ready!(granted.poll()).unwrap());
    assert_eq!(semaphore.try_acquire().unwrap_err(), TryAcquireError::Closed);
    assert_eq!(semaphore.acquire_blocking(1).unwrap_err(), Closed);
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn only_the_waiter_that_is_served_is_woken() {
    let semaphore = Semaphore::new(0);
    let mut line: Vec<_> = (0..3).map(|_| spawn(semaphore.acquire())).collect();
    line.iter_mut().for_each(|waiter| assert_pending!(waiter.poll()));
    semaphore.add_permits(1);
    assert_eq!(line.iter().map(Spawn::is_woken).collect::<Vec<_>>(), [true, false, false]);
}

/// The wakers look at the semaphore: it is not locked when they are called.
#[test]
fn a_close_wakes_in_the_order_of_the_line_and_unlocked() {
    struct Told(usize, Arc<Semaphore>, Arc<std::sync::Mutex<Vec<usize>>>);
    impl std::task::Wake for Told {
        fn wake(self: Arc<Self>) {
            assert!(self.1.is_closed());
            self.2.lock().unwrap().push(self.0);
        }
    }
    let semaphore = Arc::new(Semaphore::new(0));
    let told = Arc::default();
    let mut line = Vec::new();
    let stand = |id| {
        let told = Told(id, Arc::clone(&semaphore), Arc::clone(&told));
        let waker = std::task::Waker::from(Arc::new(told));
        let mut acquire = Box::pin(Semaphore::acquire_owned(&semaphore, 1));
        let polled = acquire.as_mut().poll(&mut std::task::Context::from_waker(&waker));
        assert!(polled.is_pending());
        acquire
    };
    line.extend((0..4).map(stand));
    // The places of those who leave are taken by those who come.
    drop(line.remove(1));
    drop(line.remove(0));
    line.extend((4..7).map(stand));
    semaphore.close();
    assert_eq!(*told.lock().unwrap(), [2, 3, 4, 5, 6]);
}

#[test]
fn a_waiter_that_moves_to_another_task_is_woken_there() {
    let semaphore = Arc::new(Semaphore::new(0));
    let mut first = spawn(Semaphore::acquire_owned(&semaphore, 1));
    assert_pending!(first.poll());
    let moved = std::mem::replace(&mut *first, Semaphore::acquire_owned(&semaphore, 1));
    let mut second = spawn(moved);
    assert_pending!(second.poll());
    semaphore.add_permits(1);
    assert!(second.is_woken() && !first.is_woken());
    drop(assert_ready!(second.poll()).unwrap());
}

#[test]
fn a_thread_gives_up_at_its_deadline() {
    let semaphore = Semaphore::new(1);
    let held = semaphore.try_acquire().unwrap();
    let late = semaphore.acquire_timeout(1, Duration::from_millis(1));
    assert_eq!(late.unwrap_err(), TryAcquireError::NoPermits);
    drop(held);
    assert!(semaphore.acquire_timeout(1, Duration::MAX).is_ok());
}

#[test]
fn forgotten_permits_do_not_come_back() {
    let semaphore = Semaphore::new(3);
    semaphore.try_acquire_many(2).unwrap().forget();
    std::mem::forget(semaphore.try_acquire().unwrap());
    assert_eq!(semaphore.available(), 0);
}

#[test]
#[should_panic(expected = "1 permits added to 18446744073709551615 are more than")]
fn too_many_permits_panic() {
    Semaphore::new(usize::MAX).add_permits(1);
}

/// A waker whose end drops a permit of the very semaphore in whose list it
/// stood: the last waker of a task drops the task.
#[test]
fn a_waker_that_holds_a_permit_may_be_dropped_with_its_waiter() {
    struct Holds(#[allow(dead_code, reason = "held, to be dropped")] OwnedPermit);
    impl std::task::Wake for Holds {
        fn wake(self: Arc<Self>) {}
    }
    let semaphore = Arc::new(Semaphore::new(1));
    let held = Semaphore::try_acquire_owned(&semaphore, 1).unwrap();
    let waker = std::task::Waker::from(Arc::new(Holds(held)));
    let mut acquire = Box::pin(Semaphore::acquire_owned(&semaphore, 1));
    let polled = acquire.as_mut().poll(&mut std::task::Context::from_waker(&waker));
    assert!(polled.is_pending());
    drop(waker);
    drop(acquire);
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn a_runtime_that_is_dropped_gives_permits_and_places_back() {
    let semaphore = Arc::new(Semaphore::new(1));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for _ in 0..3 {
        let acquire = Semaphore::acquire_owned(&semaphore, 1);
        runtime.spawn(async move {
            let _permit = acquire.await.unwrap();
            std::future::pending::<()>().await;
        });
    }
    runtime.block_on(tokio::task::yield_now());
    assert_eq!(semaphore.available(), 0);
    drop(runtime);
    assert_eq!(semaphore.try_acquire().map(|permit| permit.count()), Ok(1));
}

#[derive(Debug, Clone)]
enum Step {
    Acquire(usize),
    Drop(prop::sample::Index),
    Release(prop::sample::Index),
    Add(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_usize).prop_map(Step::Acquire),
        any::<prop::sample::Index>().prop_map(Step::Drop),
        any::<prop::sample::Index>().prop_map(Step::Release),
        (0..3_usize).prop_map(Step::Add),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(
            prop::test_runner::FileFailurePersistence::Direct(concat!(
                env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/semaphore.txt"
            )),
        )),
        ..ProptestConfig::default()
    })]
    /// Any sequence of steps agrees with a number and a queue of numbers.
    #[test]
    fn agrees_with_a_number_and_a_queue(steps in prop::collection::vec(step(), 1..60)) {
        let semaphore = Arc::new(Semaphore::new(2));
        let (mut free, mut line) = (2_usize, VecDeque::new());
        let mut waiting = Vec::new();
        let mut held = Vec::new();
        for (id, step) in steps.into_iter().enumerate() {
            match step {
                Step::Acquire(count) => {
                    waiting.push((id, count, spawn(Semaphore::acquire_owned(&semaphore, count))));
                    if count == 0 {
                        let (.., mut future) = waiting.pop().unwrap();
                        assert_ready!(future.poll()).unwrap().forget();
                    } else {
                        line.push_back((id, count));
                    }
                }
                Step::Drop(pick) if !waiting.is_empty() => {
                    let (id, ..) = waiting.swap_remove(pick.index(waiting.len()));
                    line.retain(|(other, _)| *other != id);
                }
                Step::Release(pick) if !held.is_empty() => {
                    let permit: OwnedPermit = held.swap_remove(pick.index(held.len()));
                    free += permit.count();
                }
                Step::Add(count) => {
                    semaphore.add_permits(count);
                    free += count;
                }
                Step::Drop(_) | Step::Release(_) => {}
            }
            // What the oracle serves, and nothing else, is ready.
            let mut served = Vec::new();
            while let Some((id, count)) = line.front().copied().filter(|(_, count)| *count <= free) {
                free -= count;
                line.pop_front();
                served.push(id);
            }
            let mut at = 0;
            while at < waiting.len() {
                let (id, _, future) = &mut waiting[at];
                if served.contains(id) {
                    held.push(assert_ready!(future.poll()).unwrap());
                    drop(waiting.swap_remove(at));
                } else {
                    assert_pending!(future.poll());
                    at += 1;
                }
            }
            prop_assert_eq!(semaphore.available(), free);
        }
        semaphore.close();
        for (_, _, mut future) in waiting {
            assert_ready_eq!(future.poll().map(|result| result.map(drop)), Err(Closed));
        }
    }
}
