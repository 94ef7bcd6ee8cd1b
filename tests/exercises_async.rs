//! The assertions of exercises 5 to 9 and 11: on the paused clock, and once on
//! the real one.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

mod support;

use futures_core::Stream;
use selvedge::exercises::{
    RuntimeError, cancel_demo, compute_off_thread, cpu_heavy, gather_limited, rate_limited,
    run_mixed, with_timeout,
};
use selvedge::nz;
use selvedge::outcome::Outcome;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;
use support::{paused, perturbed};

/// As in the seed.
async fn assertions() {
    let mut out = gather_limited(10, nz!(3)).await;
    out.sort_unstable();
    assert_eq!(out, (0..10).collect::<Vec<_>>());

    assert_eq!(cancel_demo().await, "cancelled");

    let res = run_mixed().await;
    assert!(res.contains(&Outcome::Err(RuntimeError("x"))) && res.contains(&Outcome::Ok(1)));

    let ms = Duration::from_millis;
    assert_eq!(with_timeout(ms(10), ms(100)).await, Ok(ms(10)));
    assert!(with_timeout(ms(200), ms(50)).await.is_err());

    assert_eq!(compute_off_thread(10_000).await, (0..10_000).map(|i| i * i).sum::<u64>());
}

/// 11, as in the seed: how long it took.
async fn test_rate() -> Duration {
    let started = tokio::time::Instant::now();
    let mut ids = pin!(rate_limited(0..10, nz!(10)));
    let mut out = Vec::new();
    while let Some(i) = poll_fn(|context| ids.as_mut().poll_next(context)).await {
        out.push(i);
    }
    let elapsed = started.elapsed();
    assert_eq!(out, (0..10).collect::<Vec<_>>());
    // The seed's loose lower bound.
    assert!(elapsed.as_secs_f64() >= 1.0 / 10.0 * 9.0 * 0.8);
    elapsed
}

#[test]
fn exercise_11_takes_exactly_nine_tenths_on_the_paused_clock() {
    assert_eq!(paused().block_on(test_rate()), Duration::from_millis(900));
}

#[test]
fn exercise_11_on_the_real_clock() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    // Nine intervals, less what a late timer is caught up with.
    assert!(runtime.block_on(test_rate()) >= Duration::from_millis(899));
}

#[test]
fn exercises_5_to_9_on_the_paused_clock() {
    perturbed(|perturb| async move { perturb.around(assertions()).await });
}

#[test]
fn exercises_5_to_9_on_the_real_clock() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(assertions());
}

#[test]
#[should_panic(expected = "a sum that fits")]
fn a_sum_that_does_not_fit_panics() {
    assert_eq!(cpu_heavy(0), 0);
    let _ = cpu_heavy(u64::MAX);
}
