//! The twelve exercises by their names, each a thin use of a block.

#[cfg(not(loom))]
mod aggregate;
mod counter;
mod map;
mod map_threaded;

#[cfg(not(loom))]
pub use aggregate::{Record, aggregate, parse, transform};
pub use counter::SafeCounter;
pub use map::concurrent_map;
pub use map_threaded::{map_threaded, square};
