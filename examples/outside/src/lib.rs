//! Six small things that somebody might write, each with a bug that a test on
//! real threads meets once a week, and with the bug mended.

pub mod count;
// loom has no tasks.
#[cfg(not(loom))]
pub mod lock;
pub mod parked;
#[cfg(not(loom))]
pub mod pool;
pub mod queue;
pub mod service;
