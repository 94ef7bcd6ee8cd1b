//! What a map that may fail reports.

use crate::guard::{Payload, told};
use crate::outcome::{Outcome, Panic};
use std::fmt;

/// Which error a map that stops at an error reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum OnError {
    /// The error of the lowest index, as a sequential loop would: the same in
    /// every run. Items before it are finished, items after it are not
    /// started any more.
    #[default]
    FirstInOrder,
    /// The error that happened first. Everything stops at once.
    FirstSeen,
}

/// A map stopped at this item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapError<E> {
    /// The item's place in the input, from zero.
    pub index: usize,
    /// What happened to it.
    pub kind: MapErrorKind<E>,
}

/// Why an item of a map has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapErrorKind<E> {
    /// The closure returned this error.
    Error(E),
    /// The closure panicked.
    Panicked(Panic),
}

impl<E> MapError<E> {
    pub(super) fn panicked(index: usize, payload: Payload) -> Self {
        Self { index, kind: MapErrorKind::Panicked(told(payload)) }
    }

    /// The closure's own error, if it returned one.
    #[must_use]
    pub fn into_error(self) -> Option<E> {
        match self.kind {
            MapErrorKind::Error(error) => Some(error),
            MapErrorKind::Panicked(_) => None,
        }
    }
}

impl<T, E> From<MapErrorKind<E>> for Outcome<T, E> {
    fn from(kind: MapErrorKind<E>) -> Self {
        match kind {
            MapErrorKind::Error(error) => Self::Err(error),
            MapErrorKind::Panicked(panic) => Self::Panicked(panic),
        }
    }
}

impl<E: fmt::Display> fmt::Display for MapError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            MapErrorKind::Error(error) => write!(f, "item {}: {error}", self.index),
            MapErrorKind::Panicked(panic) => write!(f, "item {} {panic}", self.index),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for MapError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            MapErrorKind::Error(error) => Some(error),
            MapErrorKind::Panicked(panic) => Some(panic),
        }
    }
}
