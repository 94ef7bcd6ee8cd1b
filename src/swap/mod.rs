//! The primitives that every block is built from, behind one name.
//!
//! The library never names a checker. It says `crate::swap::Mutex`, and this
//! module decides what that is:
//!
//! | build | backend | who runs it |
//! |---|---|---|
//! | `--cfg loom` | [loom] | the models in `loom-tests/`: memory orderings, wake-ups |
//! | `cfg(test)` of this crate | `selvedge_model`, the harness | the same models in `cargo test`: schedules, timeouts |
//! | feature `model` | the harness, which is std outside of a model | models of those who use the blocks |
//! | anything else | std | production, `tests/`, examples, doctests |
//!
//! The shape is std's (`std::sync::nonpoison` for the locks: a panic while a
//! lock is held leaves the lock usable, so no block here lets user code run
//! under one). Where the checkers differ from std the difference is mended
//! here and not in the blocks:
//!
//! * loom treats a `SeqCst` *access* as `AcqRel`. Its atomics are wrapped so
//!   that a `SeqCst` access stands between two `SeqCst` fences, which loom does
//!   model. That is at least as strong as the access: code that is right only
//!   because of the two extra fences would pass. No block relies on `SeqCst`
//!   for anything but store-then-load (Dekker) checks on two locations, each
//!   side all-`SeqCst`, where the two are equal; and for a load to see what a
//!   finished access to the same location left, which either way gives.
//! * loom's `unpark` may wake a thread out of a lock. `thread::park` is built
//!   on its `Notify` instead.
//! * The harness wakes a parked thread for a reason only, so that a loop around
//!   `park` has an end; that callers allow for the other case is what loom shows.
//! * loom has no clock: [`time::now`] stands still, and a deadline that lies
//!   ahead never expires. In the harness's models of this crate one may expire
//!   at any step.
//! * [`hint::Backoff`] and [`hint::Spin`] give up at once under both: to spin is to poll again,
//!   and what follows the spinning polls again too.
//!
//! Public so that the models outside the crate can spawn actors on the same
//! primitives; not part of the stable interface.
//!
//! [loom]: https://docs.rs/loom

#[cfg(loom)]
#[path = "loom.rs"]
mod backend;
#[cfg(all(any(test, feature = "model"), not(loom)))]
#[path = "modelled.rs"]
mod backend;
#[cfg(not(any(loom, test, feature = "model")))]
#[path = "std.rs"]
mod backend;

#[cfg(not(loom))]
mod plain;

pub use backend::{Arc, Condvar, Mutex, MutexGuard, atomic, cell, future, hint, thread, whole};
pub(crate) use backend::{const_new, local_key};

#[cfg(all(any(test, feature = "model"), not(loom)))]
pub mod unmodelled;
/// Atomics and locks that no checker sees, for what is not part of any claim:
/// unique ids, and the clocks of test recorders (a recorder that the checker
/// saw would add the very happens-before edges whose absence it looks for).
#[cfg(not(all(any(test, feature = "model"), not(loom))))]
pub mod unmodelled {
    pub use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    pub use std::sync::{Mutex, OnceLock};
}

/// Whether a checker runs. For sizes only (a block of two slots puts block
/// changes in a checker's reach), never for what the code does.
pub const MODELLED: bool = cfg!(any(loom, test, feature = "model"));

/// The clock that deadlines are told by.
pub mod time {
    use std::time::Instant;

    /// Now: inside of a model, on the model's clock, which does not depend on
    /// how fast it is run; under loom always the same moment.
    #[inline]
    pub fn now() -> Instant {
        #[cfg(loom)]
        {
            static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
            *START.get_or_init(Instant::now)
        }
        #[cfg(all(any(test, feature = "model"), not(loom)))]
        {
            selvedge_model::private::now().unwrap_or_else(Instant::now)
        }
        #[cfg(not(any(loom, test, feature = "model")))]
        Instant::now()
    }

    /// How long ago `start` was.
    #[inline]
    pub fn since(start: Instant) -> std::time::Duration {
        now().saturating_duration_since(start)
    }
}

/// What ended a [`thread::park_until`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Parked {
    /// The thread was unparked, or woke for no reason.
    Woken,
    /// The deadline passed.
    TimedOut,
}

/// The checkers' stand-in for `crossbeam_utils::Backoff`.
#[cfg(any(loom, test, feature = "model"))]
mod no_spin {
    /// Never spins: complete from the start.
    #[derive(Debug, Default)]
    pub struct Backoff;

    /// Never polls twice.
    #[derive(Debug, Default)]
    pub struct Spin;

    impl Spin {
        /// From the start.
        pub fn new() -> Self {
            Self
        }
        /// Time to park.
        pub fn again(&mut self) -> bool {
            false
        }
    }

    impl Backoff {
        /// A backoff that has nothing left.
        pub fn new() -> Self {
            Self
        }
        /// Nothing.
        pub fn spin(&self) {}
        /// Nothing.
        pub fn snooze(&self) {}
        /// Nothing.
        pub fn reset(&self) {}
        /// Always.
        pub fn is_completed(&self) -> bool {
            true
        }
    }
}
