//! The models, one file a block. Each is written once over `selvedge::swap`:
//! loom runs it from `main.rs` beside this file, shuttle runs it inside the
//! library's own tests, which take this module in by its path.

#[path = "../kit/mod.rs"]
pub(crate) mod kit;

mod cancel;
#[cfg(not(loom))]
mod cancel_points;
mod counter;
#[cfg(not(loom))]
mod gather;
mod ground;
mod naive;
#[cfg(not(loom))]
mod offload;
#[cfg(not(loom))]
mod pipeline;
#[cfg(target_os = "linux")]
mod process;
mod queue;
#[cfg(not(loom))]
mod queue_deadline;
mod rate;
mod ready;
#[cfg(not(loom))]
mod scope;
mod semaphore;
mod threads;
#[cfg(not(loom))]
mod timeout;
#[cfg(not(loom))]
mod trust;
