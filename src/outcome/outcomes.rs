//! Many outcomes, and the three things one does with them.

use super::Outcome;
use crate::guard::{self, Each, OneByOne};
use crate::shown::Few;
use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;

/// One outcome for each input, in the order of the inputs.
///
/// ```
/// use selvedge::outcome::{Outcome, Outcomes};
///
/// let outcomes: Outcomes<u8, &str> =
///     [Outcome::Ok(1), Outcome::Err("x"), Outcome::Err("y")].into_iter().collect();
/// assert_eq!(outcomes.clone().all().unwrap_err().index(), 1);
/// assert_eq!(outcomes.clone().all_or_failures().unwrap_err().len(), 2);
/// let (values, failures) = outcomes.halves();
/// assert_eq!(values, [(0, 1)]);
/// assert_eq!(failures[1].to_string(), "item 2: error: y");
/// ```
#[derive(Clone, PartialEq, Eq)]
#[must_use = "an outcome may be a failure"]
pub struct Outcomes<T, E>(Vec<Outcome<T, E>>);

/// All of them if they are few; else how many there are, and the first and the
/// first failure.
impl<T: fmt::Debug, E: fmt::Debug> fmt::Debug for Outcomes<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 10;
        if self.0.len() <= MOST {
            return f.debug_tuple("Outcomes").field(&self.0).finish();
        }
        let failed = || self.0.iter().enumerate().filter(|(_, outcome)| !outcome.is_ok());
        let mut shown = f.debug_struct("Outcomes");
        shown.field("all", &self.0.len()).field("failures", &failed().count());
        if let Some(first) = failed().next() {
            shown.field("first_failure", &first);
        }
        shown.field("outcomes", &Few::<_, 2>(&self.0)).finish()
    }
}

/// What became of one input that gave no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure<E> {
    index: usize,
    outcome: Outcome<Infallible, E>,
}

impl<T, E> Outcomes<T, E> {
    /// All values, or the first failure in the order of the inputs.
    ///
    /// # Errors
    ///
    /// The first failure.
    pub fn all(self) -> Result<Vec<T>, Failure<E>> {
        let mut values = Each::new(Vec::with_capacity(self.0.len()));
        for (index, outcome) in OneByOne::new(self.0).enumerate() {
            match outcome.into_result() {
                Ok(value) => values.push(value),
                Err(outcome) => return Err(Failure { index, outcome }),
            }
        }
        Ok(values.into_vec())
    }

    /// All values, or every failure in the order of the inputs.
    ///
    /// # Errors
    ///
    /// The failures, one at least.
    pub fn all_or_failures(self) -> Result<Vec<T>, Vec<Failure<E>>> {
        let (values, failures) = self.halves();
        if failures.is_empty() {
            Ok(values.into_iter().map(|(_, value)| value).collect())
        } else {
            let _ = guard::each(values);
            Err(failures)
        }
    }

    /// The values and the failures, each with the index of its input.
    #[must_use]
    pub fn halves(self) -> (Vec<(usize, T)>, Vec<Failure<E>>) {
        let (mut values, mut failures) = (Vec::new(), Vec::new());
        for (index, outcome) in self.0.into_iter().enumerate() {
            match outcome.into_result() {
                Ok(value) => values.push((index, value)),
                Err(outcome) => failures.push(Failure { index, outcome }),
            }
        }
        (values, failures)
    }

    /// The outcomes.
    #[must_use]
    pub fn into_vec(self) -> Vec<Outcome<T, E>> {
        self.0
    }
}

impl<E> Failure<E> {
    /// `outcome` of the input at `index`.
    #[must_use]
    pub fn new(index: usize, outcome: Outcome<Infallible, E>) -> Self {
        Self { index, outcome }
    }

    /// Which input.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// What became of it. Never [`Outcome::Ok`].
    pub fn outcome(&self) -> &Outcome<Infallible, E> {
        &self.outcome
    }

    /// What became of it. Never [`Outcome::Ok`].
    pub fn into_outcome(self) -> Outcome<Infallible, E> {
        self.outcome
    }
}

impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "item {}: {}", self.index, self.outcome)
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for Failure<E> {}

impl<T, E> Deref for Outcomes<T, E> {
    type Target = [Outcome<T, E>];
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T, E> FromIterator<Outcome<T, E>> for Outcomes<T, E> {
    fn from_iter<I: IntoIterator<Item = Outcome<T, E>>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

impl<T, E> IntoIterator for Outcomes<T, E> {
    type Item = Outcome<T, E>;
    type IntoIter = std::vec::IntoIter<Outcome<T, E>>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// What a task may return and an executor turns into an [`Outcome`].
pub trait IntoOutcome {
    /// The value of success.
    type Value;
    /// The task's own error.
    type Error;
    /// The outcome.
    fn into_outcome(self) -> Outcome<Self::Value, Self::Error>;
}

impl<T, E> IntoOutcome for Result<T, E> {
    type Value = T;
    type Error = E;
    fn into_outcome(self) -> Outcome<T, E> {
        self.into()
    }
}

impl<T, E> IntoOutcome for Outcome<T, E> {
    type Value = T;
    type Error = E;
    fn into_outcome(self) -> Self {
        self
    }
}

impl<T, E> Outcome<T, E> {
    /// The value, or everything else.
    ///
    /// # Errors
    ///
    /// The outcome, if it is not [`Outcome::Ok`].
    pub fn into_result(self) -> Result<T, Outcome<Infallible, E>> {
        Err(match self {
            Self::Ok(value) => return Ok(value),
            Self::Err(error) => Outcome::Err(error),
            Self::Panicked(panic) => Outcome::Panicked(panic),
            Self::Cancelled(cancelled) => Outcome::Cancelled(cancelled),
            Self::TimedOut(timed_out) => Outcome::TimedOut(timed_out),
            Self::Crashed(crash) => Outcome::Crashed(crash),
        })
    }
}

impl<E> Outcome<Infallible, E> {
    /// The failure that it is, among outcomes that may have values.
    pub fn widen<T>(self) -> Outcome<T, E> {
        match self {
            Self::Ok(never) => match never {},
            Self::Err(error) => Outcome::Err(error),
            Self::Panicked(panic) => Outcome::Panicked(panic),
            Self::Cancelled(cancelled) => Outcome::Cancelled(cancelled),
            Self::TimedOut(timed_out) => Outcome::TimedOut(timed_out),
            Self::Crashed(crash) => Outcome::Crashed(crash),
        }
    }
}

impl<T, E> Outcome<Result<T, E>, Infallible> {
    /// The outcome of work that cannot fail but whose value is a result.
    pub fn flatten(self) -> Outcome<T, E> {
        match self.into_result() {
            Ok(result) => result.into(),
            Err(Outcome::Err(never) | Outcome::Ok(never)) => match never {},
            Err(Outcome::Panicked(panic)) => Outcome::Panicked(panic),
            Err(Outcome::Cancelled(cancelled)) => Outcome::Cancelled(cancelled),
            Err(Outcome::TimedOut(timed_out)) => Outcome::TimedOut(timed_out),
            Err(Outcome::Crashed(crash)) => Outcome::Crashed(crash),
        }
    }
}
