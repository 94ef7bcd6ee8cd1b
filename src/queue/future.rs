//! The ends for tasks.

use super::core::{Core, Wait};
use super::error::{Closed, SendError, TryRecvError, TrySendError};
use super::handles::{Receiver, Sender};
use crate::rt::Turn;
use crate::swap::whole;
use crate::wait::{Ticket, Waiter};
use futures_core::Stream;
use std::fmt;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

impl<T> Sender<T> {
    /// Sends, waiting for room without blocking the thread.
    ///
    /// # Cancel safety
    ///
    /// Safe: a future that is dropped before it is ready has not sent, and its
    /// value is dropped with it, or had back with [`SendFuture::into_value`].
    /// Its place in the line goes to the next.
    ///
    /// ```
    /// # tokio_test::block_on(async {
    /// let (tx, rx) = selvedge::queue::bounded(selvedge::nz!(1));
    /// tx.send_async("hello").await?;
    /// assert_eq!(rx.recv_async().await.ok(), Some("hello"));
    /// # Ok::<(), selvedge::queue::SendError<&str>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The queue is or gets closed: the value comes back.
    pub fn send_async(&self, value: T) -> SendFuture<'_, T> {
        SendFuture { sender: self, value: Some(value), ticket: None, turn: Turn::new() }
    }
}

impl<T> Receiver<T> {
    /// Receives, waiting for an item without blocking the thread.
    ///
    /// # Cancel safety
    ///
    /// Safe: a future that is dropped before it is ready has received nothing,
    /// and a wake-up that was meant for it goes to the next.
    ///
    /// # Errors
    ///
    /// The queue is closed and drained.
    pub fn recv_async(&self) -> RecvFuture<'_, T> {
        RecvFuture { receiver: self, ticket: None, turn: Turn::new(), ended: false }
    }

    /// Receives up to `most` items onto the end of `into`, waiting for the
    /// first without blocking the thread. Says how many, at least one.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is received before the future is ready.
    ///
    /// # Errors
    ///
    /// The queue is closed and drained.
    pub fn recv_many_async<'a>(
        &'a self,
        into: &'a mut Vec<T>,
        most: NonZeroUsize,
    ) -> RecvManyFuture<'a, T> {
        RecvManyFuture { receiver: self, into, most, ticket: None, turn: Turn::new(), ended: false }
    }

    /// The queue as a [`Stream`] that ends when it is closed and drained. To
    /// learn why it was closed, look at it with `recv` through a clone.
    pub fn into_stream(self) -> RecvStream<T> {
        RecvStream { receiver: self, ticket: None, turn: Turn::new() }
    }
}

/// See [`Sender::send_async`].
///
/// # Panics
///
/// When it is polled after it was ready.
#[must_use = "a future does nothing unless it is polled"]
pub struct SendFuture<'a, T> {
    sender: &'a Sender<T>,
    /// Gone once sent, or returned in the error.
    value: Option<T>,
    ticket: Option<Ticket>,
    turn: Turn,
}

// The value is moved, never pinned.
impl<T> Unpin for SendFuture<'_, T> {}

impl<T> SendFuture<'_, T> {
    /// Gives up and has the value back; `None` if it was sent or returned.
    #[must_use = "this is the value, if it was not sent"]
    pub fn into_value(mut self) -> Option<T> {
        self.value.take()
    }

    /// Leaves the line, with the value; a wake-up that was under way goes to
    /// the next.
    pub(super) fn leave(&mut self) -> Option<T> {
        let _whole = whole("queue");
        if let Some(ticket) = self.ticket.take() {
            self.sender.core().abandon_send(ticket);
        }
        self.value.take()
    }
}

impl<T> Future for SendFuture<'_, T> {
    type Output = Result<(), SendError<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(self.value.is_some(), "`SendFuture` polled after completion");
        let mut turn = std::mem::take(&mut self.turn);
        let polled = turn.poll(context, |context| self.poll_now(context));
        self.turn = turn;
        polled
    }
}

/// A poll that gives way to no one.
pub(super) trait PollNow: Future {
    fn poll_now(&mut self, context: &mut Context<'_>) -> Poll<Self::Output>;
}

impl<T> PollNow for SendFuture<'_, T> {
    fn poll_now(&mut self, context: &mut Context<'_>) -> Poll<Self::Output> {
        let _whole = whole("queue");
        let core = self.sender.core();
        let mut value = self.value.take().expect("`SendFuture` polled after completion");
        loop {
            let result = match core.try_send(value) {
                Ok(()) => Ok(()),
                Err(TrySendError::Closed(value)) => Err(SendError(value)),
                Err(TrySendError::Full(back)) => {
                    value = back;
                    if core.wait_to_send(&mut self.ticket, Waiter::task(context.waker()))
                        == Wait::Sleep
                    {
                        self.value = Some(value);
                        return Poll::Pending;
                    }
                    continue;
                }
            };
            if let Some(ticket) = self.ticket.take() {
                // Whether woken or not, we have used one wake-up's worth.
                let _used = core.stop_waiting_to_send(ticket);
            }
            return Poll::Ready(result);
        }
    }
}

impl<T> Drop for SendFuture<'_, T> {
    fn drop(&mut self) {
        // Unlocked: the value's drop is foreign code.
        drop(self.leave());
    }
}

/// One step of an asynchronous receive, with whatever `attempt` takes.
fn poll_recv<T, R>(
    core: &Core<T>,
    ticket: &mut Option<Ticket>,
    context: &mut Context<'_>,
    mut attempt: impl FnMut(&Core<T>) -> Result<R, TryRecvError>,
) -> Poll<Result<R, Closed>> {
    loop {
        let result = match attempt(core) {
            Ok(received) => Ok(received),
            Err(TryRecvError::Closed(closed)) => Err(closed),
            Err(TryRecvError::Empty) => {
                if core.wait_to_recv(ticket, Waiter::task(context.waker())) == Wait::Sleep {
                    return Poll::Pending;
                }
                continue;
            }
        };
        if let Some(ticket) = ticket.take() {
            // Whether woken or not, we have used one wake-up's worth.
            let _used = core.stop_waiting_to_recv(ticket);
        }
        return Poll::Ready(result);
    }
}

/// See [`Receiver::recv_async`].
///
/// # Panics
///
/// When it is polled after it was ready.
#[must_use = "a future does nothing unless it is polled"]
pub struct RecvFuture<'a, T> {
    receiver: &'a Receiver<T>,
    ticket: Option<Ticket>,
    turn: Turn,
    ended: bool,
}

impl<T> Future for RecvFuture<'_, T> {
    type Output = Result<T, Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.ended, "`RecvFuture` polled after completion");
        let mut turn = std::mem::take(&mut self.turn);
        let polled = turn.poll(context, |context| self.poll_now(context));
        self.turn = turn;
        self.ended = polled.is_ready();
        polled
    }
}

impl<T> PollNow for RecvFuture<'_, T> {
    fn poll_now(&mut self, context: &mut Context<'_>) -> Poll<Self::Output> {
        let _whole = whole("queue");
        poll_recv(self.receiver.core(), &mut self.ticket, context, Core::try_recv)
    }
}

impl<T> RecvFuture<'_, T> {
    /// Leaves the line; a wake-up that was under way goes to the next.
    pub(super) fn leave(&mut self) {
        let _whole = whole("queue");
        if let Some(ticket) = self.ticket.take() {
            self.receiver.core().abandon_recv(ticket);
        }
    }
}

impl<T> Drop for RecvFuture<'_, T> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// See [`Receiver::recv_many_async`].
///
/// # Panics
///
/// When it is polled after it was ready.
#[must_use = "a future does nothing unless it is polled"]
pub struct RecvManyFuture<'a, T> {
    receiver: &'a Receiver<T>,
    into: &'a mut Vec<T>,
    most: NonZeroUsize,
    ticket: Option<Ticket>,
    turn: Turn,
    ended: bool,
}

impl<T> Future for RecvManyFuture<'_, T> {
    type Output = Result<usize, Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.ended, "`RecvManyFuture` polled after completion");
        let mut turn = std::mem::take(&mut self.turn);
        let polled = turn.poll(context, |context| self.poll_now(context));
        self.turn = turn;
        self.ended = polled.is_ready();
        polled
    }
}

impl<T> PollNow for RecvManyFuture<'_, T> {
    fn poll_now(&mut self, context: &mut Context<'_>) -> Poll<Self::Output> {
        let _whole = whole("queue");
        let Self { receiver, into, most, ticket, .. } = self;
        poll_recv(receiver.core(), ticket, context, |core| core.try_recv_many(into, *most))
    }
}

impl<T> RecvManyFuture<'_, T> {
    /// Leaves the line; a wake-up that was under way goes to the next.
    pub(super) fn leave(&mut self) {
        let _whole = whole("queue");
        if let Some(ticket) = self.ticket.take() {
            self.receiver.core().abandon_recv(ticket);
        }
    }
}

impl<T> Drop for RecvManyFuture<'_, T> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// See [`Receiver::into_stream`].
///
/// Cancel safe: dropping the stream between items loses none.
#[must_use = "a stream does nothing unless it is polled"]
pub struct RecvStream<T> {
    receiver: Receiver<T>,
    ticket: Option<Ticket>,
    turn: Turn,
}

impl<T> RecvStream<T> {
    /// The receiver, back.
    pub fn into_receiver(self) -> Receiver<T> {
        self.receiver.clone()
    }
}

impl<T> Stream for RecvStream<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let Self { receiver, ticket, turn } = &mut *self;
        let received = ready!(turn.poll(context, |context| {
            let _whole = whole("queue");
            poll_recv(receiver.core(), ticket, context, Core::try_recv)
        }));
        Poll::Ready(received.ok())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, None)
    }
}

impl<T> Drop for RecvStream<T> {
    fn drop(&mut self) {
        let _whole = whole("queue");
        if let Some(ticket) = self.ticket.take() {
            self.receiver.core().abandon_recv(ticket);
        }
    }
}

impl<T> fmt::Debug for RecvFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvFuture")
            .field("receiver", self.receiver)
            .field("waiting", &self.ticket.is_some())
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for RecvStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvStream")
            .field("receiver", &self.receiver)
            .field("waiting", &self.ticket.is_some())
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for SendFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFuture")
            .field("sender", self.sender)
            .field("sent", &self.value.is_none())
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for RecvManyFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvManyFuture")
            .field("receiver", self.receiver)
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}
