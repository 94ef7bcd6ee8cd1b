//! The runtime that the async blocks run on, behind one name.
//!
//! | build | tasks | clock |
//! |---|---|---|
//! | feature `model`, and `cfg(test)` of this crate | the model's inside of one, else tokio's | the same |
//! | `--cfg loom` | none | modelled: it moves when the model says so |
//! | anything else | tokio's | tokio's, which a test may pause |
//!
//! In the models of this crate a deadline may pass at any step; when it does,
//! the modelled clock jumps to it, so time never runs backwards and a sleep that
//! is not waited for any more moves nothing. That is more than real timers do (a
//! longer sleep may end before a shorter one is noticed), and it has no rates:
//! what a model shows holds for timers that are late, never how late.
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
#[cfg(loom)]
mod checked;
#[cfg(not(loom))]
mod still;
#[cfg(not(loom))]
mod turn;

#[cfg(loom)]
pub use backend::pass;
#[cfg(not(loom))]
pub use backend::{Abort, Handle, Task, yield_now};
pub use backend::{Alarm, Sleep, now, park_until};
pub use tokio::time::Instant;

#[cfg(loom)]
pub use checked::{Hold, Turn, Working, hold_clock, holding_the_clock};
#[cfg(not(loom))]
pub use still::{Hold, Working, hold_clock, holding_the_clock};
#[cfg(not(loom))]
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
