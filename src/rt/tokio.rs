//! Production: tokio.

pub use super::alarm::Alarm;

use super::Instant;
use crate::swap::{self, Parked};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant as StdInstant};

/// A spawned task, whose future is its output: `None` if it was aborted or
/// its runtime shut down. Dropping it detaches the task.
#[derive(Debug)]
#[must_use = "dropping it detaches the task"]
pub struct Task<T>(tokio::task::JoinHandle<T>);

/// A way to abort a task, without waiting for it.
#[derive(Debug, Clone)]
pub struct Abort(tokio::task::AbortHandle);

/// A runtime to spawn on from anywhere.
#[derive(Debug, Clone)]
pub struct Handle(tokio::runtime::Handle);

impl Handle {
    /// The runtime of the caller.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub fn current() -> Self {
        Self(tokio::runtime::Handle::current())
    }

    /// Spawns there. After the runtime shut down the future is dropped at
    /// once.
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Task(self.0.spawn(future))
    }
}

impl<T> Task<T> {
    /// Asks the runtime to drop the task at its next await.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// A handle that can do so later.
    pub fn abort_handle(&self) -> Abort {
        Abort(self.0.abort_handle())
    }
}

impl Abort {
    /// Asks the runtime to drop the task at its next await.
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

pin_project_lite::pin_project! {
    /// A timer. It does not count against tokio's cooperative budget: a
    /// future that uses the budget up cannot starve its own deadline.
    #[must_use = "futures do nothing unless polled"]
    pub struct Sleep {
        #[pin]
        inner: tokio::task::coop::Unconstrained<tokio::time::Sleep>,
    }
}

impl Sleep {
    pub(super) fn new(at: Instant) -> Self {
        Self { inner: tokio::task::coop::unconstrained(tokio::time::sleep_until(at)) }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.project().inner.poll(context)
    }
}

impl std::fmt::Debug for Sleep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sleep").finish_non_exhaustive()
    }
}

/// The time on tokio's clock.
#[inline]
pub fn now() -> Instant {
    Instant::now()
}

/// Parks the thread until it is unparked or until `at`. May wake for no
/// reason.
pub fn park_until(at: Option<Instant>) -> Parked {
    let parked = swap::thread::park_until(at.map(Instant::into_std));
    if parked == Parked::TimedOut && at.is_some_and(|at| now() < at) {
        // A paused clock stands still while this thread waits for it: not a
        // reason to spin.
        return swap::thread::park_until(Some(StdInstant::now() + GRAIN));
    }
    parked
}

/// Of tokio's clock.
const GRAIN: Duration = Duration::from_millis(1);

/// Lets other tasks run.
pub async fn yield_now() {
    tokio::task::yield_now().await;
}
