//! The cancellation tree on std and tokio: what one thread can see.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

mod support;

use proptest::prelude::*;
use selvedge::cancel::{Cancellation, DropGuard, Token};
use std::time::{Duration, Instant};
use support::perturbed_by;
use tokio_test::task::spawn;
use tokio_test::{assert_pending, assert_ready};

#[test]
fn handles_travel() {
    fn is<T: Send + Sync + 'static>() {}
    is::<Token>();
    is::<DropGuard>();
    is::<Cancellation<Token>>();
}

#[tokio::test]
async fn an_always_ready_future_is_stopped() {
    let token = Token::new();
    let mut turns = 0;
    // Never pending: a check after the poll would go on for ever.
    while token.run_until_cancelled(async { turns += 1 }).await.is_ok() {
        if turns == 10 {
            token.cancel_because("ten are enough");
        }
        assert!(turns <= 10, "the cancel was not seen");
    }
    let stopped = token.run_until_cancelled(std::future::ready(())).await.unwrap_err();
    assert_eq!(stopped.cause(), Some("ten are enough"));
}

#[test]
fn a_value_wins_over_a_cancel_during_its_poll() {
    let token = Token::new();
    let mut run = spawn(token.run_until_cancelled(async { token.cancel() }));
    assert_eq!(assert_ready!(run.poll()), Ok(true));
}

#[test]
fn a_guard_cancels_unless_disarmed() {
    let token = Token::new();
    drop(token.clone().drop_guard().disarm());
    assert!(!token.is_cancelled());
    let panicked = std::panic::catch_unwind({
        let token = token.clone();
        move || {
            let _guard = token.drop_guard();
            panic!("out");
        }
    });
    assert!(panicked.is_err() && token.is_cancelled());
}

#[test]
fn a_forgotten_wait_holds_nothing_up() {
    let token = Token::new();
    let child = token.child();
    let mut wait = spawn(child.clone().cancelled_owned());
    assert_pending!(wait.poll());
    std::mem::forget(wait);
    drop(child);
    assert!(token.cancel());
}

#[test]
fn a_blocking_wait_is_cut_short_or_runs_out() {
    let token = Token::new();
    assert!(token.wait_blocking(Some(Instant::now() + Duration::from_millis(1))).is_none());
    let waiting = std::thread::spawn({
        let token = token.child();
        move || token.wait_blocking(None)
    });
    token.cancel();
    assert!(waiting.join().unwrap().is_some());
}

#[test]
fn a_chain_of_100_000_is_cancelled_and_dropped_without_recursion() {
    let mut chain = vec![Token::new()];
    for _ in 0..100_000 {
        chain.push(chain[chain.len() - 1].child());
    }
    chain[0].cancel();
    assert!(chain[100_000].is_cancelled());
}

#[test]
fn ten_thousand_sleepers_stop_at_once() {
    perturbed_by(3, |perturb| async move {
        let token = Token::new();
        let sleepers: Vec<_> = (0..10_000)
            .map(|_| {
                let token = token.child();
                tokio::spawn(perturb.around(async move {
                    token.run_until_cancelled(tokio::time::sleep(Duration::from_secs(60))).await
                }))
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let start = tokio::time::Instant::now();
        token.cancel_because("all of you");
        for sleeper in sleepers {
            assert_eq!(sleeper.await.unwrap().unwrap_err().cause(), Some("all of you"));
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(
            prop::test_runner::FileFailurePersistence::Direct(concat!(
                env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/cancel.txt"
            )),
        )),
        ..ProptestConfig::default()
    })]
    /// Any sequence of child, cancel and drop agrees with walking up to the
    /// nearest cancelled ancestor that was above at the time.
    #[test]
    fn agrees_with_walking_up(steps in prop::collection::vec((0..4_u8, any::<prop::sample::Index>()), 1..80)) {
        // Every node ever made: its parent and its cause; never forgotten.
        let mut parents = vec![None];
        let mut causes: Vec<Option<String>> = vec![None];
        let mut alive = vec![(0, Token::new())];
        for (serial, (step, pick)) in steps.into_iter().enumerate() {
            if alive.is_empty() {
                break;
            }
            let at = pick.index(alive.len());
            let (id, token) = alive[at].clone();
            match step {
                0 | 1 => {
                    alive.push((parents.len(), token.child()));
                    parents.push(Some(id));
                    causes.push(causes[id].clone());
                }
                2 => {
                    let expected = causes[id].is_none();
                    prop_assert_eq!(token.cancel_because(&serial.to_string()), expected);
                    for (node, cause) in causes.iter_mut().enumerate() {
                        let mut up = Some(node);
                        while let Some(above) = up.filter(|above| *above != id) {
                            up = parents[above];
                        }
                        if up == Some(id) {
                            cause.get_or_insert_with(|| serial.to_string());
                        }
                    }
                }
                _ => drop(alive.swap_remove(at)),
            }
            for (id, token) in &alive {
                prop_assert_eq!(token.is_cancelled(), causes[*id].is_some());
                let cause = token.cause();
                prop_assert_eq!(cause.as_ref().and_then(|cause| cause.cause()), causes[*id].as_deref());
            }
        }
    }
}
