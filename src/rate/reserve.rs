//! Permits that may come back.

use super::AcquireError;
use super::acquire::{Bound, Now, Wait};
use super::limiter::Limiter;
use crate::swap::Arc;
use crate::timeout::Deadline;
use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The future of [`Limiter::reserve`] and [`Limiter::reserve_owned`].
///
/// # Cancel safety
///
/// As [`Acquire`](super::Acquire).
///
/// # Panics
///
/// When it is polled after it was ready.
#[must_use = "futures do nothing unless polled"]
pub struct Reserve<H: Deref<Target = Limiter>> {
    wait: Wait<H>,
}

/// Permits that were granted and come back unless they are
/// [committed](Self::commit): for work that may turn out not to be done.
///
/// What comes back is what the limiter would have more of, had the permits
/// never been granted: not more than the burst, and nothing that time has made
/// up for already.
///
/// `mem::forget` is a commit that keeps a few bytes of account for ever.
///
/// ```
/// use selvedge::rate::Limiter;
/// use selvedge::nz;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
/// #     .unwrap().block_on(async {
/// let limiter = Limiter::per_second(nz!(1));
/// let permit = limiter.reserve(1).await?;
/// assert!(limiter.try_acquire(1).is_err());
/// drop(permit); // The request was never sent.
/// limiter.reserve(1).await?.commit();
/// assert!(limiter.try_acquire(1).is_err());
/// # Ok::<(), selvedge::rate::AcquireError>(())
/// # }).unwrap();
/// ```
#[must_use = "dropping it gives the permits back"]
pub struct Reservation<H: Deref<Target = Limiter>> {
    // None once it is settled.
    limiter: Option<H>,
    id: u64,
    permits: usize,
}

impl Limiter {
    /// Waits for `n` permits that may be given back.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// See [`Reserve`].
    pub fn reserve(&self, n: usize) -> Reserve<&Self> {
        Reserve { wait: Wait::new(self, n, Bound::Never, true) }
    }

    /// [`reserve`](Self::reserve), for permits that travel.
    pub fn reserve_owned(this: &Arc<Self>, n: usize) -> Reserve<Arc<Self>> {
        Reserve { wait: Wait::new(Arc::clone(this), n, Bound::Never, true) }
    }

    /// Blocks the calling thread until it has `n` permits that may be given
    /// back.
    ///
    /// # Errors
    ///
    /// As [`acquire_blocking`](Self::acquire_blocking).
    pub fn reserve_blocking(&self, n: usize) -> Result<Reservation<&Self>, AcquireError> {
        self.reserve_bound(n, Bound::Never)
    }

    /// [`reserve_blocking`](Self::reserve_blocking), until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`Acquire::by_deadline`](super::Acquire::by_deadline).
    pub fn reserve_deadline(
        &self,
        n: usize,
        deadline: Deadline,
    ) -> Result<Reservation<&Self>, AcquireError> {
        self.reserve_bound(n, Bound::Until(deadline))
    }

    fn reserve_bound(&self, n: usize, bound: Bound) -> Result<Reservation<&Self>, AcquireError> {
        let mut wait = Wait::new(self, n, bound, true);
        let id = wait.block()?;
        Ok(Reservation { limiter: Some(self), id, permits: n })
    }
}

impl<H: Deref<Target = Limiter>> Reserve<H> {
    /// Waits until the deadline that the caller can read, as
    /// [`Acquire::by_deadline`](super::Acquire::by_deadline).
    pub fn by_deadline(mut self) -> Self {
        self.wait.bound = Bound::Readable;
        self
    }
}

// No reference into the future itself is ever made.
impl<H: Deref<Target = Limiter>> Unpin for Reserve<H> {}
impl<H: Deref<Target = Limiter>> Future for Reserve<H> {
    type Output = Result<Reservation<H>, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.wait.has_ended(), "`Reserve` polled after completion");
        let granted = ready!(self.wait.poll(context));
        let limiter = self.wait.finish();
        Poll::Ready(granted.map(|id| Reservation {
            limiter: Some(limiter),
            id,
            permits: self.wait.permits,
        }))
    }
}

impl<H: Deref<Target = Limiter>> Reservation<H> {
    /// How many permits these are.
    #[must_use]
    pub fn permits(&self) -> usize {
        self.permits
    }

    /// The permits are used: they do not come back.
    pub fn commit(mut self) {
        if let Some(limiter) = self.limiter.take() {
            limiter.state.lock().settle(self.id);
        }
    }
}

impl<H: Deref<Target = Limiter>> Drop for Reservation<H> {
    fn drop(&mut self) {
        if let Some(limiter) = self.limiter.take() {
            let now = Now::read();
            let mut state = limiter.state.lock();
            state.refund(self.id);
            drop(limiter.serve(state, now.nanos));
        }
    }
}

impl<H: Deref<Target = Limiter>> fmt::Debug for Reserve<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reserve").field(&self.wait).finish()
    }
}

impl<H: Deref<Target = Limiter>> fmt::Debug for Reservation<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("permits", &self.permits).finish_non_exhaustive()
    }
}
