//! What a run gives back.

use super::meter::StageCounts;
use super::totals::Gatherer;
use super::{Overflow, Reason, Totals};
use crate::outcome::{Cancelled, Panic, TimedOut};
use crate::queue::Closed;
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

/// An input that could not be opened, or not be read to its end.
#[derive(Debug)]
pub struct Unreadable {
    /// The line that was not read to its end, the first if the input could not
    /// be opened. The lines before it count.
    pub at: Location,
    /// What the system said.
    pub source: io::Error,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        cannot_read(f, &self.at)?;
        write!(f, ": {}", self.source)
    }
}

fn cannot_read(f: &mut fmt::Formatter<'_>, at: &Location) -> fmt::Result {
    write!(f, "cannot read {}", at.input)?;
    if at.line == 1 && at.offset == 0 {
        return Ok(());
    }
    write!(f, " beyond line {} (byte {})", at.line - 1, at.offset)
}

/// The result of a run that nothing went wrong in.
#[must_use]
pub struct Report<T = Totals> {
    /// What the lines come to.
    pub totals: T,
    /// What was read: every line is in the totals or is counted as malformed.
    pub read: Progress,
    /// The first malformed lines, in input order.
    pub samples: Vec<Malformed>,
    /// The inputs that could not be read to their ends, in turn, if the run
    /// [keeps going](super::Pipeline::keep_going) after such an input.
    pub unreadable: Vec<Unreadable>,
    /// Why the run did not reach the end of its input, if it did not. All
    /// above is then of the first [`Progress::lines`] lines.
    pub stopped: Option<Stopped>,
    /// What each stage has done, from the source on.
    pub stages: Vec<StageCounts>,
}

impl Report<()> {
    /// The same with the totals of what was gathered.
    pub(super) fn with_totals(
        self,
        gatherer: Gatherer,
        overflow: Overflow,
    ) -> Result<Report, Error> {
        let totals =
            gatherer.finish(overflow).map_err(|(key, total)| Error::Overflow { key, total })?;
        Ok(self.map(|()| totals))
    }

    /// With whatever totals there are when a run fails: out of range they are
    /// given exactly, as nothing else could be said of them.
    pub(super) fn with_totals_so_far(self, gatherer: Gatherer, overflow: Overflow) -> Report {
        let overflow = match overflow {
            Overflow::Error => Overflow::Widen,
            other => other,
        };
        let totals =
            gatherer.finish(overflow).unwrap_or_else(|_| unreachable!("no total is refused"));
        self.map(|()| totals)
    }
}

impl<A> Report<A> {
    pub(super) fn map<B>(self, totals: impl FnOnce(A) -> B) -> Report<B> {
        let Self { totals: of, read, samples, unreadable, stopped, stages } = self;
        Report { totals: totals(of), read, samples, unreadable, stopped, stages }
    }
}

/// Who stopped a run before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// Its token was cancelled.
    Cancelled(Cancelled),
    /// Its deadline passed.
    TimedOut(TimedOut),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled(cancelled) => cancelled.fmt(f),
            Self::TimedOut(timed_out) => timed_out.fmt(f),
        }
    }
}

/// Why a run has no totals, or not all.
#[non_exhaustive]
pub enum Error {
    /// An input could not be opened, or not be read to its end.
    Input {
        /// The line that was not read to its end, the first if the input could
        /// not be opened.
        at: Location,
        /// What the system said.
        source: io::Error,
        /// What was done before: all lines before [`at`](Self::Input::at), of
        /// this input and of those before it. Totals out of range are given
        /// exactly. `None` if the run has a [fold](super::Flow::fold) of its
        /// own.
        so_far: Option<Box<Report>>,
    },
    /// The [queue](super::Flow::receiver) that the lines come from did not end
    /// well: a sender panicked or was dropped before it had finished, or the
    /// queue was closed with a cause.
    Source {
        /// The line that did not come.
        at: Location,
        /// What the queue says.
        closed: Closed,
    },
    /// A stage panicked: the first line at which one did.
    Panicked {
        /// The line.
        at: Location,
        /// The stage, where stages have names.
        stage: Option<&'static str>,
        /// The panic.
        panic: Panic,
    },
    /// There are more malformed lines than were allowed.
    TooManyMalformed {
        /// How many were.
        limit: u64,
        /// The first of them, in input order.
        samples: Vec<Malformed>,
    },
    /// A total does not fit a signed 64-bit integer, and the policy is
    /// [`Overflow::Error`](super::Overflow::Error).
    Overflow {
        /// The first such key in byte order.
        key: String,
        /// Its exact total.
        total: i128,
    },
    /// A number that the run was given is larger than it can be.
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// What it is.
        given: usize,
        /// What it is at most.
        most: usize,
    },
    /// The runtime was shut down under the run, or a thread could not be had.
    Shutdown,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input { at, .. } => cannot_read(f, at),
            Self::Source { at, closed } => write!(f, "{at}: the source ended early: {closed}"),
            Self::Panicked { at, stage: None, panic } => write!(f, "{at}: a stage {panic}"),
            Self::Panicked { at, stage: Some(stage), panic } => {
                write!(f, "{at}: the stage {stage:?} {panic}")
            }
            Self::TooManyMalformed { limit, samples } => {
                write!(f, "more than {limit} malformed lines")?;
                samples.first().map_or(Ok(()), |first| write!(f, ", the first of them {first}"))
            }
            Self::Overflow { key, total } => {
                write!(f, "the total of {key:?}, {total}, does not fit a signed 64-bit integer")
            }
            Self::OutOfRange { what, given, most } => {
                write!(f, "{what} is {given}, and at most {most} is possible")
            }
            Self::Shutdown => f.write_str("what the run ran on is gone"),
        }
    }
}

impl From<Unreadable> for Error {
    fn from(Unreadable { at, source }: Unreadable) -> Self {
        Self::Input { at, source, so_far: None }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Input { source, .. } => Some(source),
            Self::Source { closed, .. } => Some(closed),
            Self::Panicked { panic, .. } => Some(panic),
            Self::TooManyMalformed { .. }
            | Self::Overflow { .. }
            | Self::OutOfRange { .. }
            | Self::Shutdown => None,
        }
    }
}
