//! Lazy results.

use super::codec::Portable;
use super::error::{Failed, Report};
use super::ordered::Ordered;
use crate::rt::Turn;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The reports of a function over a source, in the source's order: an
/// iterator that blocks, and a [`Stream`](futures_core::Stream) that does not.
/// From [`Pool::stream`](super::Pool::stream).
#[must_use = "nothing is pulled from the source before a report is asked for"]
pub struct Stream<I: Iterator, R> {
    reports: Option<Ordered<I, R>>,
    failed: Option<Failed>,
    turn: Turn,
}

impl<I: Iterator, R> fmt::Debug for Stream<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl<I: Iterator, R> Stream<I, R> {
    pub(super) fn new(reports: Result<Ordered<I, R>, Failed>) -> Self {
        match reports {
            Ok(reports) => Self { reports: Some(reports), failed: None, turn: Turn::new() },
            Err(failed) => Self { reports: None, failed: Some(failed), turn: Turn::new() },
        }
    }
}

impl<I, R> Iterator for Stream<I, R>
where
    I: Iterator<Item: Portable>,
    R: Portable,
{
    type Item = Report<R>;

    fn next(&mut self) -> Option<Report<R>> {
        match &mut self.reports {
            Some(reports) => reports.next(),
            None => self.failed.take().map(Failed::widen),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.reports {
            Some(reports) => reports.size_hint(),
            None => (self.failed.iter().len(), Some(self.failed.iter().len())),
        }
    }
}

// The source is never pinned: it is pulled through `&mut`.
impl<I: Iterator, R> Unpin for Stream<I, R> {}

impl<I, R> futures_core::Stream for Stream<I, R>
where
    I: Iterator<Item: Portable>,
    R: Portable,
{
    type Item = Report<R>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Report<R>>> {
        let Self { reports, failed, turn } = &mut *self;
        turn.poll(context, |context| match reports {
            Some(reports) => reports.poll_next(context),
            None => Poll::Ready(failed.take().map(Failed::widen)),
        })
    }
}
