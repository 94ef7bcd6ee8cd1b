//! First-in first-out queues between threads, tasks, or both.
//!
//! [`bounded`] and [`unbounded`] make a queue with any number of senders and
//! receivers. Each item goes to exactly one receiver. Either end can be used
//! from a thread ([`Sender::send`], [`Receiver::recv`]) or from a task
//! ([`Sender::send_async`], [`Receiver::recv_async`]), at the same time.
//!
//! ```
//! use selvedge::{nz, queue};
//!
//! let (tx, rx) = queue::bounded(nz!(16));
//! let worker = std::thread::spawn(move || rx.iter().map(|n: u64| n * n).sum::<u64>());
//! for n in 1..=4 {
//!     tx.send(n)?;
//! }
//! drop(tx); // the last sender: the queue drains, then ends
//! assert_eq!(worker.join().unwrap(), 30);
//! # Ok::<(), queue::SendError<u64>>(())
//! ```
//!
//! # What is promised
//!
//! * **Conservation.** Every item is delivered once, or returned to its sender
//!   in an error, or returned by [`close_now`](Receiver::close_now), or dropped
//!   with the last receiver; never two of these, and none is lost.
//! * **Order.** Items are received in the order in which they were sent; of one
//!   sender's items a receiver sees the earlier first.
//! * **Close.** [`close`](Sender::close) ends the queue for senders at once and
//!   for receivers once it is drained. `close_now` takes what is undelivered
//!   back. [`close_with`](Sender::close_with) tells the receivers why.
//!   Dropping the last sender closes; if a sender was dropped by a panicking
//!   thread, the receivers learn that ([`SenderPanicked`]). A sender that is
//!   dropped in any other way has finished, also where its task was cancelled
//!   or ran out of time half way: where that matters send through a
//!   [`Producer`], which has to say that it has finished, and the receivers
//!   learn if it did not ([`Abandoned`]). Dropping the last receiver closes
//!   and drops what is there.
//! * **Waiting.** A waiting thread spins for about a microsecond and then
//!   parks: an idle end uses no CPU. Who stops waiting (deadline, dropped
//!   future) hands a wake-up that was meant for it to the next.
//! * **Deadlines.** A blocking end waits for as long as it is told. A task's
//!   waits until the deadline that the task is under, inherited or not, if it
//!   is asked to ([`by_deadline`](SendFuture::by_deadline)); a value that was
//!   not sent comes back. What is there when the deadline is noticed wins.
//! * **Try.** `try_*` never wait for a peer. They take their end's mutex, whose
//!   critical sections are a few instructions long.
//! * **Capacity** is at least one, by type. There is no rendezvous.
//!
//! # Not promised
//!
//! Fairness: a caller that comes at the right moment can overtake one that was
//! woken. Nothing about who of several receivers gets an item.
//!
//! # Cost
//!
//! Every operation is O(1), amortised over block allocations in unbounded
//! queues; `*_many` are O(items) with one lock for all. A bounded queue of up
//! to 1 MiB is allocated at once; larger ones and unbounded ones grow and
//! shrink by blocks of about 4 KiB.
//!
//! # Memory ordering
//!
//! What happened before a send happens before the receive of its item, and
//! what happened before a close happens before a receive that reports it.
//!
//! # Model bounds
//!
//! `loom-tests/models/queue.rs` under loom (at most 3 preemptions) and shuttle
//! (every schedule, or PCT where it says so): two or three actors, capacities
//! 1 and 2, block length 2; deadlines of tasks in `queue_deadline.rs` beside it,
//! under shuttle alone. Not covered: more actors, spinning before parking,
//! position counters near 2^64.

mod blocking;
mod core;
#[cfg(not(loom))]
mod deadline;
mod error;
mod future;
mod handles;
mod producer;
mod storage;

pub use blocking::{IntoIter, Iter, TryIter};
#[cfg(not(loom))]
pub use deadline::ByDeadline;
pub use error::{
    Abandoned, Closed, RecvTimeoutError, SendError, SendTimeoutError, SenderPanicked, TryRecvError,
    TrySendError,
};
pub use future::{RecvFuture, RecvManyFuture, RecvStream, SendFuture};
pub use handles::{Receiver, Sender};
pub use producer::Producer;

use std::num::NonZeroUsize;

/// A queue that holds at most `capacity` items; senders wait for room.
///
/// Queues of up to 1 MiB are allocated here, larger ones as they fill.
///
/// ```
/// use selvedge::{nz, queue};
/// let (tx, rx) = queue::bounded(nz!(1));
/// assert!(tx.try_send("first").is_ok());
/// assert_eq!(tx.try_send("second"), Err(queue::TrySendError::Full("second")));
/// assert_eq!(rx.try_recv().ok(), Some("first"));
/// ```
pub fn bounded<T>(capacity: NonZeroUsize) -> (Sender<T>, Receiver<T>) {
    handles::pair(Some(capacity))
}

/// A queue without a bound: sending never waits. Mind the memory when
/// receivers may fall behind.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    handles::pair(None)
}
