//! What `Debug` shows of a run: short, however much was read.

use super::{Error, Record, Report};
use crate::shown::Few;
use std::fmt;

/// The beginning of a text that came with the input.
pub(super) struct Cut<'a>(pub(super) &'a str);

/// As its `Display`.
pub(super) struct Plain<'a, T>(pub(super) &'a T);

/// The longest text, in characters, that is shown whole.
const WHOLE: usize = 32;

impl fmt::Debug for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(WHOLE) {
            Some((end, _)) => write!(f, "{:?}...", &self.0[..end]),
            None => self.0.fmt(f),
        }
    }
}

impl<T: fmt::Display> fmt::Debug for Plain<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("key", &Cut(self.key)).field("value", &self.value).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for Report<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages: Vec<_> = self.stages.iter().map(|stage| stage.name).collect();
        f.debug_struct("Report")
            .field("totals", &self.totals)
            .field("read", &self.read)
            .field("samples", &Few::<_, 1>(&self.samples))
            .field("unreadable", &Few::<_, 1>(&self.unreadable))
            .field("stopped", &self.stopped)
            .field("stages", &Few::<_, 5>(&stages))
            .finish()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input { at, source, so_far } => f
                .debug_struct("Input")
                .field("at", at)
                .field("source", source)
                .field("so_far", so_far)
                .finish(),
            Self::Source { at, closed } => {
                f.debug_struct("Source").field("at", at).field("closed", closed).finish()
            }
            Self::Panicked { at, stage, panic } => f
                .debug_struct("Panicked")
                .field("at", at)
                .field("stage", stage)
                .field("panic", panic)
                .finish(),
            Self::TooManyMalformed { limit, samples } => f
                .debug_struct("TooManyMalformed")
                .field("limit", limit)
                .field("samples", &Few::<_, 1>(samples))
                .finish(),
            Self::Overflow { key, total } => {
                f.debug_struct("Overflow").field("key", &Cut(key)).field("total", total).finish()
            }
            Self::OutOfRange { what, given, most } => f
                .debug_struct("OutOfRange")
                .field("what", what)
                .field("given", given)
                .field("most", most)
                .finish(),
            Self::Shutdown => f.write_str("Shutdown"),
        }
    }
}
