//! Exercise 10: an ordered concurrent map with a configurable backend.

pub use crate::map::concurrent_map;
