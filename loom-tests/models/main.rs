//! The models under loom: `RUSTFLAGS="--cfg loom" cargo test`.
#![cfg(loom)]
#![allow(missing_docs, reason = "a test binary")]

#[path = "mod.rs"]
mod models;
