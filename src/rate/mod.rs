//! Rate limits: n operations per second, without drift.
//!
//! A [`Limiter`] hands out permits at a [`Rate`], to tasks and threads, first come,
//! first served. [`rate_limited`] and its kin pass on the items of iterators and
//! streams, one permit for each.
//!
//! ```
//! use selvedge::rate::{Limiter, Rate, TryAcquireError};
//! use selvedge::nz;
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let start = tokio::time::Instant::now();
//! let limiter = Limiter::builder(Rate::per_second(nz!(10))).burst(nz!(3)).build();
//! for _request in 0..8 {
//!     limiter.acquire(1).await?; // three immediately, the others 100 ms apart
//! }
//! assert_eq!(start.elapsed(), Duration::from_millis(500));
//!
//! let refused = limiter.try_acquire(1).unwrap_err();
//! assert_eq!(refused, TryAcquireError::NotYet(Duration::from_millis(100)));
//! # Ok(())
//! # }
//! ```
//!
//! # Which form
//!
//! | wanted | in a task | on a thread |
//! |---|---|---|
//! | permits, now or not at all | [`try_acquire`](Limiter::try_acquire) | the same |
//! | wait for permits | [`acquire`](Limiter::acquire), [`acquire_owned`](Limiter::acquire_owned) | [`acquire_blocking`](Limiter::acquire_blocking) |
//! | fail immediately if a deadline cannot be met | [`by_deadline`](Acquire::by_deadline) | [`acquire_deadline`](Limiter::acquire_deadline) |
//! | permits that may come back unused | [`reserve`](Limiter::reserve) | [`reserve_blocking`](Limiter::reserve_blocking) |
//! | the items of a source | [`rate_limited`], [`rate_limited_stream`] | [`rate_limited_iter`] |
//! | the bare schedule, with no clock | [`Gcra`] | the same |
//!
//! A limiter has a burst of 1 by default. [`Builder::strict`] never lets two grants
//! be closer than the rate says. A limiter per user is a
//! [recipe](crate::cookbook::recipes#a-limiter-per-user).
//!
//! # What is promised
//!
//! * **Window.** In any window of length `t`, both ends counted, at most
//!   `burst + rate * (t + catch-up)` permits are granted, to the nanosecond:
//!   [`Limiter::most_in`]. The catch-up is 1 ms by default
//!   ([`Builder::catch_up`]). Permits that came back count as never granted.
//! * **First come, first served.**
//! * **No drift.** A permit is a whole number of ticks at any rate, and late timers
//!   do not add up.
//! * **Exact refund.** After permits came back, the schedule is what it would be had
//!   they never been taken.
//!
//! # Cost
//!
//! 64 bytes until a caller waits. Every operation takes a mutex for a few
//! instructions and reads the clock. No user code runs under the mutex, and
//! nothing runs in the background but timers.
//!
//! # Cancel safety
//!
//! A future that is dropped while it waits leaves the line; dropped after the grant
//! it gives the permits back, exactly.
//!
//! # Clocks
//!
//! Tasks and threads go by tokio's clock, which outside of a runtime, or when it is
//! not paused, is the system's. On the system's clock the timers of tasks are those
//! of one thread of this library's own, which are some 0.1 ms late, and need no
//! runtime; on a paused clock they are tokio's. (A clock that is paused while a
//! caller waits is noticed when the line is next looked at. A thread outside of a
//! runtime does not see its clock.)
//!
//! Schedules are kept in 64 bits of nanoseconds: 146 years after the first use in a
//! process time stands still for its limiters, and they grant what has become due
//! by then.
//!
//! ---
//!
//! # Algorithm
//!
//! The generic cell rate algorithm (ITU-T I.371), which is a leaky bucket kept
//! as one instant, on integers ([`Gcra`]): a permit is a whole number of
//! ticks at any rate, so the billionth grant at 7 a second is where arithmetic
//! says. Around it a mutex and a line of waiters. A waiter takes nothing while
//! it stands in line; when its turn has come, whatever looks at the line next
//! grants it (its own timer, the timer of another waiter, a newcomer), and
//! wakes it.
//!
//! *Late timers.* A timer is late, by 0.1 ms or by the grain of tokio's clock,
//! and at 100,000 a second 0.1 ms is ten permits. What becomes due while
//! waiters wait for a timer is released in one batch when it fires, as if at
//! the time when it was due, up to [`Builder::catch_up`] (1 ms by default)
//! back; so a rate far above the grain of the timer is kept, and the batches
//! are no larger than that. Time in which no caller waited is never caught up
//! with: it fills the bucket up to the burst, and no further.
//!
//! # States of a waiter
//!
//! | state | in the line | its permits |
//! |---|---|---|
//! | waiting | yes | none |
//! | granted | no | taken, and held on account until it picks them up |
//!
//! # Invariants
//!
//! 1. *Window*: the grants in any window of length `t`, both ends counted, are
//!    at most `burst + rate * (t + catch-up)`, to the nanosecond: see
//!    [`Limiter::most_in`]. Permits that came back count as never granted.
//! 2. *First come, first served*: no newcomer is granted while others wait.
//! 3. *No waiter waits for another's poll*: each waiter has a timer of its own,
//!    set for its own turn as planned when it came, and grants all whose turn
//!    has come before its own. A head that is held and not polled is granted
//!    by the next, which is late by no more than the head's own share.
//! 4. *The head's timer is never too late*: whenever the lock is free, the
//!    head's timer is set for no later than its turn, or the head has been
//!    woken to set it. Everything that can bring the turn forward (a refund,
//!    a waiter that leaves, a change of rate) ends with a look at the head.
//! 5. *Exact refund*: after permits came back, the schedule is what it would
//!    be had they never been taken, to the nanosecond.
//!
//! # Linearization points
//!
//! A grant is where the schedule advances, under the lock, by the waiter
//! itself or on its behalf; the time of the grant is the clock as it was read
//! just before the lock was taken.
//!
//! # Progress
//!
//! Blocking (a mutex held for a few instructions; no user code under it).
//! Wakers run after it is released. Nothing runs in the background but the
//! timers. A compare-and-swap in place of the mutex would save nothing that
//! shows: a permit without waiting costs what it does with governor on the same clock,
//! and most of that is the clock (`benches/benches/rate.rs`).
//!
//! # Model bounds
//!
//! Three waiters; see `loom-tests/models/rate.rs` for what each model leaves
//! out.

mod acquire;
mod core;
mod held;
mod limiter;
mod reserve;
mod state;
mod stream;

pub use acquire::Acquire;
pub use core::Gcra;
pub use limiter::{Builder, Limiter};
pub use reserve::{Reservation, Reserve};
pub use state::Stats;
pub use stream::{FromIter, RateLimited, RateLimitedIter};
pub use stream::{rate_limited, rate_limited_iter, rate_limited_stream};

use crate::timeout::Deadline;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

/// So many permits in such a time, as a fraction in lowest terms.
///
/// There is no rate of zero: see [`Limiter::pause`].
///
/// ```
/// use selvedge::rate::Rate;
/// use selvedge::nz;
/// use std::time::Duration;
///
/// let rate = Rate::new(nz!(33_333), Duration::from_secs(10));
/// assert_eq!(rate.to_string(), "3333.3/s");
/// assert_eq!(Rate::every(Duration::from_millis(10)), Rate::per_second(nz!(100)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Nanoseconds.
    period: u64,
    permits: u32,
}

impl Rate {
    /// `permits` in every `per`.
    ///
    /// The rate is exact, unless its fraction in lowest terms has a numerator
    /// beyond `u32::MAX`: then it is the next lower one that has not.
    ///
    /// # Panics
    ///
    /// If `per` is zero, or longer than 584 years.
    #[must_use]
    pub const fn new(permits: NonZeroUsize, per: Duration) -> Self {
        let (permits, nanos) = (permits.get() as u64, per.as_nanos());
        assert!(nanos > 0, "a rate of so many in no time");
        assert!(nanos <= u64::MAX as u128, "a rate of so many in more than 584 years");
        #[allow(clippy::cast_possible_truncation, reason = "looked at above")]
        let (mut a, mut b) = (permits, nanos as u64);
        let period = b;
        while b > 0 {
            (a, b) = (b, a % b);
        }
        let (permits, period) = (permits / a, period / a);
        let bits = u64::BITS - permits.leading_zeros();
        let over = bits.saturating_sub(u32::BITS);
        #[allow(clippy::cast_possible_truncation, reason = "shifted to 32 bits")]
        let permits = (permits >> over) as u32;
        Self { period: period.div_ceil(1 << over), permits }
    }

    /// `permits` a second.
    #[must_use]
    pub const fn per_second(permits: NonZeroUsize) -> Self {
        Self::new(permits, Duration::from_secs(1))
    }

    /// One in every `interval`.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    #[must_use]
    pub const fn every(interval: Duration) -> Self {
        Self::new(NonZeroUsize::MIN, interval)
    }

    /// As a number a second.
    #[must_use]
    pub fn hz(&self) -> f64 {
        f64::from(self.permits) * 1e9 / self.period as f64
    }

    /// How many permits become due in `nanos`, and the part of one more that a
    /// schedule rounded to nanoseconds gives.
    fn due_in(self, nanos: u128) -> u128 {
        let ticks = nanos.saturating_mul(u128::from(self.permits));
        ticks.saturating_add(u128::from(self.permits - 1)) / u128::from(self.period)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.hz())
    }
}

/// Why there were no permits at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryAcquireError {
    /// There will be, in so much time, if nobody takes any before.
    NotYet(Duration),
    /// The limiter is paused.
    Paused,
    /// More than the burst: there never will be so many at once.
    TooMany(TooMany),
}

/// Why waiting for permits gave none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcquireError {
    /// They will not be there by the deadline that was asked for. Known
    /// before any time is spent, unless the limiter was slowed down or paused
    /// while the caller stood in line.
    Late(Late),
    /// More than the burst: there never will be so many at once.
    TooMany(TooMany),
}

/// A deadline that cannot be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late {
    /// The deadline.
    pub deadline: Deadline,
    /// How long the permits would have taken; `None` if that is not known, and
    /// the deadline has passed.
    pub needs: Option<Duration>,
}

/// More permits than the burst were asked for at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    /// So many.
    pub asked: usize,
    /// The burst.
    pub burst: usize,
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asked for {} permits at once of a burst of {}", self.asked, self.burst)
    }
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.needs {
            Some(needs) => write!(f, "the permits need {needs:?}: later than {}", self.deadline),
            None => write!(f, "no permits before {} passed", self.deadline),
        }
    }
}

impl fmt::Display for TryAcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYet(wait) => write!(f, "the permits are there in {wait:?}"),
            Self::Paused => f.write_str("the limiter is paused"),
            Self::TooMany(many) => many.fmt(f),
        }
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(late) => late.fmt(f),
            Self::TooMany(many) => many.fmt(f),
        }
    }
}

impl std::error::Error for TooMany {}
impl std::error::Error for Late {}
impl std::error::Error for TryAcquireError {}
impl std::error::Error for AcquireError {}
