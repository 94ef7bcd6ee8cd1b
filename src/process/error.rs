//! What a process pool reports of a task, and of itself.

use crate::outcome::Outcome;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

/// How one task of a process pool ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a report may be of a failure"]
pub struct Report<T, E = Infallible> {
    /// The item's place in its input, from zero. Always 0 for a task that was
    /// submitted alone.
    pub index: usize,
    /// The attempt this is the end of: 1, or more for a task that was retried;
    /// 0 if it never reached a worker.
    pub attempt: u32,
    /// What happened.
    pub outcome: Outcome<T, Fault<E>>,
}

/// A task that has no value.
pub type Failed<E = Infallible> = Report<Infallible, E>;

/// Why a task has no value, apart from what [`Outcome`] can say.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault<E = Infallible> {
    /// The function returned this error.
    Task(E),
    /// The function cannot cross to a worker.
    NotShippable(NotShippable),
    /// The item or the result could not be encoded.
    Encode(Arc<str>),
    /// The item or the result could not be decoded.
    Decode(Arc<str>),
    /// The task ended, and its result could not be had; no other task is
    /// affected. The reason says why: this process had no file descriptor left
    /// for a large result, say.
    Undelivered(Arc<str>),
    /// The pool gave up: its workers could not be started, or died too often.
    Broken(Arc<str>),
}

/// A function that cannot cross to a worker process, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotShippable(Arc<str>);

/// A pool that could not be made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum BuildError {
    /// A worker process tried to start workers of its own.
    InsideWorker,
    /// The initializer, or this crate itself, cannot cross to a worker.
    NotShippable(NotShippable),
    /// The context could not be encoded.
    Context(Arc<str>),
    /// The operating system refused what a pool needs.
    System(Arc<std::io::Error>),
}

impl NotShippable {
    pub(crate) fn new(why: &str) -> Self {
        Self(why.into())
    }
}

impl<T, E> Report<T, E> {
    /// The value, or the report of why there is none.
    ///
    /// # Errors
    ///
    /// Every outcome but [`Outcome::Ok`].
    pub fn into_result(self) -> Result<T, Failed<E>> {
        let (index, attempt) = (self.index, self.attempt);
        match split(self.outcome) {
            Ok(value) => Ok(value),
            Err(outcome) => Err(Report { index, attempt, outcome }),
        }
    }
}

impl<T, E> Report<Result<T, E>> {
    /// Takes the function's own error for what it is, as
    /// [`try_map`](super::Pool::try_map) does.
    pub fn flatten(self) -> Report<T, E> {
        let (index, attempt) = (self.index, self.attempt);
        let outcome = match split(self.outcome) {
            Ok(Ok(value)) => Outcome::Ok(value),
            Ok(Err(error)) => Outcome::Err(Fault::Task(error)),
            Err(lost) => widen(lost),
        };
        Report { index, attempt, outcome }
    }
}

impl Failed {
    /// The same of a task of other types.
    pub fn widen<T, E>(self) -> Report<T, E> {
        Report { index: self.index, attempt: self.attempt, outcome: widen(self.outcome) }
    }
}

/// The value, or the rest.
fn split<T, F>(outcome: Outcome<T, F>) -> Result<T, Outcome<Infallible, F>> {
    Err(match outcome {
        Outcome::Ok(value) => return Ok(value),
        Outcome::Err(error) => Outcome::Err(error),
        Outcome::Panicked(panic) => Outcome::Panicked(panic),
        Outcome::Cancelled(cancelled) => Outcome::Cancelled(cancelled),
        Outcome::TimedOut(timed_out) => Outcome::TimedOut(timed_out),
        Outcome::Crashed(crash) => Outcome::Crashed(crash),
    })
}

/// What befell a task, for a task of other types.
pub(super) fn widen<T, E>(lost: Outcome<Infallible, Fault>) -> Outcome<T, Fault<E>> {
    match lost {
        Outcome::Ok(never) => match never {},
        Outcome::Err(fault) => Outcome::Err(match fault {
            Fault::Task(never) => match never {},
            Fault::NotShippable(why) => Fault::NotShippable(why),
            Fault::Encode(why) => Fault::Encode(why),
            Fault::Decode(why) => Fault::Decode(why),
            Fault::Undelivered(why) => Fault::Undelivered(why),
            Fault::Broken(why) => Fault::Broken(why),
        }),
        Outcome::Panicked(panic) => Outcome::Panicked(panic),
        Outcome::Cancelled(cancelled) => Outcome::Cancelled(cancelled),
        Outcome::TimedOut(timed_out) => Outcome::TimedOut(timed_out),
        Outcome::Crashed(crash) => Outcome::Crashed(crash),
    }
}

impl<E: fmt::Display> fmt::Display for Failed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "item {}: {}", self.index, self.outcome)?;
        if self.attempt > 1 { write!(f, " (attempt {})", self.attempt) } else { Ok(()) }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for Failed<E> {}

impl<E: fmt::Display> fmt::Display for Fault<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(error) => error.fmt(f),
            Self::NotShippable(why) => why.fmt(f),
            Self::Encode(why) => write!(f, "could not be encoded: {why}"),
            Self::Decode(why) => write!(f, "could not be decoded: {why}"),
            Self::Undelivered(why) => write!(f, "the result could not be delivered: {why}"),
            Self::Broken(why) => write!(f, "the process pool is broken: {why}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for Fault<E> {}

impl fmt::Display for NotShippable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot run in a worker process: {}", self.0)
    }
}

impl std::error::Error for NotShippable {}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InsideWorker => f.write_str("a worker process cannot start a pool of its own"),
            Self::NotShippable(why) => why.fmt(f),
            Self::Context(why) => write!(f, "the context could not be encoded: {why}"),
            Self::System(error) => write!(f, "the system refused a process pool: {error}"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System(error) => Some(&**error),
            _ => None,
        }
    }
}

impl From<std::io::Error> for BuildError {
    fn from(error: std::io::Error) -> Self {
        Self::System(Arc::new(error))
    }
}

impl From<NotShippable> for BuildError {
    fn from(why: NotShippable) -> Self {
        Self::NotShippable(why)
    }
}

impl<E> From<BuildError> for Failed<E> {
    /// A call that starts a pool for itself fails at its first item.
    fn from(error: BuildError) -> Self {
        let fault = match error {
            BuildError::NotShippable(why) => Fault::NotShippable(why),
            other => Fault::Broken(other.to_string().into()),
        };
        Self { index: 0, attempt: 0, outcome: Outcome::Err(fault) }
    }
}
