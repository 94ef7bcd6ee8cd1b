//! What `spawn` gives.

use crate::engine::{self, Access, Key, Place};
use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// As [`tokio::task::JoinError`].
pub struct JoinError(Option<Mutex<Box<dyn Any + Send>>>);

impl JoinError {
    pub(super) fn cancelled() -> Self {
        Self(None)
    }

    pub(super) fn panicked(payload: Box<dyn Any + Send>) -> Self {
        Self(Some(Mutex::new(payload)))
    }

    fn from_real(error: tokio::task::JoinError) -> Self {
        match error.try_into_panic() {
            Ok(payload) => Self::panicked(payload),
            Err(_) => Self::cancelled(),
        }
    }

    /// As in tokio.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_none()
    }

    /// As in tokio.
    pub fn is_panic(&self) -> bool {
        self.0.is_some()
    }

    /// As in tokio.
    ///
    /// # Panics
    ///
    /// If the task was cancelled.
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        self.try_into_panic().expect("`JoinError` reason is not a panic.")
    }

    /// As in tokio.
    ///
    /// # Errors
    ///
    /// Itself, if the task was cancelled.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send + 'static>, Self> {
        match self.0 {
            Some(payload) => Ok(payload.into_inner().unwrap_or_else(PoisonError::into_inner)),
            None => Err(self),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_cancelled() { "task was cancelled" } else { "task panicked" })
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_cancelled() { "JoinError::Cancelled" } else { "JoinError::Panic" })
    }
}

impl std::error::Error for JoinError {}

/// What a modelled task and its handle share.
pub(super) struct Shared<T> {
    end: Mutex<End<T>>,
    control: Arc<Control>,
}

/// How it ended, and who waits for that.
struct End<T> {
    result: Option<Result<T, JoinError>>,
    waker: Option<Waker>,
}

/// How to end a modelled task.
#[derive(Default)]
pub(super) struct Control {
    pub(super) aborted: AtomicBool,
    pub(super) finished: AtomicBool,
    pub(super) woken: Arc<AtomicBool>,
    /// The task's number, once it is started.
    pub(super) task: AtomicUsize,
}

impl Control {
    fn end(&self) -> Key {
        Key::End(self.task.load(Ordering::SeqCst))
    }

    fn abort(&self) {
        engine::touched(Key::Wake(self.task.load(Ordering::SeqCst)), Access::Write);
        // ORDERING: all on the model's one thread.
        self.aborted.store(true, Ordering::SeqCst);
        self.woken.store(true, Ordering::SeqCst);
    }
}

impl<T> Shared<T> {
    pub(super) fn new(control: Arc<Control>) -> Arc<Self> {
        Arc::new(Self { end: Mutex::new(End { result: None, waker: None }), control })
    }

    fn end(&self) -> MutexGuard<'_, End<T>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn finish(&self, result: Result<T, JoinError>) {
        engine::touched(self.control.end(), Access::Write);
        // ORDERING: as in `abort`.
        self.control.finished.store(true, Ordering::SeqCst);
        let waker = {
            let mut end = self.end();
            end.result = Some(result);
            end.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// As [`tokio::task::JoinHandle`].
#[must_use = "dropping it detaches the task"]
pub struct JoinHandle<T>(pub(super) Which<T>);

pub(super) enum Which<T> {
    Real(tokio::task::JoinHandle<T>),
    Task(Arc<Shared<T>>, Place),
}

// What a handle polls is pinned elsewhere.
impl<T> Unpin for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    /// As in tokio.
    pub fn abort(&self) {
        self.abort_handle().abort();
    }

    /// As in tokio.
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle(match &self.0 {
            Which::Real(handle) => Aborts::Real(handle.abort_handle()),
            Which::Task(shared, _) => Aborts::Task(Arc::clone(&shared.control)),
        })
    }

    /// As in tokio.
    pub fn is_finished(&self) -> bool {
        self.abort_handle().is_finished()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Which::Real(handle) => {
                Pin::new(handle).poll(context).map(|result| result.map_err(JoinError::from_real))
            }
            Which::Task(shared, at) => {
                engine::touched(shared.control.end(), Access::Write);
                let mut end = shared.end();
                if let Some(result) = end.result.take() {
                    return Poll::Ready(result);
                }
                end.waker = Some(context.waker().clone());
                drop(end);
                engine::awaits("the end of a task", at);
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}

/// As [`tokio::task::AbortHandle`].
#[derive(Clone)]
pub struct AbortHandle(Aborts);

#[derive(Clone)]
enum Aborts {
    Real(tokio::task::AbortHandle),
    Task(Arc<Control>),
}

impl AbortHandle {
    /// As in tokio.
    #[track_caller]
    pub fn abort(&self) {
        match &self.0 {
            Aborts::Real(handle) => handle.abort(),
            Aborts::Task(control) => {
                if engine::inside() {
                    let at = std::panic::Location::caller();
                    engine::step("abort", None, engine::Wait::Ready, None, at);
                    engine::done(at, None, || "abort()".to_owned());
                }
                control.abort();
            }
        }
    }

    /// As in tokio.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Aborts::Real(handle) => handle.is_finished(),
            // ORDERING: all on the model's one thread.
            Aborts::Task(control) => {
                engine::touched(control.end(), Access::Read);
                control.finished.load(Ordering::SeqCst)
            }
        }
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle").finish_non_exhaustive()
    }
}
