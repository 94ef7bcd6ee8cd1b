//! The ends for tasks that have a deadline.
//!
//! A plain `send_async` or `recv_async` waits for as long as it is polled: a
//! [`with_timeout`](crate::timeout::with_timeout) around it drops it, and a
//! value that was not sent goes with it. In a task that only reads a deadline
//! (it was spawned with [`inherit`](crate::timeout::inherit), or by a scope)
//! nothing would drop it at all. `by_deadline` is for both: the wait itself
//! ends, with an error of the queue, and returns the value.

use super::error::{RecvTimeoutError, SendError, SendTimeoutError};
use super::future::{PollNow, RecvFuture, RecvManyFuture, SendFuture};
use crate::rt::{self, Sleep, Turn};
use crate::timeout;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

impl<T> SendFuture<'_, T> {
    /// Waits for room until the deadline that the caller can read
    /// ([`timeout::current`](crate::timeout::current)) when it first has to
    /// wait, if there is one.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError`], with the value. Room that is there when the
    /// deadline is noticed is used: it is sent.
    ///
    /// # Cancel safety
    ///
    /// As without.
    ///
    /// ```
    /// use selvedge::queue::{self, SendTimeoutError};
    /// use selvedge::timeout::with_timeout;
    /// use std::time::Duration;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
    /// #     .unwrap().block_on(async {
    /// let (tx, _rx) = queue::bounded(selvedge::nz!(1));
    /// tx.try_send("warp").unwrap();
    /// let late = with_timeout(tx.send_async("weft").by_deadline(), Duration::from_secs(1));
    /// assert_eq!(late.await, Ok(Err(SendTimeoutError::Timeout("weft"))));
    /// # });
    /// ```
    pub fn by_deadline(self) -> ByDeadline<Self> {
        ByDeadline::new(self)
    }
}

impl<T> RecvFuture<'_, T> {
    /// Waits for an item until the deadline that the caller can read
    /// ([`timeout::current`](crate::timeout::current)) when it first has to
    /// wait, if there is one.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`]. An item that is there when the deadline is
    /// noticed is received.
    ///
    /// # Cancel safety
    ///
    /// As without.
    pub fn by_deadline(self) -> ByDeadline<Self> {
        ByDeadline::new(self)
    }
}

impl<T> RecvManyFuture<'_, T> {
    /// Waits for the first item as [`RecvFuture::by_deadline`] does.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`].
    ///
    /// # Cancel safety
    ///
    /// As without.
    pub fn by_deadline(self) -> ByDeadline<Self> {
        ByDeadline::new(self)
    }
}

/// A send or a receive that ends at the deadline that it can read: see
/// [`SendFuture::by_deadline`].
///
/// # Panics
///
/// When it is polled after it was ready.
#[must_use = "a future does nothing unless it is polled"]
pub struct ByDeadline<F> {
    future: F,
    /// Whether the deadline was asked for: at the first wait, and once.
    asked: bool,
    sleep: Option<Pin<Box<Sleep>>>,
    turn: Turn,
    ended: bool,
}

impl<F> ByDeadline<F> {
    fn new(future: F) -> Self {
        Self { future, asked: false, sleep: None, turn: Turn::new(), ended: false }
    }
}

/// The future's output, or nothing once the deadline has passed.
fn poll_until<F: PollNow>(
    by: &mut ByDeadline<F>,
    context: &mut Context<'_>,
) -> Poll<Option<F::Output>> {
    let ByDeadline { future, asked, sleep, turn, ended } = by;
    assert!(!*ended, "`ByDeadline` polled after completion");
    let polled = turn.poll(context, |context| {
        // First: an item or room that is there wins over a deadline that has
        // passed. So the future must not give way here.
        if let Poll::Ready(ended) = future.poll_now(context) {
            return Poll::Ready(Some(ended));
        }
        if !*asked {
            *asked = true;
            let at = timeout::current().and_then(|deadline| deadline.instant());
            *sleep = at.map(|at| Box::pin(rt::sleep_until(at)));
        }
        let Some(sleep) = sleep else { return Poll::Pending };
        sleep.as_mut().poll(context).map(|()| None)
    });
    *ended = polled.is_ready();
    polled
}

impl<T> Future for ByDeadline<SendFuture<'_, T>> {
    type Output = Result<(), SendTimeoutError<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(poll_until(&mut self, context)) {
            Some(sent) => sent.map_err(|SendError(value)| SendTimeoutError::Closed(value)),
            None => {
                let value = self.future.leave().expect("it waited, so it has its value");
                Err(SendTimeoutError::Timeout(value))
            }
        })
    }
}

impl<T> Future for ByDeadline<RecvFuture<'_, T>> {
    type Output = Result<T, RecvTimeoutError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(poll_until(&mut self, context)) {
            Some(received) => received.map_err(RecvTimeoutError::Closed),
            None => {
                self.future.leave();
                Err(RecvTimeoutError::Timeout)
            }
        })
    }
}

impl<T> Future for ByDeadline<RecvManyFuture<'_, T>> {
    type Output = Result<usize, RecvTimeoutError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(poll_until(&mut self, context)) {
            Some(received) => received.map_err(RecvTimeoutError::Closed),
            None => {
                self.future.leave();
                Err(RecvTimeoutError::Timeout)
            }
        })
    }
}

impl<F: fmt::Debug> fmt::Debug for ByDeadline<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByDeadline").field("future", &self.future).finish_non_exhaustive()
    }
}
