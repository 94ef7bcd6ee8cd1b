//! What the forms of the map do with one item.

use super::error::{MapError, MapErrorKind};
use super::stream::{Flow, Step};
use crate::guard::{self, guarded};
use crate::outcome::Outcome;
use crate::swap::Mutex;

/// Every result is one.
pub(super) struct Plain<F>(pub(super) F);

impl<T, R: Send, F: Fn(T) -> R + Sync> Step<T> for Plain<F> {
    type Out = R;

    #[inline]
    fn step(&self, _index: usize, item: T) -> Flow<R> {
        Flow::Go((self.0)(item))
    }
}

/// An error is the last result.
pub(super) struct InOrder<F>(pub(super) F);

impl<T, R: Send, E: Send, F: Fn(T) -> Result<R, E> + Sync> Step<T> for InOrder<F> {
    type Out = Result<R, E>;

    fn step(&self, _index: usize, item: T) -> Flow<Result<R, E>> {
        match (self.0)(item) {
            Ok(value) => Flow::Go(Ok(value)),
            Err(error) => Flow::Last(Err(error)),
        }
    }
}

/// The first error or panic is kept, and ends everything.
pub(super) struct FirstSeen<'s, F, E> {
    pub(super) f: F,
    pub(super) first: &'s Mutex<Option<MapError<E>>>,
}

impl<T, R: Send, E: Send, F: Fn(T) -> Result<R, E> + Sync> Step<T> for FirstSeen<'_, F, E> {
    type Out = R;

    fn step(&self, index: usize, item: T) -> Flow<R> {
        let kind = match guarded(|| (self.f)(item)) {
            Ok(Ok(value)) => return Flow::Go(value),
            Ok(Err(error)) => MapErrorKind::Error(error),
            Err(panic) => MapErrorKind::Panicked(panic),
        };
        let error = MapError { index, kind };
        let mut first = self.first.lock();
        let late = if first.is_some() { Some(error) } else { first.replace(error) };
        drop(first);
        let _ = guard::dropped(late);
        Flow::Abort
    }
}

/// Errors and panics are values.
pub(super) struct Caught<F>(pub(super) F);

impl<T, R: Send, E: Send, F: Fn(T) -> Result<R, E> + Sync> Step<T> for Caught<F> {
    type Out = Outcome<R, E>;

    fn step(&self, _index: usize, item: T) -> Flow<Outcome<R, E>> {
        Flow::Go(match guarded(|| (self.0)(item)) {
            Ok(result) => result.into(),
            Err(panic) => Outcome::Panicked(panic),
        })
    }
}
