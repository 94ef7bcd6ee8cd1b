//! The cancellation tree under every explored schedule.

use super::kit::Model;
use selvedge::cancel::Token;
use selvedge::swap::atomic::{AtomicU64, Ordering};
use selvedge::swap::future::block_on;
use selvedge::swap::{Arc, thread};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// A cancel of the parent is one step for the subtree: an observer that sees
/// the parent or one child cancelled sees the other child cancelled, and the
/// grandchild too.
///
/// Does not cover: two cancels at once (see `first_cause_stays`).
#[test]
fn subtree_is_cancelled_in_one_step() {
    Model::new("cancel::subtree_is_cancelled_in_one_step").reaches(
        [
            [false; 4],
            [false, false, false, true],
            [false, false, true, true],
            [false, true, true, true],
            [true; 4],
        ],
        || {
            let parent = Token::new();
            let left = parent.child();
            let right = parent.child();
            let below = right.child();
            let observer = thread::spawn({
                // Looked at one after the other: once true, always true.
                let line = [below.clone(), parent.clone(), left.clone(), right.clone()];
                move || line.map(|token| token.is_cancelled())
            });
            let canceller = thread::spawn(move || assert!(parent.cancel()));
            canceller.join().unwrap();
            assert!(left.is_cancelled() && right.is_cancelled() && below.is_cancelled());
            observer.join().unwrap()
        },
    );
}

/// A child made while the parent is being cancelled is cancelled, whether it
/// was made before or after.
///
/// Does not cover: a grandchild made of the newborn.
#[test]
fn newborn_child_does_not_escape() {
    Model::new("cancel::newborn_child_does_not_escape").reaches([false, true], || {
        let parent = Token::new();
        let maker = thread::spawn({
            let parent = parent.clone();
            move || {
                let child = parent.child();
                (child.is_cancelled(), child)
            }
        });
        let canceller = thread::spawn(move || parent.cancel());
        let (born_cancelled, child) = maker.join().unwrap();
        canceller.join().unwrap();
        assert!(child.is_cancelled());
        born_cancelled
    });
}

/// Everybody who waits below a cancelled token is woken: a task on the
/// parent, a thread on the child.
///
/// Does not cover: waiters that give up (see `cancelled_waiter_leaves`).
#[test]
fn cancel_wakes_every_waiter() {
    Model::new("cancel::cancel_wakes_every_waiter").preemptions(2).holds(|| {
        let parent = Token::new();
        let child = parent.child();
        let waiters = [
            thread::spawn({
                let parent = parent.clone();
                move || block_on(parent.cancelled())
            }),
            thread::spawn(move || child.wait_blocking(None).unwrap()),
        ];
        let canceller = thread::spawn(move || parent.cancel_because("enough"));
        canceller.join().unwrap();
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap().cause(), Some("enough"));
        }
    });
}

/// Two causes race on parent and child: each token has exactly one, the
/// parent its own, and the child the parent's only if its own came later.
///
/// Does not cover: more than two causes.
#[test]
fn first_cause_stays() {
    Model::new("cancel::first_cause_stays").reaches([("own", true), ("parent's", false)], || {
        let parent = Token::new();
        let child = parent.child();
        let above = thread::spawn({
            let parent = parent.clone();
            move || assert!(parent.cancel_because("parent's"))
        });
        let below = thread::spawn({
            let child = child.clone();
            move || child.cancel_because("own")
        });
        let was_first = below.join().unwrap();
        above.join().unwrap();
        assert_eq!(parent.cause().unwrap().cause(), Some("parent's"));
        let cause = child.cause().unwrap();
        (if cause.cause() == Some("own") { "own" } else { "parent's" }, was_first)
    });
}

/// A wait that is given up races with the cancel and with one that stays.
///
/// Does not cover: the memory of the abandoned waker.
#[test]
fn cancelled_waiter_leaves() {
    Model::new("cancel::cancelled_waiter_leaves").reaches([false, true], || {
        let token = Token::new();
        let quitter = thread::spawn({
            let token = token.clone();
            move || {
                block_on(async {
                    let mut cancelled = pin!(token.cancelled());
                    poll_fn(|cx| Poll::Ready(cancelled.as_mut().poll(cx).is_ready())).await
                })
            }
        });
        let stayer = thread::spawn({
            let token = token.clone();
            move || drop(block_on(token.cancelled()))
        });
        let canceller = thread::spawn(move || token.cancel());
        canceller.join().unwrap();
        stayer.join().unwrap();
        quitter.join().unwrap()
    });
}

/// The middle of a chain is dropped while the top is cancelled: the bottom is
/// reached either way.
///
/// Does not cover: siblings of the one that goes.
#[test]
fn children_of_a_dropped_token_hang_on_its_parent() {
    Model::new("cancel::children_of_a_dropped_token_hang_on_its_parent").holds(|| {
        let top = Token::new();
        let middle = top.child();
        let bottom = middle.child();
        let dropper = thread::spawn(move || drop(middle));
        let canceller = thread::spawn(move || top.cancel());
        dropper.join().unwrap();
        canceller.join().unwrap();
        assert!(bottom.is_cancelled());
    });
}

/// What was written before a cancel is seen by who sees the cancel.
///
/// Does not cover: writes after it.
#[test]
fn cancel_publishes_what_came_before() {
    let model = Model::new("cancel::cancel_publishes_what_came_before");
    model.reaches([(false, 0), (false, 1), (true, 1)], || {
        let token = Token::new();
        let cell = Arc::new(AtomicU64::new(0));
        let writer = thread::spawn({
            let (token, cell) = (token.clone(), Arc::clone(&cell));
            move || {
                cell.store(1, Ordering::Relaxed);
                token.cancel();
            }
        });
        let reader = thread::spawn(move || {
            let seen = token.is_cancelled();
            (seen, cell.load(Ordering::Relaxed))
        });
        writer.join().unwrap();
        reader.join().unwrap()
    });
}

/// A future and a cancel race in `run_until_cancelled`: value or cause, and
/// never a third.
///
/// Does not cover: futures that are woken more than once.
#[test]
fn run_until_cancelled_ends_in_one_of_two_ways() {
    let model = Model::new("cancel::run_until_cancelled_ends_in_one_of_two_ways");
    model.reaches([false, true], || {
        let (token, event) = (Token::new(), Token::new());
        let runner = thread::spawn({
            let (token, event) = (token.clone(), event.clone());
            move || block_on(token.run_until_cancelled(event.cancelled())).is_ok()
        });
        let canceller = thread::spawn(move || token.cancel());
        let finisher = thread::spawn(move || event.cancel());
        canceller.join().unwrap();
        finisher.join().unwrap();
        runner.join().unwrap()
    });
}

/// A thread that waits with a deadline: cancelled or out of time, and it
/// leaves no waiter behind.
///
/// Does not cover: the length of the wait.
#[test]
fn blocking_wait_ends_by_cancel_or_deadline() {
    let model = Model::new("cancel::blocking_wait_ends_by_cancel_or_deadline").shuttle_only();
    model.reaches([false, true], || {
        let token = Token::new();
        let waiter = thread::spawn({
            let token = token.clone();
            move || {
                let later = selvedge::swap::time::now() + std::time::Duration::from_secs(3_600);
                token.wait_blocking(Some(later)).is_some()
            }
        });
        let canceller = thread::spawn(move || token.cancel());
        canceller.join().unwrap();
        waiter.join().unwrap()
    });
}
