//! One submitted task.

use super::codec::Portable;
use super::error::Report;
use super::group::{Group, Unpacked};
use super::shell::Shared;
use crate::outcome::Outcome;
use crate::rt::Turn;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A task that was submitted to a [`Pool`](super::Pool): wait for it, await
/// it, or cancel it.
///
/// Dropping a handle neither cancels the task nor waits for it.
///
/// # Cancel safety
///
/// As a future it may be dropped between polls; the task goes on.
///
/// # Panics
///
/// When it is polled, or waited for, after it was ready.
#[must_use = "a task whose handle is dropped runs on, and its report is lost"]
pub struct Handle<R> {
    shared: Arc<Shared>,
    group: Arc<Group>,
    task: Option<u64>,
    turn: Turn,
    /// The report was given.
    ended: bool,
    result: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for Handle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("task", &self.task).finish_non_exhaustive()
    }
}

impl<R: Portable> Handle<R> {
    pub(super) fn new(shared: Arc<Shared>, group: Arc<Group>, task: Option<u64>) -> Self {
        Self { shared, group, task, turn: Turn::new(), ended: false, result: PhantomData }
    }

    /// The task's number in its pool, which [`terminate`](super::Pool::terminate)
    /// reports if the task was not done. `None`: it never reached the pool.
    #[must_use]
    pub fn id(&self) -> Option<u64> {
        self.task
    }

    /// Waits for the task to end.
    pub fn wait(self) -> Report<R> {
        match self.wait_until(None) {
            Ok(report) => report,
            Err(_) => unreachable!("there is no deadline"),
        }
    }

    /// Waits at most this long.
    ///
    /// # Errors
    ///
    /// The handle itself, if the task has not ended by then. It runs on.
    pub fn wait_timeout(self, timeout: Duration) -> Result<Report<R>, Self> {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    fn wait_until(self, deadline: Option<Instant>) -> Result<Report<R>, Self> {
        assert!(!self.ended, "`Handle` waited for after completion");
        if let Some(report) = self.forked() {
            return Ok(report);
        }
        let mut deliveries = self.group.wait(deadline);
        match deliveries.pop_front().and_then(|delivery| Unpacked::new(delivery).next()) {
            Some(report) => Ok(report),
            None => Err(self),
        }
    }

    /// What there is to report where there is no pool.
    fn forked(&self) -> Option<Report<R>> {
        let why = self.task.and(self.shared.in_its_process().err())?;
        Some(Report { index: 0, attempt: 0, outcome: Outcome::Err(why) })
    }

    /// Gives the task up. If it has not started it never will; if it is
    /// running, its worker is killed and replaced; if it has ended, nothing
    /// happens. [`wait`](Self::wait) tells which: no other task is harmed.
    pub fn cancel(&self) {
        if let Some(task) = self.task {
            self.shared.cancel(task, 1, true);
        }
    }
}

impl<R> Drop for Handle<R> {
    /// The task goes on, and nobody waits for it.
    fn drop(&mut self) {
        if self.shared.in_its_process().is_ok() {
            self.group.leave();
        }
    }
}

impl<R: Portable> Future for Handle<R> {
    type Output = Report<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Report<R>> {
        assert!(!self.ended, "`Handle` polled after completion");
        let mut turn = std::mem::take(&mut self.turn);
        let polled = turn.poll(context, |context| self.poll_now(context));
        self.turn = turn;
        self.ended = polled.is_ready();
        polled
    }
}

impl<R: Portable> Handle<R> {
    fn poll_now(&self, context: &Context<'_>) -> Poll<Report<R>> {
        if let Some(report) = self.forked() {
            return Poll::Ready(report);
        }
        let mut deliveries = self.group.take(Some(context.waker()));
        match deliveries.pop_front().and_then(|delivery| Unpacked::new(delivery).next()) {
            Some(report) => Poll::Ready(report),
            None => Poll::Pending,
        }
    }
}
