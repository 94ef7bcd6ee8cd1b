//! The runtime that the async blocks run on, behind one name.
//!
//! | build | tasks | clock |
//! |---|---|---|
//! | `cfg(test)` of this crate | shuttle's | modelled: it moves when a sleep ends |
//! | `--cfg loom` | none | modelled: it moves when the model says so |
//! | anything else | tokio's | tokio's, which a test may pause |
//!
//! Under shuttle a sleep is a task that may end at any scheduling point; when
//! it does, the modelled clock jumps to its end, so time never runs backwards
//! and a sleep that is not waited for any more moves nothing. That is more
//! than real timers do (a longer sleep may end before a shorter one is
//! noticed), and it has no rates: what a model shows holds for timers that are
//! late, never how late.
//!
//! loom has no tasks: what spawns is left out of its builds.

#[cfg(not(any(loom, test, feature = "model")))]
mod alarm;
#[cfg(loom)]
#[path = "loom.rs"]
mod backend;
#[cfg(all(any(test, feature = "model"), not(loom)))]
#[path = "modelled.rs"]
mod backend;
#[cfg(not(any(loom, test, feature = "model")))]
#[path = "tokio.rs"]
mod backend;
#[cfg(any(loom, test, feature = "model"))]
mod checked;
#[cfg(not(any(loom, test, feature = "model")))]
mod still;
#[cfg(not(any(loom, test, feature = "model")))]
mod turn;

#[cfg(loom)]
pub use backend::pass;
#[cfg(not(loom))]
pub use backend::{Abort, Handle, Task, yield_now};
pub use backend::{Alarm, Sleep, now, park_until};
pub use tokio::time::Instant;

#[cfg(any(loom, test, feature = "model"))]
pub use checked::{Hold, Turn, Working, hold_clock, holding_the_clock};
#[cfg(not(any(loom, test, feature = "model")))]
pub use still::{Hold, Working, hold_clock, holding_the_clock};
#[cfg(not(any(loom, test, feature = "model")))]
pub use turn::Turn;

/// Spawns on the runtime of the caller.
///
/// # Panics
///
/// Outside of a runtime.
#[cfg(not(loom))]
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
