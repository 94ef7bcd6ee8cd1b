//! The limiter: a schedule and a line of waiters under one lock.

use super::core::Gcra;
use super::state::{CATCH_UP, ORIGIN, State, Stats, nanos};
use super::{Rate, TryAcquireError};
use crate::rt;
use crate::swap::{Mutex, MutexGuard};
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

/// Hands out permits at a rate.
///
/// Shared by reference or in an `Arc`; 64 bytes until somebody waits.
///
/// ```
/// use selvedge::rate::Limiter;
/// use selvedge::nz;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
/// #     .unwrap().block_on(async {
/// let start = tokio::time::Instant::now();
/// let limiter = Limiter::per_second(nz!(10));
/// for _ in 0..10 {
///     limiter.acquire(1).await?;
/// }
/// assert_eq!(start.elapsed().as_millis(), 900);
/// assert!(limiter.try_acquire(1).is_err());
/// # Ok::<(), selvedge::rate::AcquireError>(())
/// # }).unwrap();
/// ```
// One cache line: the lock and what it guards move together.
#[repr(align(64))]
pub struct Limiter {
    pub(super) state: Mutex<State>,
}

/// A limiter to be. See [`Limiter::builder`].
#[derive(Debug, Clone, Copy)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    rate: Rate,
    burst: u32,
    start: usize,
    catch_up: Duration,
}

impl Builder {
    /// The most permits that are there at once, and that one call may ask for:
    /// what is not used is saved up to so many. The limiter starts with all of
    /// them. 1 unless told; `u32::MAX` at most.
    pub fn burst(mut self, burst: NonZeroUsize) -> Self {
        self.burst = u32::try_from(burst.get()).unwrap_or(u32::MAX);
        self
    }

    /// With how many permits it starts, if that is less than the burst.
    pub fn starts_with(mut self, permits: usize) -> Self {
        self.start = permits;
        self
    }

    /// How far a waiter that is served late may be served as if in time, so
    /// that late timers do not lower the rate. 1 ms unless told: on a machine
    /// so busy that timers are later than that, the rate is lower by the rest.
    /// More keeps the rate there, and lets so much more through at once.
    pub fn catch_up(mut self, at_most: Duration) -> Self {
        self.catch_up = at_most;
        self
    }

    /// Strict spacing: never two grants closer together than the rate says. A
    /// burst of 1, and nothing is caught up: the rate is lower than asked for
    /// by as much as timers are late.
    pub fn strict(self) -> Self {
        self.burst(NonZeroUsize::MIN).catch_up(Duration::ZERO)
    }

    /// The limiter, whose time begins now.
    #[must_use]
    pub fn build(self) -> Limiter {
        let mut gcra = Gcra::new(self.rate, self.burst, nanos(rt::now()));
        let start = u32::try_from(self.start).unwrap_or(u32::MAX);
        gcra.empty_by(self.burst.saturating_sub(start));
        let mut state = State::new(gcra);
        // Longer than any timer is late, and short of what the clock holds.
        let catch_up = u64::try_from(self.catch_up.as_nanos()).unwrap_or(ORIGIN).min(ORIGIN);
        if catch_up != CATCH_UP {
            state.line_mut().catch_up = catch_up;
        }
        Limiter { state: Mutex::new(state) }
    }
}

impl Limiter {
    /// A limiter with a burst of 1.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self::builder(rate).build()
    }

    /// So many a second, with a burst of 1.
    #[must_use]
    pub fn per_second(permits: NonZeroUsize) -> Self {
        Self::new(Rate::per_second(permits))
    }

    /// A limiter with a burst and more.
    ///
    /// ```
    /// use selvedge::rate::{Limiter, Rate};
    /// use selvedge::nz;
    ///
    /// let limiter = Limiter::builder(Rate::per_second(nz!(5))).burst(nz!(20)).build();
    /// assert!(limiter.try_acquire(20).is_ok());
    /// assert!(limiter.try_acquire(1).is_err());
    /// ```
    pub fn builder(rate: Rate) -> Builder {
        Builder { rate, burst: 1, start: usize::MAX, catch_up: Duration::from_nanos(CATCH_UP) }
    }

    /// `n` permits, if they are there and nobody waits for any. Nothing is
    /// always there.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`].
    #[inline]
    pub fn try_acquire(&self, n: usize) -> Result<(), TryAcquireError> {
        let now = nanos(rt::now());
        // Not to be held up by a head that nobody polls.
        let mut state = self.serve(self.state.lock(), now);
        let permits = state.permits(n).map_err(TryAcquireError::TooMany)?;
        match state.take(now, permits) {
            Ok(()) => Ok(()),
            Err(_) => state.take_or_refuse(permits),
        }
    }

    /// From now on permits become due at `rate`. What has been saved up, or is
    /// owed, stays; those in line are planned anew. A paused limiter stays so,
    /// and goes on at `rate`.
    pub fn set_rate(&self, rate: Rate) {
        let now = nanos(rt::now());
        let mut state = self.state.lock();
        state.set_rate(rate, now);
        drop(self.serve(state, now));
    }

    /// A rate of zero: nothing is granted, nothing becomes due, and waiters
    /// wait, until [`resume`](Self::resume).
    pub fn pause(&self) {
        let now = nanos(rt::now());
        let mut state = self.state.lock();
        state.pause(now);
    }

    /// Goes on after [`pause`](Self::pause).
    pub fn resume(&self) {
        let now = nanos(rt::now());
        let mut state = self.state.lock();
        state.resume(now);
        drop(self.serve(state, now));
    }

    /// The rate; `None` while paused.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        self.state.lock().gcra.rate()
    }

    /// The burst.
    #[must_use]
    pub fn burst(&self) -> usize {
        self.state.lock().gcra.burst() as usize
    }

    /// The most permits that are granted in any window of this length at the
    /// present rate, both ends counted: `burst + rate * (window + catch-up)`.
    #[must_use]
    pub fn most_in(&self, window: Duration) -> u64 {
        let state = self.state.lock();
        let nanos = window.as_nanos().saturating_add(u128::from(state.catch_up()));
        let due = state.gcra.rate().map_or(0, |rate| rate.due_in(nanos));
        u64::try_from(due).unwrap_or(u64::MAX).saturating_add(u64::from(state.gcra.burst()))
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.state.lock().stats()
    }

    /// Grants all whose turn has come, and sees to the head's timer
    /// (invariant 4).
    #[inline]
    pub(super) fn serve<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        now: u64,
    ) -> MutexGuard<'a, State> {
        if state.has_waiters() { self.serve_line(state, now) } else { state }
    }

    /// One lock a waiter, which is woken outside of it.
    #[cold]
    fn serve_line<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        now: u64,
    ) -> MutexGuard<'a, State> {
        while let Some(waiter) = state.next_to_wake(now) {
            drop(state);
            waiter.wake();
            state = self.state.lock();
        }
        state
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, stats) = (self.rate(), self.stats());
        f.debug_struct("Limiter")
            .field("rate", &rate)
            .field("burst", &self.burst())
            .field("stats", &stats)
            .finish()
    }
}
