//! The twelve exercises by their names, each a thin use of a block.

#[cfg(not(loom))]
mod aggregate;
mod counter;
mod map;
mod map_threaded;
#[cfg(all(target_os = "linux", not(loom)))]
mod primes;

#[cfg(not(loom))]
pub use aggregate::{Record, aggregate, parse, transform};
pub use counter::SafeCounter;
pub use map::concurrent_map;
pub use map_threaded::{map_threaded, square};
#[cfg(all(target_os = "linux", not(loom)))]
pub use primes::{is_prime, primes_count};
