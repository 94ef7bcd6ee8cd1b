//! What a run gives back.

use super::{Reason, Totals};
use crate::outcome::Panic;
use std::fmt;
use std::io;
use std::sync::Arc;

/// A line of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The name of the input.
    pub input: Arc<str>,
    /// Which line of it, the first being 1.
    pub line: u64,
    /// Where the line starts, in bytes from the start of the input.
    pub offset: u64,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.input, self.line)
    }
}

/// A line that was not added to any total.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Where it is.
    pub at: Location,
    /// What is wrong with it.
    pub reason: Reason,
    /// How the line begins: up to 60 characters, with what is not printable
    /// escaped. Empty for a line that was too long to hold.
    pub excerpt: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.reason)?;
        if self.excerpt.is_empty() { Ok(()) } else { write!(f, ": \"{}\"", self.excerpt) }
    }
}

/// How far a run has come. What it counts has been parsed and added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes of input, over all inputs.
    pub bytes: u64,
    /// Lines, malformed ones included.
    pub lines: u64,
    /// Lines that are not records.
    pub malformed: u64,
}

/// The result of a run that reached the end of its input.
#[derive(Debug)]
#[must_use]
pub struct Report {
    /// The totals.
    pub totals: Totals,
    /// What was read: every line is in a total or is counted as malformed.
    pub read: Progress,
    /// The first malformed lines, in input order.
    pub samples: Vec<Malformed>,
}

/// Why a run has no totals.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// An input could not be opened or read.
    Input {
        /// Its name.
        input: Arc<str>,
        /// What the system said.
        source: io::Error,
    },
    /// A stage panicked: the first line at which one did.
    Panicked {
        /// The line.
        at: Location,
        /// The panic.
        panic: Panic,
    },
    /// A total does not fit a signed 64-bit integer, and the policy is
    /// [`Overflow::Error`](super::Overflow::Error).
    Overflow {
        /// The first such key in byte order.
        key: String,
        /// Its exact total.
        total: i128,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input { input, .. } => write!(f, "cannot read {input}"),
            Self::Panicked { at, panic } => write!(f, "{at}: a stage {panic}"),
            Self::Overflow { key, total } => {
                write!(f, "the total of {key:?}, {total}, does not fit a signed 64-bit integer")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Input { source, .. } => Some(source),
            Self::Panicked { panic, .. } => Some(panic),
            Self::Overflow { .. } => None,
        }
    }
}
