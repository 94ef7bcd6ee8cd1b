//! Deadlines, and the one that the running code can read.
//!
//! A deadline belongs to the future that was put under it, and ends with it.
//! While that future is polled (or a closure runs under [`within`]) the
//! deadline can be read, and that is all: nothing is cut or refused because of
//! a deadline that it can read, unless it asks for it ([`current`]).
//!
//! It is a plain thread-local, set for the time of a poll and put back after:
//! no runtime is needed to ask for it.

use crate::rt::{self, Instant};
use crate::swap::local_key;
use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// An instant by which work must be done, and what to call it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    name: &'static str,
    /// `None`: beyond what the clock can hold. It never passes.
    at: Option<Instant>,
    allowance: Duration,
}

impl Deadline {
    /// `allowance` from now.
    ///
    /// Reads the clock. A deadline beyond what the clock can hold never passes.
    ///
    /// ```
    /// use selvedge::timeout::Deadline;
    /// use std::time::Duration;
    ///
    /// assert!(Deadline::after(Duration::ZERO).has_passed());
    /// let never = Deadline::after(Duration::MAX);
    /// assert_eq!((never.instant(), never.remaining()), (None, Duration::MAX));
    /// ```
    #[must_use]
    pub fn after(allowance: Duration) -> Self {
        Self { name: UNNAMED, at: rt::now().checked_add(allowance), allowance }
    }

    /// At `at`.
    #[must_use]
    pub fn at(at: Instant) -> Self {
        let allowance = at.saturating_duration_since(rt::now());
        Self { name: UNNAMED, at: Some(at), allowance }
    }

    /// Gives it a name, for [`Elapsed`](super::Elapsed) to report.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// When it passes; `None` if that is beyond what the clock can hold: it
    /// never does.
    #[must_use]
    pub fn instant(&self) -> Option<Instant> {
        self.at
    }

    /// How long there was when it was set.
    #[must_use]
    pub fn allowance(&self) -> Duration {
        self.allowance
    }

    /// How long there still is: zero once it has passed, [`Duration::MAX`] if
    /// it never does. Reads the clock.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.at.map_or(Duration::MAX, |at| at.saturating_duration_since(rt::now()))
    }

    /// Whether it has passed. Reads the clock.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.has_passed_at(rt::now())
    }

    pub(crate) fn has_passed_at(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| at <= now)
    }

    /// The one that passes first; `self` if they pass together.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        match (self.at, other.at) {
            (None, Some(_)) => other,
            (Some(mine), Some(its)) if its < mine => other,
            _ => self,
        }
    }
}

/// With what remains of it: an instant by itself says nothing to a person.
impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Deadline");
        shown.field("name", &self.name).field("allowance", &self.allowance);
        match self.at {
            Some(_) => shown.field("remaining", &self.remaining()).finish(),
            None => shown.field("remaining", &format_args!("for ever")).finish(),
        }
    }
}

/// The name of a deadline that was given none.
const UNNAMED: &str = "timeout";

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?}", self.name, self.allowance)
    }
}

local_key! {
    static READABLE: Cell<Option<Deadline>> = Cell::new(None)
}

/// Runs `f` with exactly this deadline to read, and puts back what was before,
/// panic or not.
#[inline]
pub(crate) fn exactly<R>(deadline: Option<Deadline>, f: impl FnOnce() -> R) -> R {
    struct Back(Option<Deadline>);
    impl Drop for Back {
        #[inline]
        fn drop(&mut self) {
            READABLE.with(|readable| readable.set(self.0));
        }
    }
    let _back = Back(READABLE.with(|readable| readable.replace(deadline)));
    f()
}

/// Runs `f` with a deadline to read ([`current`]): this one, or that of the
/// caller if it passes first. Nothing interrupts `f`.
#[inline]
pub fn within<R>(deadline: Option<Deadline>, f: impl FnOnce() -> R) -> R {
    let first = match (current(), deadline) {
        (Some(outer), Some(own)) => Some(outer.min(own)),
        (either, None) | (None, either) => either,
    };
    exactly(first, f)
}

/// The deadline that the caller can read: the earliest of all the
/// [`Timeout`](super::Timeout)s that are being polled around it, down to the
/// innermost [`inherit`] or [`free`].
///
/// To read it is a decision: nothing of this library looks at it but what says
/// so (the `by_deadline` forms, a scope's `spawn`, which hands it on).
///
/// ```
/// use selvedge::timeout::{self, with_timeout};
/// use std::time::Duration;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
/// #     .block_on(async {
/// assert!(timeout::current().is_none());
/// let inner = async { timeout::current().unwrap().name() };
/// let outer = with_timeout(with_timeout(inner, Duration::from_secs(9)), Duration::from_secs(1));
/// assert_eq!(outer.named("the whole").await, Ok(Ok("the whole")));
/// # });
/// ```
#[must_use]
#[inline]
pub fn current() -> Option<Deadline> {
    READABLE.with(Cell::get)
}

pin_project_lite::pin_project! {
    /// The future of [`inherit`] and [`free`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Inherit<F> {
        #[pin]
        future: F,
        deadline: Option<Deadline>,
    }
}

/// Gives a future that is spawned, shared or gathered the deadline that it can
/// read: `spawn(inherit(current(), future))`. It reads exactly this one,
/// whoever polls it and under whatever deadline. The future itself is not
/// interrupted.
///
/// ```
/// use selvedge::queue::{self, RecvTimeoutError};
/// use selvedge::timeout::{current, inherit, with_timeout};
/// use std::time::Duration;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
/// #     .unwrap().block_on(async {
/// let (_tx, rx) = queue::unbounded::<u8>();
/// let spawning = async {
///     let receive = async move { rx.recv_async().by_deadline().await };
///     tokio::spawn(inherit(current(), receive)).await.unwrap()
/// };
/// let ended = with_timeout(spawning, Duration::from_secs(1)).await;
/// assert!(ended.is_err() || matches!(ended, Ok(Err(RecvTimeoutError::Timeout))));
/// # });
/// ```
pub fn inherit<F: Future>(deadline: Option<Deadline>, future: F) -> Inherit<F> {
    Inherit { future, deadline }
}

/// Runs a future free of any deadline that it could read:
/// [`inherit`]`(None, future)`. For work that several share, or that goes on
/// after the caller.
///
/// ```
/// use selvedge::timeout::{current, free, with_timeout};
/// use std::time::Duration;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
/// #     .block_on(async {
/// let work = free(async { current() });
/// assert_eq!(with_timeout(work, Duration::from_secs(1)).await, Ok(None));
/// # });
/// ```
pub fn free<F: Future>(future: F) -> Inherit<F> {
    inherit(None, future)
}

impl<F: Future> Future for Inherit<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        exactly(*this.deadline, || this.future.poll(context))
    }
}
