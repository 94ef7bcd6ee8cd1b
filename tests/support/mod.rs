//! The paused clock, and more than the one interleaving that it explores.
#![allow(dead_code, reason = "each test binary uses what it needs")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

/// Yields that a seed puts in front of polls.
#[derive(Debug, Clone)]
pub(crate) struct Perturb(Arc<AtomicU64>);

impl Perturb {
    /// A number below `n`, from the seed.
    pub(crate) fn below(&self, n: u64) -> u64 {
        // SplitMix64.
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// `future`, with a yield in front of every other poll, or so.
    pub(crate) fn around<F: Future>(&self, future: F) -> Perturbed<F> {
        Perturbed { future: Box::pin(future), perturb: self.clone() }
    }
}

/// See [`Perturb::around`].
#[derive(Debug)]
pub(crate) struct Perturbed<F> {
    future: Pin<Box<F>>,
    perturb: Perturb,
}

impl<F: Future> Future for Perturbed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.perturb.below(2) == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.future.as_mut().poll(context)
    }
}

/// Says which seed it was when a test panics under it.
struct Blame(u64);

impl Drop for Blame {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("schedule seed {0}: replay it with SELVEDGE_SEED={0}", self.0);
        }
    }
}

/// A single-threaded runtime whose clock is paused.
pub(crate) fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Runs a test on the paused clock under 50 perturbed schedules, or under the
/// one that SELVEDGE_SEED names.
pub(crate) fn perturbed<F: Future<Output = ()>>(test: impl Fn(Perturb) -> F) {
    perturbed_by(50, test);
}

/// [`perturbed`], under so many.
pub(crate) fn perturbed_by<F: Future<Output = ()>>(seeds: u64, test: impl Fn(Perturb) -> F) {
    let seeds = match std::env::var("SELVEDGE_SEED") {
        Ok(seed) => vec![seed.parse().expect("SELVEDGE_SEED is a number")],
        Err(_) => (0..seeds).collect::<Vec<u64>>(),
    };
    for seed in seeds {
        under_seed(seed, &test);
    }
}

/// Runs a test on the paused clock under the schedule that `seed` gives.
pub(crate) fn under_seed<F: Future<Output = ()>>(seed: u64, test: impl FnOnce(Perturb) -> F) {
    let _blame = Blame(seed);
    let perturb = Perturb(Arc::new(AtomicU64::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))));
    paused().block_on(perturb.around(test(perturb.clone())));
}
