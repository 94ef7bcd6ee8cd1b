//! The deadline that the running task is under.
//!
//! It is set while a future is polled (or a closure runs) and put back after,
//! so it follows the task from thread to thread. It is a plain thread-local:
//! no runtime is needed to ask for it.
//!
//! A relative timeout starts its clock as late as it can (see the parent
//! module). Until somebody looks at the clock it is an [`Allowance`] that has
//! not begun; the first look begins all those that are open, at one instant.

use crate::rt::{self, Instant};
use crate::sync::local_key;
use std::cell::Cell;
use std::fmt;
use std::time::Duration;

/// An instant by which work must be done, and what to call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    name: &'static str,
    at: Instant,
    allowance: Duration,
}

impl Deadline {
    /// `allowance` from now.
    ///
    /// Reads the clock. A deadline further away than a clock can hold is put
    /// some thirty years ahead.
    #[must_use]
    pub fn after(allowance: Duration) -> Self {
        Self::counted(allowance, rt::now())
    }

    /// At `at`.
    #[must_use]
    pub fn at(at: Instant) -> Self {
        let allowance = at.saturating_duration_since(rt::now());
        Self { name: UNNAMED, at, allowance }
    }

    pub(super) fn counted(allowance: Duration, from: Instant) -> Self {
        let at = from.checked_add(allowance).unwrap_or_else(|| from + FAR);
        Self { name: UNNAMED, at, allowance }
    }

    /// Gives it a name, for [`Elapsed`](super::Elapsed) to tell.
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

    /// When it passes.
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.at
    }

    /// How long there was when it was set.
    #[must_use]
    pub fn allowance(&self) -> Duration {
        self.allowance
    }

    /// How long there still is; zero once it has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(rt::now())
    }

    /// The one that passes first; `self` if they pass together.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }
}

/// What a deadline is called that was given no name.
pub(super) const UNNAMED: &str = "timeout";

/// As tokio's own: further ahead than any program runs, and no clock overflows.
const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?}", self.name, self.allowance)
    }
}

/// A timeout whose clock has not begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    pub(super) name: &'static str,
    pub(super) duration: Duration,
}

impl Allowance {
    pub(super) fn begun(self, at: Instant) -> Deadline {
        Deadline::counted(self.duration, at).named(self.name)
    }
}

/// What the running task is under. Separate cells: a poll writes only those
/// that it changes.
struct Under {
    deadline: Cell<Option<Deadline>>,
    /// The shortest of the timeouts that are open and have not begun.
    unbegun: Cell<Option<Allowance>>,
    /// When the clocks of this poll began, if they did.
    began: Cell<Option<Instant>>,
}

local_key! {
    static UNDER: Under = Under {
        deadline: Cell::new(None),
        unbegun: Cell::new(None),
        began: Cell::new(None),
    }
}

impl Under {
    /// Begins the clocks of all timeouts that are open, at one instant.
    fn begin(&self, at: Instant) {
        if let Some(allowance) = self.unbegun.take() {
            self.deadline.set(earlier(self.deadline.get(), Some(allowance.begun(at))));
        }
        self.began.set(Some(at));
    }
}

/// Runs `f` under a timeout whose clock has not begun, and puts back what was
/// before, panic or not. Clocks that `f` begins are begun outside as well:
/// those that are open begin together, so the shortest is the one that counts.
#[inline]
pub(super) fn under_unbegun<R>(allowance: Allowance, f: impl FnOnce() -> R) -> R {
    struct Back {
        unbegun: Option<Allowance>,
        began: Option<Instant>,
        deadline: Option<Deadline>,
    }
    impl Drop for Back {
        #[inline]
        fn drop(&mut self) {
            UNDER.with(|under| {
                under.unbegun.set(self.unbegun);
                if let Some(at) = under.began.replace(self.began) {
                    under.deadline.set(self.deadline);
                    if self.unbegun.is_some() {
                        under.begin(at);
                    }
                }
            });
        }
    }
    let _back = UNDER.with(|under| {
        let unbegun = under.unbegun.get();
        if !matches!(unbegun, Some(outer) if outer.duration <= allowance.duration) {
            under.unbegun.set(Some(allowance));
        }
        Back { unbegun, began: under.began.take(), deadline: under.deadline.get() }
    });
    f()
}

/// Runs `f` under `deadline`, and under whatever the caller is under.
/// [`current`] tells `f` so; nothing interrupts it.
#[inline]
pub fn within<R>(deadline: Option<Deadline>, f: impl FnOnce() -> R) -> R {
    // Clocks that begin inside stay begun: they are the caller's too. Their
    // deadline was composed with this one, and is composed again without.
    struct Back {
        unbegun: Option<Allowance>,
        deadline: Option<Deadline>,
    }
    impl Drop for Back {
        #[inline]
        fn drop(&mut self) {
            UNDER.with(|under| {
                under.deadline.set(self.deadline);
                if let (Some(_), None) = (self.unbegun, under.unbegun.get()) {
                    let at = under.began.get().expect("began, since it is not open any more");
                    under.unbegun.set(self.unbegun);
                    under.begin(at);
                }
            });
        }
    }
    let _back = UNDER.with(|under| {
        let back = Back { unbegun: under.unbegun.get(), deadline: under.deadline.get() };
        under.deadline.set(earlier(back.deadline, deadline));
        back
    });
    f()
}

fn earlier(outer: Option<Deadline>, inner: Option<Deadline>) -> Option<Deadline> {
    match (outer, inner) {
        (Some(outer), Some(inner)) => Some(outer.min(inner)),
        (either, None) | (None, either) => either,
    }
}

/// Begins the clocks of all timeouts that are open in this poll.
pub(super) fn begin() -> Instant {
    UNDER.with(|under| match (under.unbegun.get(), under.began.get()) {
        (None, Some(at)) => at,
        _ => {
            let at = rt::now();
            under.begin(at);
            at
        }
    })
}

/// The deadline that the caller is under: of the innermost poll of a
/// [`Timeout`](super::Timeout) or of something that inherited one, the one
/// that passes first.
///
/// ```
/// use selvedge::timeout::{self, with_timeout};
/// use std::time::Duration;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// assert!(timeout::current().is_none());
/// let inner = async { timeout::current().unwrap().name() };
/// let outer = with_timeout(with_timeout(inner, Duration::from_secs(9)), Duration::from_secs(1));
/// assert_eq!(outer.named("the whole").await, Ok(Ok("the whole")));
/// # });
/// ```
#[must_use]
pub fn current() -> Option<Deadline> {
    UNDER.with(|under| {
        if under.unbegun.get().is_some() {
            under.begin(rt::now());
        }
        under.deadline.get()
    })
}

pin_project_lite::pin_project! {
    /// The future of [`inherit`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Inherit<F> {
        #[pin]
        future: F,
        deadline: Option<Deadline>,
    }
}

/// Lets a future that is about to be spawned run under a deadline:
/// `spawn(inherit(current(), future))`. Timeouts inside it end by then at the
/// latest; the future itself is not interrupted.
pub fn inherit<F: Future>(deadline: Option<Deadline>, future: F) -> Inherit<F> {
    Inherit { future, deadline }
}

impl<F: Future> Future for Inherit<F> {
    type Output = F::Output;

    #[inline]
    fn poll(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<F::Output> {
        let this = self.project();
        match this.deadline {
            None => this.future.poll(context),
            deadline => within(*deadline, || this.future.poll(context)),
        }
    }
}
