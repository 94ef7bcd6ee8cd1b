//! The harness: tokio's tasks and clock outside of a model, its own inside.

use super::Instant;
use crate::swap::{self, Parked};
use selvedge_model::{private, task, time};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::task::coop::{Unconstrained, unconstrained};

/// See the tokio backend.
#[derive(Debug)]
#[must_use = "dropping it detaches the task"]
pub struct Task<T>(task::JoinHandle<T>);

/// See the tokio backend.
#[derive(Debug, Clone)]
pub struct Abort(task::AbortHandle);

/// See the tokio backend; the model's own inside of one.
#[derive(Debug, Clone)]
pub struct Handle(Option<tokio::runtime::Handle>);

impl Handle {
    /// See the tokio backend.
    pub fn current() -> Self {
        Self((!private::inside()).then(tokio::runtime::Handle::current))
    }

    /// Spawns there.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let _runtime = self.0.as_ref().map(tokio::runtime::Handle::enter);
        Task(task::spawn(future))
    }
}

impl<T> Task<T> {
    /// See the tokio backend.
    #[track_caller]
    pub fn abort(&self) {
        self.0.abort();
    }

    /// See the tokio backend.
    pub fn abort_handle(&self) -> Abort {
        Abort(self.0.abort_handle())
    }
}

impl Abort {
    /// See the tokio backend.
    #[track_caller]
    pub fn abort(&self) {
        self.0.abort();
    }
}

impl<T> Future for Task<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        match ready!(Pin::new(&mut self.0).poll(context)) {
            Ok(value) => Poll::Ready(Some(value)),
            Err(error) => match error.try_into_panic() {
                Ok(payload) => std::panic::resume_unwind(payload),
                Err(_) => Poll::Ready(None),
            },
        }
    }
}

/// The time on the clock of the model, or on tokio's.
pub fn now() -> Instant {
    private::now().map_or_else(Instant::now, Instant::from_std)
}

/// A timer.
#[must_use = "futures do nothing unless polled"]
pub struct Sleep(Unconstrained<time::Sleep>);

impl Sleep {
    #[track_caller]
    pub(super) fn new(at: Instant) -> Self {
        Self(unconstrained(time::sleep_until(time::Instant::from_std(at.into_std()))))
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl std::fmt::Debug for Sleep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sleep").finish_non_exhaustive()
    }
}

/// See the tokio backend.
#[derive(Debug, Default)]
pub struct Alarm {
    set: Option<(Instant, Sleep)>,
}

impl Alarm {
    /// See the tokio backend.
    pub const fn new() -> Self {
        Self { set: None }
    }

    /// See the tokio backend.
    pub fn poll(&mut self, at: Instant, context: &mut Context<'_>) -> Poll<()> {
        let (_, sleep) = match &mut self.set {
            Some(set) if set.0 == at => set,
            set => set.insert((at, Sleep::new(at))),
        };
        Pin::new(sleep).poll(context)
    }
}

/// See the tokio backend.
#[track_caller]
pub fn park_until(at: Option<Instant>) -> Parked {
    swap::thread::park_until(at.map(Instant::into_std))
}

/// Lets other tasks run.
pub async fn yield_now() {
    task::yield_now().await;
}
