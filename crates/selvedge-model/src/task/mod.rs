//! tokio's tasks, which a model schedules.

#[cfg(not(feature = "model"))]
pub use tokio::task::{
    AbortHandle, JoinError, JoinHandle, JoinSet, spawn, spawn_blocking, yield_now,
};

#[cfg(feature = "model")]
mod handle;
#[cfg(feature = "model")]
mod set;
#[cfg(feature = "model")]
mod spawn;
pub mod sync;

#[cfg(feature = "model")]
pub(crate) use spawn::{block_on_modelled, perturbed};
#[cfg(feature = "model")]
pub use {
    handle::{AbortHandle, JoinError, JoinHandle},
    set::JoinSet,
    spawn::{spawn, spawn_blocking, yield_now},
};
