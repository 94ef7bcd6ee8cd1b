//! A sender that has to say that it has finished.

use super::core::Fault;
use super::handles::Sender;
use std::error::Error;
use std::fmt;
use std::ops::Deref;

/// A [`Sender`] that has to say that it has [finished](Self::finish). If it is
/// dropped before (its task was cancelled, a deadline passed, a `?` returned
/// early), the queue ends with the cause [`Abandoned`](super::Abandoned), once
/// the last sender is gone and the receivers have drained it: half of a stream
/// is not taken for all of it.
///
/// It sends as a [`Sender`] does. A clone is one more producer that has to
/// finish; a clone of the `Sender` itself (`Sender::clone(&producer)`) has not.
/// Other senders go on: what they send still arrives. An explicit
/// [`close`](Sender::close) stands, whatever the producers do after it.
///
/// ```
/// use selvedge::queue::{self, Abandoned};
///
/// let (tx, rx) = queue::unbounded();
/// let producer = tx.into_producer();
/// producer.send(1)?;
/// drop(producer); // for instance because its task was cancelled
/// assert_eq!(rx.recv().ok(), Some(1));
/// assert!(rx.recv().unwrap_err().cause().is_some_and(|cause| cause.is::<Abandoned>()));
///
/// let (tx, rx) = queue::unbounded();
/// let producer = tx.into_producer();
/// producer.send(1)?;
/// producer.finish();
/// assert_eq!(rx.recv().ok(), Some(1));
/// assert!(rx.recv().unwrap_err().cause().is_none());
/// # Ok::<(), queue::SendError<i32>>(())
/// ```
#[must_use]
pub struct Producer<T> {
    sender: Sender<T>,
    finished: bool,
}

impl<T> Sender<T> {
    /// This sender as one that has to say that it has finished.
    pub fn into_producer(self) -> Producer<T> {
        Producer { sender: self, finished: false }
    }
}

impl<T> Producer<T> {
    /// Everything was sent: it goes as a plain [`Sender`] does. After the last
    /// one the queue drains and ends.
    pub fn finish(mut self) {
        self.finished = true;
    }

    /// Closes the queue with what went wrong, as
    /// [`close_with`](Sender::close_with) does. `false` if it was closed
    /// already; the first close stands.
    pub fn fail(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> bool {
        self.finished = true;
        self.sender.close_with(cause)
    }
}

impl<T> Deref for Producer<T> {
    type Target = Sender<T>;

    fn deref(&self) -> &Sender<T> {
        &self.sender
    }
}

impl<T> Clone for Producer<T> {
    fn clone(&self) -> Self {
        self.sender.clone().into_producer()
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        // Before the sender goes, which may be the last.
        if !self.finished {
            self.sender.core().sender_failed(Fault::Abandoned);
        }
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Producer").field(&self.sender).finish()
    }
}
