//! A counting semaphore for threads and tasks: first come, first served.
//!
//! A [`Semaphore`] has a number of permits. A caller takes some, waits if too few
//! are free, and gives them back by dropping its [`Permit`]; threads and tasks stand
//! in one line.
//!
//! ```
//! use selvedge::semaphore::Semaphore;
//! use std::sync::Arc;
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let connections = Arc::new(Semaphore::new(2));
//! let permit = Semaphore::acquire_owned(&connections, 1).await?; // moves into the task
//! let query = tokio::spawn(async move {
//!     let _permit = permit; // given back when the task ends, however it ends
//!     "SELECT 1"
//! });
//! let second = connections.acquire().await?; // borrows the semaphore
//! assert_eq!(query.await?, "SELECT 1");
//! assert_eq!(connections.available(), 1);
//! drop(second);
//! # Ok(())
//! # }
//! ```
//!
//! # Which form
//!
//! | | borrows the semaphore | moves into a task or thread |
//! |---|---|---|
//! | waits, in a task | [`acquire`](Semaphore::acquire), [`acquire_many`](Semaphore::acquire_many) | [`acquire_owned`](Semaphore::acquire_owned) |
//! | does not wait | [`try_acquire`](Semaphore::try_acquire), [`try_acquire_many`](Semaphore::try_acquire_many) | [`try_acquire_owned`](Semaphore::try_acquire_owned) |
//! | blocks a thread | [`acquire_blocking`](Semaphore::acquire_blocking), [`acquire_timeout`](Semaphore::acquire_timeout) | |
//!
//! To run many futures with a limit, a [gather](crate::gather) is less to write.
//!
//! # What is promised
//!
//! * **Conservation.** No permit is lost or made, whoever is cancelled: free, held
//!   and granted permits add up to those created, less those forgotten.
//! * **First come, first served.** A permit goes to the head of the line. A large
//!   request at the head holds up small ones behind it, and is never starved by
//!   them.
//! * **Close.** [`close`](Semaphore::close) ends every wait with [`Closed`]; permits
//!   that are held stay valid.
//!
//! # Cost
//!
//! Every operation is O(1) under a mutex that is held for a few instructions;
//! releasing permits is O(callers served). No user code runs under it.
//!
//! # Cancel safety
//!
//! A future that is dropped while it waits leaves the line. One that is dropped
//! after its permits were granted gives them to the next.
//!
//! ---
//!
//! # Algorithm
//!
//! Dijkstra's counting semaphore as a mutex over a number and a
//! `WaitList`. A release hands its permits over to the waiters
//! at the head under the same lock, so no later caller can take them
//! ("direct hand-over"; Mesa's strong semaphore).
//!
//! # States of a waiter
//!
//! | state | in the list | its permits |
//! |---|---|---|
//! | waiting | yes | none |
//! | granted | no | taken out of the count for it already |
//! | refused (closed while waiting) | yes, until it looks | none |
//!
//! # Invariants
//!
//! 1. *Conservation*: free permits + permits held + permits granted but not
//!    yet picked up = permits created - permits forgotten.
//! 2. *First come, first served*: a permit goes to the head of the list, and
//!    no caller takes one while another waits. A large request at the head
//!    therefore holds up small ones behind it, and is never starved by them.
//! 3. *No caller waits for permits that are free*: whenever the lock is free, the head
//!    of the list wants more than the free permits. So every step that adds
//!    permits or takes a waiter out ends with `grant`.
//! 4. *Out of the list means granted*: a closed semaphore leaves its waiters
//!    in the list for them to find out.
//!
//! # Linearization points
//!
//! An acquire takes effect where its permits are subtracted, by itself or by
//! the release that grants; a close where the flag is set. A grant made before
//! the close stands.
//!
//! # Progress
//!
//! Blocking. Wakers run after the mutex is released. After every step that adds
//! permits or takes a waiter out, the next in line is looked at.
//!
//! # Model bounds
//!
//! Up to four threads and three permits under loom; see
//! `loom-tests/models/semaphore.rs` for what each model leaves out.

use crate::rt::Turn;
use crate::swap::{Arc, Mutex, thread, time};
use crate::wait::{Ticket, WaitList, Waiter};
use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A number of permits, and a fair queue of those who want some.
///
/// # Examples
///
/// ```
/// use selvedge::semaphore::Semaphore;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let semaphore = Semaphore::new(2);
/// let one = semaphore.acquire().await.unwrap();
/// let two = semaphore.acquire().await.unwrap();
/// assert!(semaphore.try_acquire().is_err());
/// drop(one);
/// assert_eq!(semaphore.available(), 1);
/// # drop(two);
/// # });
/// ```
pub struct Semaphore {
    state: Mutex<State>,
}

struct State {
    free: usize,
    /// Free and held: never less than what may still be given back.
    total: usize,
    closed: bool,
    waiting: WaitList<usize>,
}

/// The semaphore is closed: no permit will be given out any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Closed;

/// Why there was no permit now, or in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TryAcquireError {
    /// The semaphore is closed.
    Closed,
    /// Too few permits are free, or others wait for them already.
    NoPermits,
}

/// Permits, given back when dropped. `H` is how it reaches its semaphore: a
/// reference, or an `Arc` (see [`OwnedPermit`]).
///
/// `mem::forget` keeps the permits for ever, as [`forget`](Self::forget) does.
#[must_use = "dropping it gives the permits back"]
pub struct Permit<H: Deref<Target = Semaphore>> {
    semaphore: H,
    count: usize,
}

/// A permit that owns its way back, to move into a task or a thread.
pub type OwnedPermit = Permit<Arc<Semaphore>>;

/// The future of [`Semaphore::acquire`] and its kin.
///
/// # Cancel safety
///
/// Dropping it gives up the place in the queue; permits that were granted but
/// not picked up go to the next in line.
///
/// # Panics
///
/// When it is polled after it was ready.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<H: Deref<Target = Semaphore>> {
    // None once the permit was handed out.
    semaphore: Option<H>,
    count: usize,
    ticket: Option<Ticket>,
    turn: Turn,
}

impl State {
    /// Takes permits now, unless others wait for them (invariant 2). Nobody
    /// competes with a request for nothing.
    fn take(&mut self, count: usize) -> Result<(), TryAcquireError> {
        if self.closed {
            return Err(TryAcquireError::Closed);
        }
        if count > 0 && (!self.waiting.is_empty() || self.free < count) {
            return Err(TryAcquireError::NoPermits);
        }
        self.free -= count;
        Ok(())
    }

    /// Hands free permits to the head of the queue. Call it again, having
    /// woken the one that it returns, until it returns none (invariant 3).
    fn grant(&mut self) -> Option<Waiter> {
        let wanted = *self.waiting.first_wants()?;
        if wanted > self.free || self.closed {
            return None;
        }
        self.free -= wanted;
        self.waiting.pop()
    }
}

impl Semaphore {
    /// A semaphore with so many permits.
    #[must_use]
    pub fn new(permits: usize) -> Self {
        let state =
            State { free: permits, total: permits, closed: false, waiting: WaitList::new() };
        Self { state: Mutex::new(state) }
    }

    /// Waits for one permit.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the semaphore is or gets closed first.
    ///
    /// # Cancel safety
    ///
    /// See [`Acquire`].
    pub fn acquire(&self) -> Acquire<&Self> {
        self.acquire_many(1)
    }

    /// Waits for `count` permits, all at once. More than there will ever be
    /// waits for ever, and so does everybody behind it; zero is given at once.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the semaphore is or gets closed first.
    pub fn acquire_many(&self, count: usize) -> Acquire<&Self> {
        Acquire { semaphore: Some(self), count, ticket: None, turn: Turn::new() }
    }

    /// [`acquire_many`](Self::acquire_many), for permits that travel.
    ///
    /// ```
    /// use selvedge::semaphore::Semaphore;
    /// use std::sync::Arc;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let semaphore = Arc::new(Semaphore::new(3));
    /// let permit = Semaphore::acquire_owned(&semaphore, 2).await.unwrap();
    /// tokio::spawn(async move { drop(permit) }).await.unwrap();
    /// assert_eq!(semaphore.available(), 3);
    /// # });
    /// ```
    pub fn acquire_owned(this: &Arc<Self>, count: usize) -> Acquire<Arc<Self>> {
        Acquire { semaphore: Some(Arc::clone(this)), count, ticket: None, turn: Turn::new() }
    }

    /// One permit, if one is free and nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`].
    pub fn try_acquire(&self) -> Result<Permit<&Self>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// `count` permits, if so many are free and nobody waits.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`].
    pub fn try_acquire_many(&self, count: usize) -> Result<Permit<&Self>, TryAcquireError> {
        self.state.lock().take(count)?;
        Ok(Permit { semaphore: self, count })
    }

    /// [`try_acquire_many`](Self::try_acquire_many), for permits that travel.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`].
    pub fn try_acquire_owned(
        this: &Arc<Self>,
        count: usize,
    ) -> Result<OwnedPermit, TryAcquireError> {
        this.state.lock().take(count)?;
        Ok(Permit { semaphore: Arc::clone(this), count })
    }

    /// Blocks the calling thread until it has `count` permits. It stands in
    /// the same queue as the tasks.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the semaphore is or gets closed first.
    pub fn acquire_blocking(&self, count: usize) -> Result<Permit<&Self>, Closed> {
        // Without a deadline the only other error is the close.
        self.acquire_until(count, None).map_err(|_| Closed)
    }

    /// [`acquire_blocking`](Self::acquire_blocking), for `timeout` at most. A
    /// permit that arrives together with the timeout is taken.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError::NoPermits`] if none came in time.
    pub fn acquire_timeout(
        &self,
        count: usize,
        timeout: Duration,
    ) -> Result<Permit<&Self>, TryAcquireError> {
        // A timeout that no clock can hold is no timeout.
        self.acquire_until(count, time::now().checked_add(timeout))
    }

    fn acquire_until(
        &self,
        count: usize,
        deadline: Option<Instant>,
    ) -> Result<Permit<&Self>, TryAcquireError> {
        let ticket = {
            let mut state = self.state.lock();
            match state.take(count) {
                Err(TryAcquireError::NoPermits) => {}
                taken => return taken.map(|()| Permit { semaphore: self, count }),
            }
            state.waiting.push_wanting(Waiter::this_thread(), count)
        };
        loop {
            let parked = thread::park_until(deadline);
            let mut state = self.state.lock();
            if !state.waiting.holds(ticket) {
                return Ok(Permit { semaphore: self, count });
            }
            let closed = state.closed;
            if closed || parked == crate::swap::Parked::TimedOut {
                let left = state.waiting.remove(ticket);
                debug_assert!(left, "held above, under this lock");
                self.grant_all(state);
                return Err(if closed {
                    TryAcquireError::Closed
                } else {
                    TryAcquireError::NoPermits
                });
            }
        }
    }

    /// Adds permits.
    ///
    /// # Panics
    ///
    /// If there would be more than `usize::MAX`, those that are held included:
    /// nothing is added then.
    pub fn add_permits(&self, count: usize) {
        let mut state = self.state.lock();
        let total = state.total;
        let Some(more) = total.checked_add(count) else {
            drop(state);
            panic!("{count} permits added to {total} are more than {}", usize::MAX);
        };
        state.total = more;
        state.free += count;
        self.grant_all(state);
    }

    /// Takes permits back that were held.
    fn release(&self, count: usize) {
        let mut state = self.state.lock();
        state.free += count;
        self.grant_all(state);
    }

    /// Closes it: waiters and whoever comes later get [`Closed`]. Permits
    /// that are held, or were granted before, stay valid.
    pub fn close(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.closed = true;
            state.waiting.tell_all()
        };
        waiting.into_iter().for_each(Waiter::wake);
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// How many permits are free at this moment: good for a gauge, stale for
    /// a decision.
    #[must_use]
    pub fn available(&self) -> usize {
        self.state.lock().free
    }

    /// Wakes everybody that the free permits suffice for, one lock a waiter.
    fn grant_all<'a>(&'a self, mut state: crate::swap::MutexGuard<'a, State>) {
        while let Some(waiter) = state.grant() {
            drop(state);
            waiter.wake();
            state = self.state.lock();
        }
    }
}

impl<H: Deref<Target = Semaphore>> Permit<H> {
    /// How many permits this is.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Takes the permits out of circulation.
    pub fn forget(mut self) {
        self.semaphore.state.lock().total -= self.count;
        self.count = 0;
    }
}

impl<H: Deref<Target = Semaphore>> Drop for Permit<H> {
    fn drop(&mut self) {
        if self.count > 0 {
            self.semaphore.release(self.count);
        }
    }
}

// No reference into the future itself is ever made.
impl<H: Deref<Target = Semaphore>> Unpin for Acquire<H> {}

impl<H: Deref<Target = Semaphore>> Future for Acquire<H> {
    type Output = Result<Permit<H>, Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(self.semaphore.is_some(), "`Acquire` polled after completion");
        let mut turn = std::mem::take(&mut self.turn);
        let polled = turn.poll(context, |context| self.poll_now(context));
        self.turn = turn;
        polled
    }
}

impl<H: Deref<Target = Semaphore>> Acquire<H> {
    fn poll_now(&mut self, context: &mut Context<'_>) -> Poll<Result<Permit<H>, Closed>> {
        let this = self;
        let semaphore = this.semaphore.as_ref().expect("`Acquire` polled after completion");
        // Wakers are cloned before the lock is taken and dropped after it is
        // released (the first declared is the last dropped).
        let waiter = Waiter::task(context.waker());
        let displaced;
        let mut state = semaphore.state.lock();
        let result = match this.ticket {
            None => match state.take(this.count) {
                Err(TryAcquireError::NoPermits) => {
                    this.ticket = Some(state.waiting.push_wanting(waiter, this.count));
                    return Poll::Pending;
                }
                Err(TryAcquireError::Closed) => Err(Closed),
                Ok(()) => Ok(()),
            },
            Some(ticket) if !state.waiting.holds(ticket) => Ok(()),
            Some(ticket) if state.closed => {
                displaced = state.waiting.take(ticket);
                debug_assert!(displaced.is_some(), "held above, under this lock");
                Err(Closed)
            }
            Some(ticket) => {
                displaced = state.waiting.replace(ticket, waiter).ok();
                debug_assert!(displaced.is_some(), "held above, under this lock");
                return Poll::Pending;
            }
        };
        drop(state);
        this.ticket = None;
        let semaphore = this.semaphore.take().expect("looked at above");
        Poll::Ready(result.map(|()| Permit { semaphore, count: this.count }))
    }
}

impl<H: Deref<Target = Semaphore>> Drop for Acquire<H> {
    fn drop(&mut self) {
        let (Some(semaphore), Some(ticket)) = (&self.semaphore, self.ticket) else {
            return;
        };
        let mut state = semaphore.state.lock();
        let waiter = state.waiting.take(ticket);
        if waiter.is_none() {
            state.free += self.count;
        }
        semaphore.grant_all(state);
        // Unlocked: the last waker of a task drops what the task holds, which
        // may be a permit of this semaphore.
        drop(waiter);
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Semaphore")
            .field("free", &state.free)
            .field("closed", &state.closed)
            .field("waiting", &!state.waiting.is_empty())
            .finish()
    }
}

impl<H: Deref<Target = Semaphore>> fmt::Debug for Permit<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("count", &self.count).finish_non_exhaustive()
    }
}

impl<H: Deref<Target = Semaphore>> fmt::Debug for Acquire<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("count", &self.count)
            .field("waiting", &self.ticket.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the semaphore is closed")
    }
}

impl std::error::Error for Closed {}

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the semaphore is closed"),
            Self::NoPermits => f.write_str("no permit is free"),
        }
    }
}

impl std::error::Error for TryAcquireError {}
