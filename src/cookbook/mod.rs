//! How to do whole tasks, and what the names that you know are called here.
//!
//! * [`from_python`]: `concurrent.futures`, `asyncio`, `queue`, `threading` and
//!   `multiprocessing`, name by name;
//! * [`from_rust`]: crossbeam, rayon, tokio, futures and governor, name by name;
//! * [`recipes`]: graceful shutdown, a crawler, 503 under load, a progress bar,
//!   a limiter per user, metrics, a pool that survives segmentation faults,
//!   tests on a paused clock, limits from run-time numbers, errors with anyhow.
//!
//! These modules hold documentation and no code. Every example is compiled and
//! run by `cargo test`.

#[doc = include_str!("from_python.md")]
pub mod from_python {}

#[doc = include_str!("from_rust.md")]
pub mod from_rust {}

#[doc = include_str!("recipes.md")]
pub mod recipes {}
