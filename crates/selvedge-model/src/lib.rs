//! Write a concurrent test once, and have every schedule tried.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(feature = "model", not(loom)))]
mod engine;
mod macros;
mod model;
pub mod sync;
#[cfg(all(feature = "tokio", not(loom)))]
pub mod task;
pub mod thread;
#[cfg(all(feature = "tokio", not(loom)))]
pub mod time;

pub use model::{Engine, Model, Report, Time};
pub use selvedge_macros::model;

/// std's, a model's step.
pub mod hint {
    /// As [`std::hint::spin_loop`]. Inside of a model, others run first.
    #[inline]
    #[track_caller]
    pub fn spin_loop() {
        #[cfg(all(feature = "model", not(loom)))]
        crate::thread::spin();
        #[cfg(loom)]
        ::loom::hint::spin_loop();
        #[cfg(not(any(loom, feature = "model")))]
        std::hint::spin_loop();
    }
}

#[doc(hidden)]
pub mod private {
    pub use crate::model::mark;
    #[cfg(loom)]
    pub use ::loom;
    #[cfg(all(feature = "model", not(loom)))]
    pub use std::thread_local as std_thread_local;
}
