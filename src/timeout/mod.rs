//! Timeouts and deadlines that nest.
//!
//! [`with_timeout`] runs a future for a duration at most, [`with_deadline`] until an
//! instant at most, and drops it then. Nested timeouts compose by minimum, and the
//! error names the deadline that passed.
//!
//! ```
//! use selvedge::timeout::{current, with_timeout};
//! use std::time::Duration;
//! use tokio::time::sleep;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let secs = Duration::from_secs;
//! let request = async {
//!     let query = with_timeout(sleep(secs(60)), secs(10)).named("query");
//!     query.await.map_err(|elapsed| elapsed.to_string())
//! };
//! let reply = with_timeout(request, secs(30)).named("request").await;
//! assert_eq!(reply, Ok(Err("timed out: query of 10s passed".into())));
//!
//! // Code can read the deadline that it runs under.
//! let left = with_timeout(async { current().unwrap().remaining() }, secs(5)).await;
//! assert_eq!(left, Ok(secs(5)));
//! # }
//! ```
//!
//! # Which form
//!
//! | at the deadline | use |
//! |---|---|
//! | the future is dropped | [`with_timeout`], [`with_deadline`] |
//! | it is asked to stop, and dropped after a grace | [`Timeout::or_grace`] |
//! | it is handed back, and may go on | [`Timeout::or_detach`] |
//! | closures on threads | [`offload::Pool::run_by`](crate::offload::Pool::run_by) |
//! | blocking calls | `send_deadline`, `recv_deadline`, `acquire_timeout`, `acquire_deadline` |
//!
//! # What is promised
//!
//! * **Its own.** A timeout ends at its own deadline, whatever it is polled under.
//! * **Ties.** A value that is ready in the poll in which the deadline is found to
//!   have passed is returned: the result is the value or [`Elapsed`], and a value is
//!   never lost to a timer that fired while it was being made.
//! * **Never.** A deadline beyond what the clock can hold does not pass.
//!
//! Not promised: that a future which does not return from a poll is stopped.
//! [`Elapsed::late_by`] and [`Timeout::on_overrun`] report it.
//!
//! # Cost
//!
//! The clock begins with the first poll. The future is polled first, and a timer is
//! armed only if it is pending: a future that is ready costs no timer.
//!
//! # Cancel safety
//!
//! Dropping a timeout drops its future.
//!
//! # Whose deadline it is
//!
//! A deadline belongs to the future that was put under it: [`with_timeout`]
//! drops *that* future when it passes, and with it whatever that future was
//! waiting for. So nested timeouts compose by minimum: the outer one ends the
//! inner one. It reaches nothing else. A timeout of a minute keeps its minute
//! wherever it is polled: in a future that several callers share, in a set of
//! futures, in a task of a `LocalSet`, in an item of a gather, in a child of a
//! scope, in a future that is given grace or handed back.
//!
//! A deadline can be *read* by whatever runs under it ([`current`]), and used
//! by what asks for it:
//!
//! | form | what it does with the deadline that it can read |
//! |---|---|
//! | [`current`] | returns it |
//! | `by_deadline` of a send, a receive, or a request to a limiter | waits until then at most |
//! | [`scope::Scope::spawn`](crate::scope::Scope::spawn) | lets the child read it, since no child outlives its scope |
//! | [`inherit`] | lets a future read the one that it is given, and no other |
//! | [`free`] | lets a future read none |
//!
//! Everything else ignores it. Tasks that are spawned, items that are
//! gathered and closures that are offloaded read none, unless the caller hands
//! them one.
//!
//! ---
//!
//! # Algorithm
//!
//! The clock begins with the first poll. The future is polled first; only if
//! it is pending is a timer armed. While it is polled its deadline can be
//! read, if no earlier one can.
//!
//! # States of a timeout
//!
//! | state | leaves it when |
//! |---|---|
//! | not begun: a duration | it is polled |
//! | begun: an instant | the future is ready, or is pending and the instant has passed |
//! | armed: an instant, and a timer | the future is ready, or the timer has fired |
//!
//! # Invariants
//!
//! 1. *Its own*: a timeout ends at its own deadline, whatever it is polled
//!    under, and [`Elapsed`] names that one.
//! 2. *Tie rule*: a value that is ready in the poll in which the timer is
//!    found to have fired wins. So the result is the value or [`Elapsed`],
//!    never both, and a value is never lost to a timer that fired while it
//!    was being made.
//! 3. *Never*: a deadline beyond what the clock can hold does not pass.
//!
//! # Linearization points
//!
//! The poll of the future that returns ready, else the poll of the timer.
//!
//! # Progress
//!
//! No call blocks. A future that does not return from its poll holds up its
//! own deadline, like everything else on its thread: [`Elapsed::late_by`] and
//! [`Timeout::on_overrun`] report it. A future that yields without end does
//! not; nor does one that always finds something ready, if what it finds
//! comes from blocks that yield by tokio's budget, as those of this library
//! and of tokio do.
//!
//! # Model bounds
//!
//! One task, one deadline or two; see `loom-tests/models/timeout.rs`, and
//! `cancel_points.rs` beside it for a drop at every poll.

pub(crate) mod deadline;
mod timer;

pub use deadline::{Deadline, Inherit, current, free, inherit, within};

use crate::cancel::Token;
use crate::outcome::TimedOut;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
pub(crate) use timer::Timer;

/// Runs `future` for `allowance` at most.
///
/// The clock begins with the first poll, not at this call. An allowance of
/// zero is one poll; one that the clock cannot hold never ends.
///
/// # Panics
///
/// The future, when it is pending outside of a runtime with a clock.
///
/// # Cancel safety
///
/// That of `future`, which is dropped at the deadline.
///
/// ```
/// use selvedge::timeout::with_timeout;
/// use std::time::Duration;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
/// #     .unwrap().block_on(async {
/// let ms = Duration::from_millis;
/// assert_eq!(with_timeout(async { 7 }, ms(50)).await, Ok(7));
/// let slow = tokio::time::sleep(ms(200));
/// let elapsed = with_timeout(slow, ms(50)).named("sleep").await.unwrap_err();
/// assert_eq!(elapsed.to_string(), "timed out: sleep of 50ms passed");
/// # });
/// ```
pub fn with_timeout<F: Future>(future: F, allowance: Duration) -> Timeout<F> {
    Timeout { future, timer: Timer::relative(allowance), ended: false }
}

/// Runs `future` until `deadline` at most.
///
/// # Panics
///
/// As [`with_timeout`].
///
/// # Cancel safety
///
/// That of `future`, which is dropped at the deadline.
pub fn with_deadline<F: Future>(future: F, deadline: Deadline) -> Timeout<F> {
    Timeout { future, timer: Timer::absolute(deadline), ended: false }
}

/// Which deadline passed, and how late that was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed {
    deadline: Deadline,
    late_by: Duration,
}

impl Elapsed {
    /// The one that passed.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// How long after the deadline this was noticed. More than the grain of
    /// the timer (a millisecond) means that something did not yield.
    #[must_use]
    pub fn late_by(&self) -> Duration {
        self.late_by
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timed out: {} passed", self.deadline)
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for TimedOut {
    fn from(elapsed: Elapsed) -> Self {
        Self::new(elapsed.deadline.name(), elapsed.deadline.allowance())
    }
}

/// A poll that began before the deadline and returned after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrun {
    /// The deadline.
    pub deadline: Deadline,
    /// How long after it the poll returned.
    pub by: Duration,
    /// Whether it returned a value, which then won (the tie rule).
    pub ready: bool,
}

pin_project_lite::pin_project! {
    /// The future of [`with_timeout`] and [`with_deadline`].
    ///
    /// # Panics
    ///
    /// When it is polled after it was ready.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        #[pin]
        timer: Timer,
        ended: bool,
    }
}

impl<F: Future> Timeout<F> {
    /// Names the deadline.
    pub fn named(mut self, name: &'static str) -> Self {
        self.timer.name(name);
        self
    }

    /// Calls `hook` for a poll that overruns the deadline, whatever it
    /// returned. The clock is then read before and after every poll.
    pub fn on_overrun(mut self, hook: impl Fn(Overrun) + Send + Sync + 'static) -> Self {
        self.timer.on_overrun(Box::new(hook));
        self
    }

    /// At the deadline, cancels `token` and lets the future go on for `grace`
    /// at most before it is dropped. Whoever made the future gave it the
    /// token, or a child of it.
    pub fn or_grace(self, token: Token, grace: Duration) -> Graceful<F> {
        Graceful {
            future: self.future,
            timer: self.timer,
            token,
            grace,
            passed: None,
            ended: false,
        }
    }

    /// At the deadline, hands the future back. `F` must be `Unpin`: a task
    /// handle, or a `Pin<Box<_>>`.
    pub fn or_detach(self) -> Detachable<F>
    where
        F: Unpin,
    {
        Detachable { future: Some(self.future), timer: self.timer }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        assert!(!*this.ended, "`Timeout` polled after completion");
        let polled = this.timer.poll(context, |context| this.future.poll(context));
        *this.ended = polled.is_ready();
        polled
    }
}

/// How a future ended that was given grace.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it may not have ended in time"]
pub enum Graced<T> {
    /// In time.
    InTime(T),
    /// After the deadline, within the grace. The value is not thrown away: it
    /// may own something.
    Late(T, Elapsed),
    /// Not even within the grace: it was dropped.
    Dropped(Elapsed),
}

pin_project_lite::pin_project! {
    /// The future of [`Timeout::or_grace`].
    ///
    /// # Panics
    ///
    /// When it is polled after it was ready.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Graceful<F> {
        #[pin]
        future: F,
        #[pin]
        timer: Timer,
        token: Token,
        grace: Duration,
        passed: Option<Elapsed>,
        ended: bool,
    }
}

impl<F: Future> Future for Graceful<F> {
    type Output = Graced<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        assert!(!*this.ended, "`Graceful` polled after completion");
        loop {
            let poll = |context: &mut Context<'_>| this.future.as_mut().poll(context);
            let ended = ready!(this.timer.as_mut().poll(context, poll));
            let graced = match (ended, *this.passed) {
                (Ok(value), None) => Graced::InTime(value),
                (Ok(value), Some(passed)) => Graced::Late(value, passed),
                (Err(_), Some(passed)) => Graced::Dropped(passed),
                (Err(elapsed), None) => {
                    *this.passed = Some(elapsed);
                    this.token.cancel_with(&cancelled_by(&elapsed));
                    this.timer.set(Timer::relative(*this.grace));
                    continue;
                }
            };
            *this.ended = true;
            return Poll::Ready(graced);
        }
    }
}

/// The cancellation that a deadline causes.
pub(crate) fn cancelled_by(elapsed: &Elapsed) -> crate::outcome::Cancelled {
    crate::outcome::Cancelled::because(&elapsed.to_string())
}

/// A future that did not end in time, and goes on wherever it is awaited.
#[derive(Debug)]
pub struct Detached<F> {
    /// What passed.
    pub elapsed: Elapsed,
    /// The future itself, as it was.
    pub future: F,
}

pin_project_lite::pin_project! {
    /// The future of [`Timeout::or_detach`].
    ///
    /// # Panics
    ///
    /// When it is polled after it was ready.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Detachable<F> {
        future: Option<F>,
        #[pin]
        timer: Timer,
    }
}

impl<F: Future + Unpin> Future for Detachable<F> {
    type Output = Result<F::Output, Detached<F>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let future = this.future.as_mut().expect("`Detachable` polled after completion");
        let ended = ready!(this.timer.poll(context, |context| Pin::new(future).poll(context)));
        let future = this.future.take();
        Poll::Ready(ended.map_err(|elapsed| {
            let future = future.expect("looked at above");
            Detached { elapsed, future }
        }))
    }
}
