//! Exercise 9: threads for what computes, beside an event loop.

use crate::offload::to_thread;

/// The sum of the squares below `n`.
///
/// # Panics
///
/// If it does not fit, from `n` = 3,810,779 on.
#[must_use]
pub fn cpu_heavy(n: u64) -> u64 {
    (0..n).try_fold(0, |sum: u64, i| sum.checked_add(i.checked_mul(i)?)).expect("a sum that fits")
}

/// [`cpu_heavy`] on a thread of the pool, while the event loop goes on.
///
/// # Panics
///
/// If `cpu_heavy` does.
pub async fn compute_off_thread(n: u64) -> u64 {
    let outcome = to_thread(move |_| cpu_heavy(n)).await;
    outcome.into_result().unwrap_or_else(|failure| panic!("{failure}"))
}
