//! Items, one at a time and no faster than a rate.

use super::acquire::{Bound, Wait};
use super::limiter::Limiter;
use crate::swap::Arc;
use futures_core::Stream;
use std::fmt;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The ids as a stream, at most `per_second` a second: the first at once, the
/// next each `1 / per_second` later.
///
/// The policy for who comes late, here and for its kin:
///
/// * *The timer* is late: the next items come so much sooner, so that the rate
///   is kept, up to [`catch_up`](super::Builder::catch_up).
/// * *The consumer* is slow: the stream does nothing while it is not polled. An
///   item that has become due meanwhile comes at once, the next one an interval
///   after that; nothing is made up for but the limiter's burst.
///
/// ```
/// use selvedge::nz;
/// use selvedge::rate::rate_limited;
/// # use futures_core::Stream;
/// # use std::{future::poll_fn, pin::pin};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
/// #     .unwrap().block_on(async {
/// let start = tokio::time::Instant::now();
/// let mut ids = pin!(rate_limited(0..10, nz!(10)));
/// while let Some(_id) = poll_fn(|context| ids.as_mut().poll_next(context)).await {}
/// assert_eq!(start.elapsed().as_millis(), 900);
/// # });
/// ```
pub fn rate_limited<I: IntoIterator>(
    ids: I,
    per_second: NonZeroUsize,
) -> RateLimited<FromIter<I::IntoIter>> {
    let limiter = Limiter::per_second(per_second);
    rate_limited_stream(FromIter::new(ids), limiter)
}

/// The items of a stream as fast as `limiter` gives a permit for each. Several
/// streams may share one.
///
/// An item is pulled first and then waits for its permit, so the end of the
/// source is told at once and costs none.
pub fn rate_limited_stream<S: Stream>(
    source: S,
    limiter: impl Into<Arc<Limiter>>,
) -> RateLimited<S> {
    RateLimited { source, limiter: limiter.into(), next: None, wait: None }
}

/// The items of an iterator, for a thread to wait for: each `next` blocks it
/// until `limiter` gives a permit. Not for a runtime's own threads.
pub fn rate_limited_iter<I: IntoIterator>(
    items: I,
    limiter: impl Into<Arc<Limiter>>,
) -> RateLimitedIter<I::IntoIter> {
    RateLimitedIter { items: items.into_iter(), limiter: limiter.into() }
}

/// An iterator as a stream that is always ready.
#[derive(Clone)]
pub struct FromIter<I>(I);

impl<I> fmt::Debug for FromIter<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromIter").finish_non_exhaustive()
    }
}

impl<I: Iterator> FromIter<I> {
    /// The items of an iterator, for [`rate_limited_stream`].
    pub fn new(items: impl IntoIterator<IntoIter = I>) -> Self {
        Self(items.into_iter())
    }
}

// The iterator is not pinned.
impl<I> Unpin for FromIter<I> {}

impl<I: Iterator> Stream for FromIter<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

pin_project_lite::pin_project! {
    /// See [`rate_limited`] and [`rate_limited_stream`].
    ///
    /// # Cancel safety
    ///
    /// A `next` that is dropped loses nothing: the item and its place in line
    /// stay in the stream. Dropping the stream drops the item that waits, and
    /// takes no permit for it.
    #[must_use = "a stream does nothing unless it is polled"]
    pub struct RateLimited<S: Stream> {
        #[pin]
        source: S,
        limiter: Arc<Limiter>,
        // Pulled, and without a permit so far.
        next: Option<S::Item>,
        wait: Option<Wait<Arc<Limiter>>>,
    }
}

impl<S: Stream> RateLimited<S> {
    /// What the permits come from: to change the rate, or read its account.
    #[must_use]
    pub fn limiter(&self) -> &Arc<Limiter> {
        &self.limiter
    }
}

impl<S: Stream> Stream for RateLimited<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        if this.next.is_none() {
            match ready!(this.source.poll_next(context)) {
                Some(item) => *this.next = Some(item),
                None => return Poll::Ready(None),
            }
        }
        let limiter = &*this.limiter;
        let wait =
            this.wait.get_or_insert_with(|| Wait::new(Arc::clone(limiter), 1, Bound::Never, false));
        let granted = ready!(wait.poll(context));
        debug_assert!(granted.is_ok(), "one is within every burst, and no deadline is asked for");
        *this.wait = None;
        Poll::Ready(this.next.take())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let pulled = usize::from(self.next.is_some());
        let (least, most) = self.source.size_hint();
        (least.saturating_add(pulled), most.and_then(|most| most.checked_add(pulled)))
    }
}

// The items are left out: there may be many.
impl<S: Stream> fmt::Debug for RateLimited<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimited").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}

impl<I> fmt::Debug for RateLimitedIter<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitedIter").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}

/// See [`rate_limited_iter`].
#[derive(Clone)]
#[must_use = "an iterator does nothing unless it is advanced"]
pub struct RateLimitedIter<I> {
    items: I,
    limiter: Arc<Limiter>,
}

impl<I: Iterator> Iterator for RateLimitedIter<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let item = self.items.next()?;
        let granted = Wait::new(&*self.limiter, 1, Bound::Never, false).block();
        debug_assert!(granted.is_ok(), "one is within every burst, and no deadline is asked for");
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}
