//! The runtime that the async blocks run on, behind one name.
//!
//! | build | tasks | clock |
//! |---|---|---|
//! | `cfg(test)` of this crate | shuttle's | modelled: it moves when a sleep ends |
//! | anything else but loom | tokio's | tokio's, which a test may pause |
//!
//! Under shuttle a sleep is a task that may end at any scheduling point; when
//! it does, the modelled clock jumps to its end, so time never runs backwards
//! and a sleep that is not waited for any more moves nothing. That is more
//! than real timers do (a longer sleep may end before a shorter one is
//! noticed), and it has no rates: what a model shows holds for timers that are
//! late, never how late.
//!
//! loom has neither clock nor tasks: everything above this room is left out
//! of its builds.

#[cfg(test)]
#[path = "shuttle.rs"]
mod backend;
#[cfg(not(test))]
#[path = "tokio.rs"]
mod backend;

pub use backend::{Abort, Handle, Sleep, Task, now, yield_now};
pub use tokio::time::Instant;

/// Spawns on the runtime of the caller.
///
/// # Panics
///
/// Outside of a runtime.
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Handle::current().spawn(future)
}

/// Sleeps until `at`.
pub fn sleep_until(at: Instant) -> Sleep {
    Sleep::new(at)
}

/// Sleeps for `duration`; for ever if no clock can hold its end.
pub async fn sleep(duration: std::time::Duration) {
    match now().checked_add(duration) {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
