//! What the attribute's code and the blocks of selvedge stand on; not part of
//! the stable interface.

pub use crate::model::mark;
#[cfg(loom)]
pub use crate::sync::arc::{Arc, UnsafeCell, block_on};
#[cfg(loom)]
pub use ::loom;
#[cfg(all(feature = "tokio", not(loom)))]
pub use ::tokio;
#[cfg(all(feature = "model", not(loom)))]
pub use modelled::*;
#[cfg(all(feature = "model", not(loom)))]
pub use selvedge_macros::select_any;
#[cfg(all(feature = "model", not(loom)))]
pub use std::thread_local as std_thread_local;

#[cfg(all(feature = "model", not(loom)))]
mod modelled {
    use crate::engine;
    pub use crate::engine::Whole;
    use std::time::{Duration, Instant};

    /// Whether the caller runs inside of a model.
    pub fn inside() -> bool {
        engine::inside()
    }

    /// Which of so many branches is polled first; `count` outside of a model.
    #[track_caller]
    pub fn first_of(count: usize) -> usize {
        if !engine::inside() {
            return count;
        }
        let at = std::panic::Location::caller();
        let first = engine::step("select", None, engine::Wait::OneOf(count), None, at);
        engine::done(at, None, || format!("select: branch {} first", first + 1));
        first
    }

    /// An operation of `block`, which is one step of a model that trusts the
    /// block, until this is dropped.
    #[track_caller]
    pub fn whole(block: &'static str) -> Option<Whole> {
        engine::whole(block, std::panic::Location::caller())
    }

    /// The time on the clock of the model, inside of one.
    pub fn now() -> Option<Instant> {
        engine::inside().then(|| engine::began() + engine::now())
    }

    /// Parks; whether it was the time that ended it, where that is known: std
    /// does not say.
    #[track_caller]
    pub fn park_timeout(duration: Duration) -> bool {
        if engine::inside() {
            return crate::thread::park_for(Some(duration), std::panic::Location::caller());
        }
        std::thread::park_timeout(duration);
        false
    }

    /// Runs a future on the calling thread of a model.
    #[cfg(feature = "tokio")]
    #[track_caller]
    pub fn block_on<F: Future>(future: F) -> F::Output {
        crate::task::block_on_modelled(future)
    }
}
