//! The wake-ups of a gather in place (`selvedge::gather::ready`).
//!
//! None of these covers more than two wakers, or a parent that is polled with
//! another waker each time.

use super::kit::Model;
use selvedge::gather::ready::Ready;
use selvedge::swap::atomic::{AtomicUsize, Ordering};
use selvedge::swap::future::block_on;
use selvedge::swap::{Arc, thread};
use std::future::poll_fn;
use std::task::Poll;

/// A wake-up of each slot of `at`, by a thread of its own, and a parent that
/// takes `turns` more of its own accord and ends when all events are seen:
/// which slots it found in the claims that found any.
///
/// A lost wake-up is a deadlock.
fn woken(at: [usize; 2], turns: usize) -> Vec<Vec<usize>> {
    let words = at.map(|at| at / 64 + 1).into_iter().max().unwrap();
    let ready = Arc::new(Ready::new(words * 64));
    let events = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let wakers = [0, 1].map(|n| {
        let (waker, events) = (Ready::waker(&ready, at[n]), Arc::clone(&events));
        thread::spawn(move || {
            events[n].fetch_add(1, Ordering::Relaxed);
            waker.wake();
        })
    });
    let parent = thread::spawn(move || {
        let (mut claims, mut seen, mut turns) = (Vec::new(), [0; 2], turns);
        block_on(poll_fn(|context| {
            ready.awake();
            for word in 0..words {
                let mut bits = ready.claim(word);
                let mut slots = Vec::new();
                while bits != 0 {
                    let slot = word * 64 + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    for n in (0..2).filter(|n| at[*n] == slot) {
                        seen[n] = events[n].load(Ordering::Relaxed);
                    }
                    let events: usize = (0..2).filter(|n| at[*n] == slot).map(|n| seen[n]).sum();
                    assert!(events > 0, "polled before its event");
                    slots.push(slot);
                }
                if !slots.is_empty() {
                    claims.push(slots);
                }
            }
            if seen == [1, 1] && turns == 0 {
                return Poll::Ready(());
            }
            let go_on = turns > 0;
            turns = turns.saturating_sub(1);
            ready.asleep(context.waker(), words, go_on);
            Poll::Pending
        }));
        claims
    });
    for waker in wakers {
        waker.join().unwrap();
    }
    parent.join().unwrap()
}

/// Two slots in one word: the second bit may join the first, whose waker tells
/// for both.
#[test]
fn slots_of_a_word_lose_no_wake_up() {
    let model = Model::new("ready::slots_of_a_word_lose_no_wake_up").preemptions(2);
    let outcomes = [vec![vec![0], vec![1]], vec![vec![1], vec![0]], vec![vec![0, 1]]];
    model.reaches(outcomes, || woken([0, 1], 0));
}

/// Two slots in two words: each waker tells, and what the first one published
/// is seen although the second one has swapped `told` since.
#[test]
fn slots_of_two_words_lose_no_wake_up() {
    let model = Model::new("ready::slots_of_two_words_lose_no_wake_up").preemptions(2);
    let outcomes = [vec![vec![0], vec![64]], vec![vec![64], vec![0]]];
    model.reaches(outcomes, || woken([0, 64], 0));
}

/// One slot, woken twice: it is polled after both events.
#[test]
fn slot_woken_twice_sees_both_events() {
    let model = Model::new("ready::slot_woken_twice_sees_both_events").preemptions(2);
    model.reaches([vec![vec![5]], vec![vec![5], vec![5]]], || woken([5, 5], 0));
}

/// A parent that is out of turns is woken by itself, beside the wake-ups.
///
/// Does not cover: more than one such turn.
#[test]
fn parent_out_of_turns_comes_back() {
    let model = Model::new("ready::parent_out_of_turns_comes_back").preemptions(2);
    let outcomes = [vec![vec![0], vec![1]], vec![vec![1], vec![0]], vec![vec![0, 1]]];
    model.reaches(outcomes, || woken([0, 1], 1));
}
