//! Clusters of real processes over a real `nats-server`.
//!
//! Each test starts a server of its own, on a port of its own, with a store
//! that goes with it. Where there is no `nats-server`, the tests say so and
//! pass; with `CI=true` they fail.

#![cfg(all(target_os = "linux", not(loom)))]

mod bad_input;
mod faults;
mod links;
mod maps;
mod shared;
mod support;
