//! A set of tasks.

use super::{AbortHandle, JoinError, JoinHandle, spawn};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// As [`tokio::task::JoinSet`].
pub struct JoinSet<T> {
    tasks: Vec<JoinHandle<T>>,
}

impl<T> JoinSet<T> {
    /// As in tokio.
    pub fn new() -> Self {
        Self { tasks: Vec::new() }
    }

    /// As in tokio.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// As in tokio.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// As in tokio.
    #[track_caller]
    pub fn spawn<F>(&mut self, task: F) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        self.add(spawn(task))
    }

    /// As in tokio.
    #[track_caller]
    pub fn spawn_blocking<F>(&mut self, f: F) -> AbortHandle
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.add(super::spawn_blocking(f))
    }

    fn add(&mut self, handle: JoinHandle<T>) -> AbortHandle {
        let abort = handle.abort_handle();
        self.tasks.push(handle);
        abort
    }

    /// As in tokio.
    pub fn poll_join_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<T, JoinError>>> {
        if self.tasks.is_empty() {
            return Poll::Ready(None);
        }
        for index in 0..self.tasks.len() {
            if let Poll::Ready(result) = Pin::new(&mut self.tasks[index]).poll(context) {
                drop(self.tasks.remove(index));
                return Poll::Ready(Some(result));
            }
        }
        Poll::Pending
    }

    /// As in tokio.
    pub async fn join_next(&mut self) -> Option<Result<T, JoinError>> {
        std::future::poll_fn(|context| self.poll_join_next(context)).await
    }

    /// As in tokio.
    ///
    /// # Panics
    ///
    /// If a task panicked, or was cancelled.
    pub async fn join_all(mut self) -> Vec<T> {
        let mut all = Vec::new();
        for task in std::mem::take(&mut self.tasks) {
            match task.await.map_err(JoinError::try_into_panic) {
                Ok(value) => all.push(value),
                Err(Ok(payload)) => std::panic::resume_unwind(payload),
                Err(Err(error)) => panic!("{error}"),
            }
        }
        all
    }

    /// As in tokio.
    pub fn abort_all(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }

    /// As in tokio.
    pub async fn shutdown(&mut self) {
        self.abort_all();
        while self.join_next().await.is_some() {}
    }

    /// As in tokio.
    pub fn detach_all(&mut self) {
        self.tasks.clear();
    }
}

impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.abort_all();
    }
}

impl<T> Default for JoinSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSet").field("len", &self.len()).finish()
    }
}
