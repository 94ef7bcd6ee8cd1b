//! Exercise 3: a producer, a queue, a worker, and a sentinel.

use super::square;
use crate::{nz, queue};
use std::panic::resume_unwind;
use std::thread;

/// Sends `nums` through a queue to a worker thread that squares them; `None`
/// tells it that there are no more. The results are in the order of `nums`.
///
/// A sentinel is what the exercise asks for. Closing the queue does the same
/// for any number of workers, and needs no `Option`:
/// [`Sender::close`](queue::Sender::close).
///
/// # Panics
///
/// When a square does not fit an `i64`, with the worker's panic.
///
/// ```
/// assert_eq!(selvedge::exercises::pipeline([1, 2, 3, 4]), [1, 4, 9, 16]);
/// ```
#[must_use]
pub fn pipeline(nums: impl IntoIterator<Item = i64>) -> Vec<i64> {
    let (tx, rx) = queue::bounded(nz!(64));
    let worker = thread::spawn(move || rx.into_iter().map_while(|n| n).map(square).collect());
    let items = nums.into_iter().map(Some).chain([None]);
    // A worker that panics drops the receiver: the rest need not be sent.
    let _sent_all = { items }.try_for_each(|item| tx.send(item));
    worker.join().unwrap_or_else(|panic| resume_unwind(panic))
}
