//! Under test: shuttle's tasks and a modelled clock.

use super::Instant;
use crate::sync::{self, Parked};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

/// See the tokio backend.
#[derive(Debug)]
#[must_use = "dropping it detaches the task"]
pub struct Task<T>(::shuttle::future::JoinHandle<T>);

/// See the tokio backend.
#[derive(Debug, Clone)]
pub struct Abort(::shuttle::future::AbortHandle);

/// See the tokio backend.
#[derive(Debug, Clone)]
pub struct Handle;

impl Handle {
    /// There is one.
    pub fn current() -> Self {
        Self
    }

    /// Spawns there.
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Task(::shuttle::future::spawn(future))
    }
}

impl<T> Task<T> {
    /// See the tokio backend.
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
    pub fn abort(&self) {
        self.0.abort();
    }
}

impl<T> Future for Task<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(context)).ok())
    }
}

::shuttle::lazy_static! {
    /// How far the clock of this execution has moved.
    static ref MOVED: Mutex<Duration> = Mutex::new(Duration::ZERO);
}

/// When all executions of this process begin.
static START: OnceLock<Instant> = OnceLock::new();

/// The time on the modelled clock.
pub fn now() -> Instant {
    let start = *START.get_or_init(|| Instant::from_std(std::time::Instant::now()));
    start + *MOVED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn move_to(at: Instant) {
    let ahead = at.saturating_duration_since(now());
    *MOVED.lock().unwrap_or_else(PoisonError::into_inner) += ahead;
}

/// A timer: a task that may end at any scheduling point.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    at: Instant,
    // Who waits; nobody once the sleep is dropped.
    waiting: Option<Arc<Mutex<Option<Waker>>>>,
}

impl Sleep {
    pub(super) fn new(at: Instant) -> Self {
        Self { at, waiting: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if now() >= self.at {
            return Poll::Ready(());
        }
        let at = self.at;
        let waiting = self.waiting.get_or_insert_with(|| {
            let waiting = Arc::new(Mutex::new(None::<Waker>));
            let clock = Arc::clone(&waiting);
            drop(::shuttle::future::spawn(async move {
                let waker = clock.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(waker) = waker {
                    move_to(at);
                    waker.wake();
                }
            }));
            waiting
        });
        *waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(waiting) = &self.waiting {
            waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}

/// See the tokio backend.
#[derive(Debug, Default)]
pub struct Alarm {
    set: Option<Sleep>,
}

impl Alarm {
    /// See the tokio backend.
    pub const fn new() -> Self {
        Self { set: None }
    }

    /// See the tokio backend.
    pub fn poll(&mut self, at: Instant, context: &mut Context<'_>) -> Poll<()> {
        let set = match &mut self.set {
            Some(set) if set.at == at => set,
            set => set.insert(Sleep::new(at)),
        };
        Pin::new(set).poll(context)
    }
}

/// See the tokio backend. The clock moves when the deadline passes.
pub fn park_until(at: Option<Instant>) -> Parked {
    let Some(at) = at else {
        sync::thread::park();
        return Parked::Woken;
    };
    if at <= now() {
        return Parked::TimedOut;
    }
    // Any deadline that lies ahead.
    let ahead = sync::time::now() + Duration::from_secs(1);
    let parked = sync::thread::park_until(Some(ahead));
    if parked == Parked::TimedOut {
        move_to(at);
    }
    parked
}

/// Lets other tasks run.
pub async fn yield_now() {
    ::shuttle::future::yield_now().await;
}
