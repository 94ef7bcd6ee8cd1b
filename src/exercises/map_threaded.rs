//! Exercise 2: an order-preserving map over threads.

use crate::threads::Threads;
use std::num::NonZeroUsize;

/// `x * x`.
///
/// # Panics
///
/// On overflow, in debug and release builds alike.
#[must_use]
pub fn square(x: i64) -> i64 {
    x.checked_mul(x).expect("the square fits an i64")
}

/// Maps `f` over `xs` on at most `max_workers` threads; results in input
/// order.
///
/// # Panics
///
/// As [`Threads::map`].
///
/// ```
/// use selvedge::exercises::{map_threaded, square};
///
/// assert_eq!(map_threaded(square, [1, 2, 3], selvedge::nz!(4)), [1, 4, 9]);
/// ```
pub fn map_threaded<I, R, F>(f: F, xs: I, max_workers: NonZeroUsize) -> Vec<R>
where
    I: IntoIterator<Item: Send>,
    R: Send,
    F: Fn(I::Item) -> R + Sync,
{
    Threads::new().max_workers(max_workers).map(xs, f)
}
