//! Flows from outside, on tokio.
//!
//! * a flow gives the report of the sequential fold, for any lines, stages,
//!   bounds and schedule;
//! * stopped in whatever way, it has folded a beginning of the input, and
//!   nothing of it is alive;
//! * the first failure in the order of the source is the one reported.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

#[path = "../support/mod.rs"]
mod support;

mod clock;
mod failures;
mod properties;
mod time;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Counts what is alive.
#[derive(Debug, Clone, Default)]
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn one(&self) -> One {
        self.0.fetch_add(1, Ordering::SeqCst);
        One(self.clone())
    }
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

struct One(Alive);

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Numbers as lines.
fn numbers(
    range: impl Iterator<Item = u32> + Send + 'static,
) -> impl Iterator<Item = String> + Send {
    range.map(|n| n.to_string())
}

fn number(line: &str) -> Result<u32, selvedge::pipeline::Reason> {
    line.parse().map_err(|_| selvedge::pipeline::Reason::NotANumber)
}
