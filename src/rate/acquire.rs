//! Waiting for permits: tasks, threads, and permits that may come back.

use super::limiter::Limiter;
use super::state::{Turn, deadline_nanos, nanos};
use super::{AcquireError, Late};
use crate::rt::{self, Alarm, Instant};
use crate::swap::Arc;
use crate::timeout::{self, Deadline};
use crate::wait::{Ticket, Waiter};
use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// The future of [`Limiter::acquire`] and [`Limiter::acquire_owned`].
///
/// # Cancel safety
///
/// Dropping it gives up the place in line; permits that were granted but not
/// picked up come back, exactly.
///
/// # Panics
///
/// When it is polled after it was ready.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<H: Deref<Target = Limiter>> {
    pub(super) wait: Wait<H>,
}

/// Waiting for a grant.
pub(super) struct Wait<H: Deref<Target = Limiter>> {
    // None once it is over.
    limiter: Option<H>,
    pub(super) permits: usize,
    pub(super) bound: Bound,
    /// Whether the permits may come back after they are picked up.
    holds: bool,
    place: Option<Place>,
    alarm: Alarm,
    turn: rt::Turn,
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    Never,
    /// Until the deadline that the caller can read at the first wait.
    Readable,
    Until(Deadline),
}

/// A place in line.
#[derive(Debug, Clone, Copy)]
struct Place {
    ticket: Ticket,
    id: u64,
    permits: u32,
    deadline: Option<Deadline>,
    /// For when the timer is set.
    alarm: Option<u64>,
}

/// What a look at the limiter found.
enum Look {
    /// Granted under this id, which is 0 unless the permits may come back.
    Granted(u64),
    /// To look again at this time, if there is one.
    Until(Place, Option<Instant>),
    Refused(AcquireError),
}

/// The time, as everybody tells it and as the schedule does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    at: Instant,
    pub(super) nanos: u64,
}

impl Now {
    pub(super) fn read() -> Self {
        let at = rt::now();
        Self { at, nanos: nanos(at) }
    }
}

impl Limiter {
    /// Waits for `n` permits, all together. Zero permits are granted
    /// immediately.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TooMany`] if `n` is more than the burst; and
    /// [`AcquireError::Late`] from the form with a deadline alone:
    /// [`Acquire::by_deadline`].
    ///
    /// # Cancel safety
    ///
    /// See [`Acquire`].
    pub fn acquire(&self, n: usize) -> Acquire<&Self> {
        Acquire { wait: Wait::new(self, n, Bound::Never, false) }
    }

    /// [`acquire`](Self::acquire), to move into a task.
    pub fn acquire_owned(this: &Arc<Self>, n: usize) -> Acquire<Arc<Self>> {
        Acquire { wait: Wait::new(Arc::clone(this), n, Bound::Never, false) }
    }

    /// Blocks the calling thread until it has `n` permits. It stands in the
    /// same line as the tasks. Not for a runtime's own threads, least of all
    /// where the clock is paused: it would wait for ever.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    pub fn acquire_blocking(&self, n: usize) -> Result<(), AcquireError> {
        Wait::new(self, n, Bound::Never, false).block().map(drop)
    }

    /// [`acquire_blocking`](Self::acquire_blocking), until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`Acquire::by_deadline`].
    ///
    /// ```
    /// use selvedge::rate::{AcquireError, Limiter};
    /// use selvedge::{nz, timeout::Deadline};
    /// use std::time::Duration;
    ///
    /// let limiter = Limiter::per_second(nz!(1));
    /// let soon = Deadline::after(Duration::from_millis(1));
    /// limiter.acquire_deadline(1, soon)?;
    /// assert!(matches!(limiter.acquire_deadline(1, soon), Err(AcquireError::Late(_))));
    /// # Ok::<(), AcquireError>(())
    /// ```
    pub fn acquire_deadline(&self, n: usize, deadline: Deadline) -> Result<(), AcquireError> {
        Wait::new(self, n, Bound::Until(deadline), false).block().map(drop)
    }
}

impl<H: Deref<Target = Limiter>> Acquire<H> {
    /// Waits until the deadline that the caller can read
    /// ([`timeout::current`]) when it first has to wait, if there is one.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Late`]: immediately if the permits cannot be there by
    /// then, and at the deadline if the limiter was slowed down meanwhile.
    ///
    /// ```
    /// use selvedge::rate::{AcquireError, Limiter};
    /// use selvedge::{nz, timeout::with_timeout};
    /// use std::time::Duration;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
    /// #     .unwrap().block_on(async {
    /// let limiter = Limiter::per_second(nz!(1));
    /// limiter.acquire(1).await?;
    /// let late = with_timeout(limiter.acquire(1).by_deadline(), Duration::from_millis(10));
    /// assert!(matches!(late.await, Ok(Err(AcquireError::Late(_)))));
    /// # Ok::<(), AcquireError>(())
    /// # }).unwrap();
    /// ```
    pub fn by_deadline(mut self) -> Self {
        self.wait.bound = Bound::Readable;
        self
    }
}

impl<H: Deref<Target = Limiter>> Wait<H> {
    pub(super) fn new(limiter: H, permits: usize, bound: Bound, holds: bool) -> Self {
        let alarm = Alarm::new();
        let (limiter, turn) = (Some(limiter), rt::Turn::new());
        Self { limiter, permits, bound, holds, place: None, alarm, turn }
    }

    /// Waits in a task: the id of the grant.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<u64, AcquireError>> {
        let mut turn = std::mem::take(&mut self.turn);
        let polled = turn.poll(context, |context| self.poll_now(context));
        self.turn = turn;
        polled
    }

    fn poll_now(&mut self, context: &mut Context<'_>) -> Poll<Result<u64, AcquireError>> {
        loop {
            match self.look(|| Waiter::task(context.waker())) {
                Look::Granted(id) => return Poll::Ready(Ok(id)),
                Look::Refused(error) => return Poll::Ready(Err(error)),
                Look::Until(place, at) => {
                    self.place = Some(place);
                    let Some(at) = at else { return Poll::Pending };
                    ready!(self.alarm.poll(at, context));
                }
            }
        }
    }

    /// Waits in a thread.
    pub(super) fn block(&mut self) -> Result<u64, AcquireError> {
        loop {
            match self.look(Waiter::this_thread) {
                Look::Granted(id) => return Ok(id),
                Look::Refused(error) => return Err(error),
                Look::Until(place, at) => {
                    self.place = Some(place);
                    // Woken or not, the next look tells.
                    let _ = rt::park_until(at);
                }
            }
        }
    }

    /// Looks for a grant; `waiter` is who to wake for it.
    fn look(&mut self, waiter: impl Fn() -> Waiter) -> Look {
        let limiter = self.limiter.as_deref().expect("there until the grant");
        let Some(place) = self.place else {
            return limiter.arrive(self.permits, self.bound, self.holds, waiter);
        };
        let look = limiter.look_again(place, self.holds, waiter());
        if !matches!(look, Look::Until(..)) {
            // The place is gone, and so is its timer.
            self.place = None;
            self.alarm = Alarm::new();
        }
        look
    }

    pub(super) const fn has_ended(&self) -> bool {
        self.limiter.is_none()
    }

    /// After the grant: what the permits come from.
    pub(super) fn finish(&mut self) -> H {
        self.limiter.take().expect("it was there for the grant")
    }
}

impl Limiter {
    /// The first look: permits at once, or a place in line.
    fn arrive(&self, n: usize, bound: Bound, holds: bool, waiter: impl Fn() -> Waiter) -> Look {
        let mut prepared = None;
        loop {
            let now = Now::read();
            let mut state = self.serve(self.state.lock(), now.nanos);
            let permits = match state.permits(n) {
                Ok(permits) => permits,
                Err(many) => return Look::Refused(AcquireError::TooMany(many)),
            };
            let Err(wait) = state.take(now.nanos, permits) else {
                return Look::Granted(if holds { state.hold(permits) } else { 0 });
            };
            let Some((waiter, deadline)) = prepared.take() else {
                // Unlocked: the clone of a waker is foreign code.
                drop(state);
                let deadline = match bound {
                    Bound::Never => None,
                    Bound::Readable => timeout::current(),
                    Bound::Until(deadline) => Some(deadline),
                };
                prepared = Some((waiter(), deadline));
                continue;
            };
            let due = now.nanos.saturating_add(wait);
            if let Some(late) = deadline.and_then(|deadline| too_late(deadline, now, due)) {
                state.refused += 1;
                drop(state);
                drop(waiter);
                return Look::Refused(late);
            }
            let (ticket, id) = state.join(waiter, permits, due);
            let place = Place { ticket, id, permits, deadline, alarm: None };
            return place.until(now, due, state.catch_up());
        }
    }

    /// Another look, from a place in line.
    fn look_again(&self, place: Place, holds: bool, waiter: Waiter) -> Look {
        let Place { ticket, id, permits, deadline, .. } = place;
        let now = Now::read();
        // Wakers are dropped after the lock is released (the first declared is
        // the last dropped).
        let displaced;
        let mut state = self.state.lock();
        let (due, late) = loop {
            match state.look(now.nanos, ticket, id, permits) {
                Turn::Granted if holds => return Look::Granted(id),
                Turn::Granted => {
                    state.settle(id);
                    return Look::Granted(id);
                }
                Turn::Mine(own) => {
                    displaced = own;
                    if !holds {
                        state.settle(id);
                    }
                    drop(self.serve(state, now.nanos));
                    drop(displaced);
                    return Look::Granted(id);
                }
                Turn::At(due) => {
                    break (due, deadline.and_then(|deadline| too_late(deadline, now, due)));
                }
                Turn::Behind => {}
            }
            // Those before us.
            if let Some(other) = state.next_to_wake(now.nanos) {
                drop(state);
                other.wake();
                state = self.state.lock();
            } else {
                // Our timer is for when nobody polls the head: when all that
                // are in line now can have been served.
                let late = deadline.and_then(|deadline| too_late(deadline, now, u64::MAX));
                break (state.due_of_all(now.nanos), late);
            }
        };
        if let Some(late) = late {
            displaced = state.leave(ticket, permits);
            state.refused += 1;
            drop(self.serve(state, now.nanos));
            drop(displaced);
            return Look::Refused(late);
        }
        displaced = state.stay(ticket, due, waiter);
        let until = place.until(now, due, state.catch_up());
        drop(state);
        drop(displaced);
        until
    }
}

/// Nanoseconds. Of a millisecond's catch-up it leaves most for timers that are
/// late.
const GRAIN: u64 = 400_000;

/// The error, if `due` (`u64::MAX`: nobody knows when) is beyond the deadline.
fn too_late(deadline: Deadline, now: Now, due: u64) -> Option<AcquireError> {
    let needs = (due < u64::MAX).then(|| Duration::from_nanos(due.saturating_sub(now.nanos)));
    let late = match needs {
        Some(_) if deadline_nanos(deadline.instant()?) < due => true,
        // Where time stands still what is due never comes.
        _ => deadline.has_passed_at(now.at),
    };
    late.then_some(AcquireError::Late(Late { deadline, needs }))
}

impl Place {
    /// When to look again. A turn that comes within [`GRAIN`], or two fifths
    /// of what may be caught up with, waits for so long: timers, and what they
    /// wake, are not for free, and all that becomes due until then is granted
    /// in one batch.
    fn until(mut self, now: Now, due: u64, catch_up: u64) -> Look {
        let grain = GRAIN.min(catch_up / 5 * 2);
        let alarm = match self.alarm {
            Some(set) if (due..=due.saturating_add(grain)).contains(&set) => set,
            _ => due.max(now.nanos + grain),
        };
        self.alarm = Some(alarm);
        let deadline = self.deadline.and_then(|deadline| deadline.instant());
        // `None`: nobody knows when, or it is beyond what the clock can hold.
        let turn = (alarm < u64::MAX)
            .then(|| now.at.checked_add(Duration::from_nanos(alarm.saturating_sub(now.nanos))));
        Look::Until(self, turn.flatten().into_iter().chain(deadline).min())
    }
}

impl<H: Deref<Target = Limiter>> Drop for Wait<H> {
    fn drop(&mut self) {
        let (Some(limiter), Some(place)) = (self.limiter.as_deref(), self.place) else { return };
        let now = Now::read();
        let mut state = limiter.state.lock();
        let waiter = state.leave(place.ticket, place.permits);
        if waiter.is_none() {
            state.refund(place.id);
        }
        drop(limiter.serve(state, now.nanos));
        // Unlocked: the last waker of a task drops what the task holds.
        drop(waiter);
    }
}

// No reference into the futures themselves is ever made.
impl<H: Deref<Target = Limiter>> Unpin for Wait<H> {}
impl<H: Deref<Target = Limiter>> Unpin for Acquire<H> {}

impl<H: Deref<Target = Limiter>> Future for Acquire<H> {
    type Output = Result<(), AcquireError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.wait.has_ended(), "`Acquire` polled after completion");
        let granted = ready!(self.wait.poll(context));
        drop(self.wait.finish());
        Poll::Ready(granted.map(drop))
    }
}

impl<H: Deref<Target = Limiter>> fmt::Debug for Wait<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("permits", &self.permits)
            .field("waiting", &self.place.is_some())
            .finish_non_exhaustive()
    }
}

impl<H: Deref<Target = Limiter>> fmt::Debug for Acquire<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Acquire").field(&self.wait).finish()
    }
}
