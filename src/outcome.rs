//! How a piece of work ended: one vocabulary for every executor here.
//!
//! A task may return a value, return an error, panic, be cancelled, run out of
//! time, or (in a worker process) take its process down with it. Each executor
//! reports every input exactly once as an [`Outcome`], so that code which collects
//! results does not care whether they came from a thread, a process or a task.
//!
//! ```
//! use selvedge::outcome::{Outcome, Outcomes};
//! use selvedge::threads::Threads;
//!
//! let ends: Outcomes<u32, _> = Threads::new()
//!     .map_outcomes(["4", "x", "0"], |text| text.parse::<u32>().map(|n| 12 / n))
//!     .into_iter()
//!     .collect();
//! assert_eq!(ends[0], Outcome::Ok(3));
//! let (values, failures) = ends.halves();
//! assert_eq!(values, [(0, 3)]);
//! assert_eq!(failures[0].to_string(), "item 1: error: invalid digit found in string");
//! assert_eq!(failures[1].to_string(), "item 2: panicked: attempt to divide by zero");
//! ```
//!
//! # Which form
//!
//! | you have | and want | use |
//! |---|---|---|
//! | an [`Outcome`] | the value, or nothing | [`Outcome::ok`] |
//! | | a `Result`, to match on or to format | [`Outcome::into_result`] |
//! | | an error for `?` | [`Failure::new`]`(index, …)` of the `Err` of `into_result` |
//! | an outcome of a `Result` | one outcome | [`Outcome::flatten`] |
//! | [`Outcomes`] | all values, or the first failure | [`Outcomes::all`] |
//! | | all values, or every failure | [`Outcomes::all_or_failures`] |
//! | | values and failures apart | [`Outcomes::halves`] |

mod outcomes;

pub use outcomes::{Failure, IntoOutcome, Outcomes};

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How one task ended.
///
/// `E` is the task's own error type; the other variants are what happened *to*
/// the task.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an outcome may be a failure"]
pub enum Outcome<T, E> {
    /// It returned this value.
    Ok(T),
    /// It returned this error.
    Err(E),
    /// It panicked.
    Panicked(Panic),
    /// It was asked to stop and did, or had not started yet.
    Cancelled(Cancelled),
    /// A deadline passed first.
    TimedOut(TimedOut),
    /// Its worker process died while it was running there, or there was no
    /// worker to be had.
    Crashed(Crash),
}

/// A panic as a value.
///
/// The payload is kept as text: the `&str` or `String` that `panic!` was given,
/// or a note that it was something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    message: Arc<str>,
    location: Option<Arc<str>>,
}

/// What [`Panic::message`] says of a payload that is not text.
const OPAQUE: &str = "a payload that is not a string";

impl Panic {
    /// From the payload that `catch_unwind` or `JoinHandle::join` returned.
    #[must_use]
    pub fn from_payload(payload: &(dyn Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&'static str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or(OPAQUE);
        Self { message: message.into(), location: None }
    }

    /// From a message, and where it happened if that is known.
    #[must_use]
    pub fn new(message: &str, location: Option<&str>) -> Self {
        Self { message: message.into(), location: location.map(Into::into) }
    }

    /// The text that the panic carried.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// `file:line:column`, where the executor could learn it (worker
    /// processes can; threads would need the global panic hook).
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.message)?;
        match &self.location {
            Some(location) => write!(f, " at {location}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Panic {}

/// The task was cancelled, and why if a reason was given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cancelled {
    cause: Option<Arc<str>>,
}

impl Cancelled {
    /// Cancelled for this reason.
    #[must_use]
    pub fn because(cause: &str) -> Self {
        Self { cause: Some(cause.into()) }
    }

    /// The reason that travelled with the cancellation.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "cancelled: {cause}"),
            None => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for Cancelled {}

/// A deadline passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedOut {
    deadline: Arc<str>,
    after: Duration,
}

impl TimedOut {
    /// The deadline called `deadline`, `after` this long, was the one.
    #[must_use]
    pub fn new(deadline: &str, after: Duration) -> Self {
        Self { deadline: deadline.into(), after }
    }

    /// Which deadline: nested ones compose by minimum, and this names the one
    /// that fired.
    #[must_use]
    pub fn deadline(&self) -> &str {
        &self.deadline
    }

    /// How long the task had.
    #[must_use]
    pub fn after(&self) -> Duration {
        self.after
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timed out: {} of {:?} passed", self.deadline, self.after)
    }
}

impl std::error::Error for TimedOut {}

/// How a worker died under a task, or why there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Crash {
    /// Killed by this signal.
    Signal(i32),
    /// Exited by itself with this code.
    Exit(i32),
    /// Went over its memory limit, in bytes.
    OutOfMemory(u64),
    /// Sent something that is not a frame of the protocol.
    Garbled(Arc<str>),
    /// Died, and its status went to another part of the program: SIGCHLD is
    /// ignored, or a thread waits for children that are not its own.
    Unseen,
    /// Could not be started.
    NotStarted(Arc<str>),
    /// There was no thread to be had, and this is what the system said. (In
    /// the [`offload`](crate::offload) pool; no process died.)
    NoThread(Arc<str>),
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(f, "worker process killed by signal {signal}"),
            Self::Exit(code) => write!(f, "worker process exited with code {code}"),
            Self::OutOfMemory(limit) => {
                write!(f, "worker process went over its memory limit of {limit} bytes")
            }
            Self::Garbled(what) => write!(f, "worker process broke the protocol: {what}"),
            Self::Unseen => f.write_str(
                "worker process died, and how is not known: SIGCHLD is ignored, or another part \
                 of the program waited for it",
            ),
            Self::NotStarted(why) => write!(f, "worker process could not be started: {why}"),
            Self::NoThread(why) => write!(f, "no thread could be started: {why}"),
        }
    }
}

impl std::error::Error for Crash {}

impl<T, E> Outcome<T, E> {
    /// Whether the task returned a value.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Ok(_))
    }

    /// The value, if there is one.
    #[must_use]
    pub fn ok(self) -> Option<T> {
        match self {
            Self::Ok(value) => Some(value),
            _ => None,
        }
    }
}

impl<T, E> From<Result<T, E>> for Outcome<T, E> {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(error) => Self::Err(error),
        }
    }
}

impl<T, E: fmt::Display> fmt::Display for Outcome<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok(_) => f.write_str("ok"),
            Self::Err(error) => write!(f, "error: {error}"),
            Self::Panicked(panic) => panic.fmt(f),
            Self::Cancelled(cancelled) => cancelled.fmt(f),
            Self::TimedOut(timed_out) => timed_out.fmt(f),
            Self::Crashed(crash) => crash.fmt(f),
        }
    }
}
