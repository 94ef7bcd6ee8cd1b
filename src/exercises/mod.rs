//! The twelve exercises that the library grew from, each a thin use of a block.
//!
//! They are small programs that show one block each: read their sources. For the
//! names that you know from Python see the [cookbook](crate::cookbook::from_python).
//!
//! ```
//! use selvedge::exercises::{SafeCounter, map_threaded, pipeline, square};
//!
//! let counter = SafeCounter::new();
//! assert_eq!(counter.inc(), Ok(1));
//! assert_eq!(map_threaded(square, [1, 2, 3], selvedge::nz!(4)), [1, 4, 9]);
//! assert_eq!(pipeline([1, 2, 3, 4]), [1, 4, 9, 16]);
//! ```

#[cfg(not(loom))]
mod aggregate;
#[cfg(not(loom))]
mod cancel_demo;
#[cfg(not(loom))]
mod compute_off_thread;
mod counter;
#[cfg(not(loom))]
mod gather_limited;
mod map;
mod map_threaded;
#[cfg(not(loom))]
mod pipeline;
#[cfg(all(target_os = "linux", not(loom)))]
mod primes;
#[cfg(not(loom))]
mod rate_limited;
#[cfg(not(loom))]
mod with_timeout;

#[cfg(not(loom))]
pub use aggregate::{Record, aggregate, parse, transform};
#[cfg(not(loom))]
pub use cancel_demo::{cancel_demo, sleepy};
#[cfg(not(loom))]
pub use compute_off_thread::{compute_off_thread, cpu_heavy};
pub use counter::SafeCounter;
#[cfg(not(loom))]
pub use gather_limited::{RuntimeError, boom, fetch_one, gather_limited, ok, run_mixed};
pub use map::concurrent_map;
pub use map_threaded::{map_threaded, square};
#[cfg(not(loom))]
pub use pipeline::pipeline;
#[cfg(all(target_os = "linux", not(loom)))]
pub use primes::{is_prime, primes_count};
#[cfg(not(loom))]
pub use rate_limited::rate_limited;
#[cfg(not(loom))]
pub use with_timeout::{maybe_slow, with_timeout};
