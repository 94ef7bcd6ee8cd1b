//! The semaphore under every explored schedule.
//!
//! None of these covers: more than four actors, overflow of the count, wakers
//! that panic.

use super::kit::Model;
use selvedge::semaphore::{Closed, Semaphore};
use selvedge::swap::atomic::{AtomicUsize, Ordering};
use selvedge::swap::future::block_on;
use selvedge::swap::{Arc, thread};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Two tasks and a thread share one permit: never two inside.
///
/// Does not cover: `acquire_many`.
#[test]
fn never_more_inside_than_permits() {
    Model::new("semaphore::never_more_inside_than_permits").preemptions(2).holds(|| {
        let semaphore = Arc::new(Semaphore::new(1));
        let inside = Arc::new(AtomicUsize::new(0));
        let actors = [0, 1, 2].map(|actor| {
            let (semaphore, inside) = (Arc::clone(&semaphore), Arc::clone(&inside));
            thread::spawn(move || {
                let permit = if actor == 0 {
                    semaphore.acquire_blocking(1).unwrap()
                } else {
                    block_on(semaphore.acquire()).unwrap()
                };
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two inside");
                inside.fetch_sub(1, Ordering::SeqCst);
                drop(permit);
            })
        });
        for actor in actors {
            actor.join().unwrap();
        }
        assert_eq!(semaphore.available(), 1);
    });
}

/// A future polled once and dropped races with the release and with one that
/// stands behind it: whatever the order, the one behind gets the permit and
/// none is lost.
///
/// Does not cover: several cancelled in a row.
#[test]
fn cancelled_waiter_neither_keeps_nor_loses_a_permit() {
    Model::new("semaphore::cancelled_waiter_neither_keeps_nor_loses_a_permit").reaches(
        [false, true],
        || {
            let semaphore = Arc::new(Semaphore::new(1));
            let held = Semaphore::try_acquire_owned(&semaphore, 1).unwrap();
            let quitter = thread::spawn({
                let semaphore = Arc::clone(&semaphore);
                move || {
                    block_on(async {
                        let mut acquire = pin!(semaphore.acquire());
                        poll_fn(|cx| Poll::Ready(acquire.as_mut().poll(cx).is_ready())).await
                    })
                }
            });
            let stayer = thread::spawn({
                let semaphore = Arc::clone(&semaphore);
                move || drop(block_on(semaphore.acquire()).unwrap())
            });
            let holder = thread::spawn(move || drop(held));
            holder.join().unwrap();
            stayer.join().unwrap();
            let got_it = quitter.join().unwrap();
            assert_eq!(semaphore.available(), 1, "a permit was lost or made");
            got_it
        },
    );
}

/// The head wants two of which one is free, and gives up: the one behind it,
/// who wants one, is let through although nothing is released.
///
/// Does not cover: a release in the same moment.
#[test]
fn large_request_that_gives_up_lets_small_ones_through() {
    Model::new("semaphore::large_request_that_gives_up_lets_small_ones_through").reaches(
        [false, true],
        || {
            let semaphore = Arc::new(Semaphore::new(1));
            let large = thread::spawn({
                let semaphore = Arc::clone(&semaphore);
                move || {
                    block_on(async {
                        let mut acquire = pin!(semaphore.acquire_many(2));
                        let polled = poll_fn(|cx| Poll::Ready(acquire.as_mut().poll(cx))).await;
                        assert!(polled.is_pending(), "two of one permit");
                    });
                }
            });
            let small = thread::spawn({
                let semaphore = Arc::clone(&semaphore);
                move || {
                    let overtaken = semaphore.try_acquire().is_err();
                    drop(block_on(semaphore.acquire()).unwrap());
                    overtaken
                }
            });
            large.join().unwrap();
            let overtaken = small.join().unwrap();
            assert_eq!(semaphore.available(), 1);
            overtaken
        },
    );
}

/// Two permits are released one at a time while a request for two stands
/// before a request for one: neither starves, and the count is conserved.
///
/// Does not cover: more than one large request.
#[test]
fn release_serves_large_and_small_requests() {
    Model::new("semaphore::release_serves_large_and_small_requests").preemptions(2).holds(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let actors = [2, 1].map(|count| {
            let semaphore = Arc::clone(&semaphore);
            thread::spawn(move || {
                let permit = block_on(semaphore.acquire_many(count)).unwrap();
                assert_eq!(permit.count(), count);
            })
        });
        let adder = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || {
                semaphore.add_permits(1);
                semaphore.add_permits(1);
            }
        });
        for actor in actors {
            actor.join().unwrap();
        }
        adder.join().unwrap();
        assert_eq!(semaphore.available(), 2);
    });
}

/// A close wakes every waiter, task and thread, with an error; a permit that
/// was given out before stays good.
///
/// Does not cover: a release in the same moment (see `close_races_release`).
#[test]
fn close_wakes_every_waiter() {
    Model::new("semaphore::close_wakes_every_waiter").preemptions(2).holds(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let task = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || block_on(semaphore.acquire()).map(drop)
        });
        let blocked = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.acquire_blocking(1).map(drop)
        });
        let closer = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.close()
        });
        closer.join().unwrap();
        assert_eq!(task.join().unwrap(), Err(Closed));
        assert_eq!(blocked.join().unwrap(), Err(Closed));
        assert!(semaphore.is_closed());
    });
}

/// A release and a close race for one waiter: it gets the permit or the
/// error, never neither, and the permit comes back in both cases.
///
/// Does not cover: more than one waiter.
#[test]
fn close_races_release() {
    Model::new("semaphore::close_races_release").reaches([Ok(()), Err(Closed)], || {
        let semaphore = Arc::new(Semaphore::new(1));
        let held = Semaphore::try_acquire_owned(&semaphore, 1).unwrap();
        let waiter = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || block_on(semaphore.acquire()).map(drop)
        });
        let closer = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.close()
        });
        let releaser = thread::spawn(move || drop(held));
        closer.join().unwrap();
        releaser.join().unwrap();
        let result = waiter.join().unwrap();
        assert_eq!(semaphore.available(), 1);
        result
    });
}

/// First come, first served: of two that stand in line in a known order, the
/// first is served first, and a third who only tries gets nothing while they
/// stand.
///
/// Does not cover: threads in the line.
#[test]
fn permits_go_out_in_order_of_arrival() {
    Model::new("semaphore::permits_go_out_in_order_of_arrival")
        .executions(35_000)
        .preemptions(2)
        .reaches([0, 1], || {
            let semaphore = Arc::new(Semaphore::new(0));
            let barger = thread::spawn({
                let semaphore = Arc::clone(&semaphore);
                move || usize::from(semaphore.try_acquire().map(forget).is_ok())
            });
            let line = thread::spawn({
                let semaphore = Arc::clone(&semaphore);
                move || {
                    block_on(async {
                        let mut first = pin!(semaphore.acquire());
                        let mut second = pin!(semaphore.acquire());
                        // In line in this order, whatever the order of waking.
                        let mut done = poll_fn(|cx| {
                            Poll::Ready([first.as_mut(), second.as_mut()].map(|acquire| {
                                let polled = acquire.poll(cx);
                                polled.map(|permit| permit.unwrap().forget()).is_ready()
                            }))
                        })
                        .await;
                        poll_fn(|cx| {
                            if !done[1]
                                && let Poll::Ready(permit) = second.as_mut().poll(cx)
                            {
                                permit.unwrap().forget();
                                done[1] = true;
                                // Whoever came first was served before.
                                if !done[0] {
                                    let Poll::Ready(permit) = first.as_mut().poll(cx) else {
                                        panic!("the second was served before the first");
                                    };
                                    permit.unwrap().forget();
                                    done[0] = true;
                                }
                            }
                            if !done[0]
                                && let Poll::Ready(permit) = first.as_mut().poll(cx)
                            {
                                permit.unwrap().forget();
                                done[0] = true;
                            }
                            if done == [true; 2] { Poll::Ready(()) } else { Poll::Pending }
                        })
                        .await;
                    });
                }
            });
            let adder = thread::spawn({
                let semaphore = Arc::clone(&semaphore);
                move || {
                    semaphore.add_permits(1);
                    semaphore.add_permits(1);
                    semaphore.add_permits(1);
                }
            });
            adder.join().unwrap();
            line.join().unwrap();
            let barged = barger.join().unwrap();
            assert_eq!(semaphore.available(), 1 - barged);
            barged
        });
}

fn forget<H: std::ops::Deref<Target = Semaphore>>(permit: selvedge::semaphore::Permit<H>) {
    permit.forget();
}

/// A thread that waits with a deadline gets the permit or gives up, and the
/// permit is never lost between the two.
///
/// Does not cover: the length of the wait (shuttle has no clock).
#[test]
fn timeout_races_release() {
    Model::new("semaphore::timeout_races_release").shuttle_only().reaches([false, true], || {
        let semaphore = Arc::new(Semaphore::new(0));
        let waiter = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.acquire_timeout(1, std::time::Duration::from_secs(3_600)).is_ok()
        });
        let adder = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.add_permits(1)
        });
        adder.join().unwrap();
        let got_it = waiter.join().unwrap();
        assert_eq!(semaphore.available(), 1);
        got_it
    });
}
