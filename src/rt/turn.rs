//! Futures that may be ready for ever give way to others by tokio's budget.

use std::task::{Context, Poll};
use tokio::task::coop::{has_budget_remaining, poll_proceed};

/// A future's way to give way: what is ready spends one unit of the budget
/// that tokio gives a task for each poll, and is pending once for each time
/// that it finds the budget spent.
///
/// Pending once only, so that a future which is polled after one that spends
/// the whole budget in every poll makes progress too.
///
/// Outside of a tokio runtime there is no budget, and nothing gives way: who
/// polls by hand, once, gets what is there.
#[derive(Debug, Default)]
pub struct Turn {
    gave_way: bool,
}

impl Turn {
    /// One that has not given way.
    #[must_use]
    pub const fn new() -> Self {
        Self { gave_way: false }
    }

    /// Polls `work`, unless it is time to give way: then `work` is not called,
    /// and the task is woken. A poll that is pending spends nothing.
    #[inline]
    pub fn poll<R>(
        &mut self,
        context: &mut Context<'_>,
        work: impl FnOnce(&mut Context<'_>) -> Poll<R>,
    ) -> Poll<R> {
        if std::mem::take(&mut self.gave_way) && !has_budget_remaining() {
            return work(context);
        }
        let Poll::Ready(spent) = poll_proceed(context) else {
            self.gave_way = true;
            return Poll::Pending;
        };
        let polled = work(context);
        if polled.is_ready() {
            spent.made_progress();
        }
        polled
    }
}
