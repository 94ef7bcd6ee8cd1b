//! The two handles: counting them, closing, and looking at the queue.

use super::core::{Core, Fault, drop_each};
use super::error::Closed;
use crate::swap::Arc;
use crate::swap::atomic::{AtomicUsize, Ordering};
use std::error::Error;
use std::fmt;
use std::num::NonZeroUsize;

struct Shared<T> {
    core: Core<T>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

/// The end that items are put in. Clone it for more senders.
///
/// When the last one is dropped the queue closes: receivers drain it, then
/// learn that it has ended.
#[must_use]
pub struct Sender<T>(Arc<Shared<T>>);

/// The end that items are taken from. Clone it for more receivers; each item
/// goes to one of them.
///
/// When the last one is dropped the queue closes and what is in it is dropped
/// immediately, item by item. If destructors panic, all items are dropped, and
/// the first panic goes on to the caller (unless its thread is unwinding).
#[must_use]
pub struct Receiver<T>(Arc<Shared<T>>);

pub(super) fn pair<T>(capacity: Option<NonZeroUsize>) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        core: Core::new(capacity),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

macro_rules! both_ends {
    ($handle:ident, $count:ident) => {
        impl<T> $handle<T> {
            pub(super) fn core(&self) -> &Core<T> {
                &self.0.core
            }

            /// Closes the queue: from now on sends fail and give their value
            /// back; receivers drain what is there and then learn that the
            /// queue has ended. Whoever waits wakes up.
            ///
            /// `false` if it was closed already; the first close stands.
            pub fn close(&self) -> bool {
                self.0.core.close(Closed::default())
            }

            /// Closes as [`close`](Self::close) does, and receivers that have
            /// drained the queue get `cause` in [`Closed::cause`].
            ///
            /// ```
            /// let (tx, rx) = selvedge::queue::unbounded();
            /// tx.send(1)?;
            /// tx.close_with("the disk is full");
            /// assert_eq!(rx.recv().ok(), Some(1));
            /// let closed = rx.recv().unwrap_err();
            /// assert_eq!(closed.cause().unwrap().to_string(), "the disk is full");
            /// # Ok::<(), selvedge::queue::SendError<i32>>(())
            /// ```
            pub fn close_with(&self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> bool {
                self.0.core.close(Closed::because(cause))
            }

            /// Closes, and takes back what was not delivered, oldest first.
            ///
            /// A receive that runs at the same time may still get some of it;
            /// no item goes both ways. Values of waiting senders go back to
            /// them in their errors. The vector is the caller's, and so is what
            /// happens when it is dropped: two destructors that panic in one
            /// drop of a vector abort the process.
            #[must_use = "these are the undelivered items"]
            pub fn close_now(&self) -> Vec<T> {
                self.close();
                self.0.core.drain()
            }

            /// Whether the queue was closed. There may still be items in it.
            #[must_use]
            pub fn is_closed(&self) -> bool {
                self.0.core.is_closed()
            }

            /// How many items were in the queue at some moment during the call.
            ///
            /// Sends and receives that the caller knows of (that happened
            /// before the call) have been counted. Where the queue changes
            /// while it is looked at, the senders' lock is taken.
            #[must_use]
            pub fn len(&self) -> usize {
                self.0.core.len()
            }

            /// Whether there was no item at some moment during the call.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Whether there was no room at some moment during the call.
            #[must_use]
            pub fn is_full(&self) -> bool {
                self.capacity().is_some_and(|capacity| self.len() >= capacity.get())
            }

            /// The bound, if there is one.
            #[must_use]
            pub fn capacity(&self) -> Option<NonZeroUsize> {
                self.0.core.capacity()
            }

            /// How many senders there are.
            #[must_use]
            pub fn sender_count(&self) -> usize {
                // ORDERING: Relaxed: a count to look at, it orders nothing.
                self.0.senders.load(Ordering::Relaxed)
            }

            /// How many receivers there are.
            #[must_use]
            pub fn receiver_count(&self) -> usize {
                // ORDERING: as in `sender_count`.
                self.0.receivers.load(Ordering::Relaxed)
            }

            /// Whether both handles are of the same queue.
            #[must_use]
            pub fn same_queue(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.0, &other.0)
            }
        }

        impl<T> Clone for $handle<T> {
            fn clone(&self) -> Self {
                // ORDERING: Relaxed: a new handle is made from a living one,
                // so the count cannot be at its end. It cannot overflow: a
                // handle is a pointer in memory, and so fewer than usize::MAX.
                self.0.$count.fetch_add(1, Ordering::Relaxed);
                Self(Arc::clone(&self.0))
            }
        }

        impl<T> fmt::Debug for $handle<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($handle))
                    .field("len", &self.len())
                    .field("capacity", &self.capacity())
                    .field("closed", &self.is_closed())
                    .finish_non_exhaustive()
            }
        }
    };
}

both_ends!(Sender, senders);
both_ends!(Receiver, receivers);

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.core.sender_failed(Fault::Panicked);
        }
        // ORDERING: AcqRel: what every other sender did comes before the close
        // by the last, and so before what a receiver does that finds it closed.
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.core.close_after_senders();
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // ORDERING: AcqRel, as for the senders.
        if self.0.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            drop_each(self.close_now());
        }
    }
}
