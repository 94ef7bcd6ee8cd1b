//! Under loom: it schedules whatever is ready as it likes, and so nothing need
//! give way; and its clock is not paused.

use std::task::{Context, Poll};

/// See the tokio backend.
#[derive(Debug, Default)]
pub struct Turn;

impl Turn {
    /// See the tokio backend.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }

    /// Polls `work`.
    #[inline]
    pub fn poll<R>(
        &mut self,
        context: &mut Context<'_>,
        work: impl FnOnce(&mut Context<'_>) -> Poll<R>,
    ) -> Poll<R> {
        work(context)
    }
}

/// See the tokio backend.
#[derive(Debug, Clone)]
pub struct Hold;

// As there: whoever drops one means to.
impl Drop for Hold {
    fn drop(&mut self) {}
}

/// There is nothing to hold.
pub fn hold_clock() -> Option<Hold> {
    None
}

/// Runs `future`.
pub async fn holding_the_clock<F: Future>(future: F) -> F::Output {
    future.await
}

/// See the tokio backend.
#[derive(Debug)]
pub struct Working(());

impl Working {
    /// See the tokio backend.
    pub fn begin() -> Self {
        Self(())
    }

    /// There is nothing to do.
    pub fn over(&self) -> impl FnOnce() + Send + use<> {
        || ()
    }

    /// Waits for `future`.
    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        crate::swap::future::block_on(future)
    }
}
