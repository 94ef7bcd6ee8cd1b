//! The twelve exercises by their names, each a thin use of a block.

mod map;
mod map_threaded;

pub use map::concurrent_map;
pub use map_threaded::{map_threaded, square};
