//! The ordered map over threads, from outside: what it promises, on real
//! threads.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

mod errors;
mod live;
mod nesting;
mod order;
mod panics;
mod progress;
mod properties;
mod streaming;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};

pub(crate) fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .expect("a text payload")
}

pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> Box<dyn std::any::Any + Send> {
    catch_unwind(AssertUnwindSafe(f)).err().expect("a panic")
}

/// Counts its instances alive.
pub(crate) struct Alive<'c>(&'c AtomicI64);

impl<'c> Alive<'c> {
    pub(crate) fn new(count: &'c AtomicI64) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
