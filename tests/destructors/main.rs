//! Destructors that panic, at every place where a block drops what a user
//! gave it: the block's promise holds. One file a block, one row a place.
#![cfg(not(loom))]
#![allow(missing_docs, reason = "a test binary")]

mod gather;
mod offload;
mod pipeline;
#[cfg(target_os = "linux")]
mod process;
mod queue;
mod scope;
#[path = "../support/mod.rs"]
mod support;
mod threads;
mod timeout;

use selvedge::outcome::Outcome;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Panics when it is dropped, unless it is nothing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            panic_any(Payload(self.0));
        }
    }
}

impl Bomb {
    /// It does not go off.
    fn disarm(self) -> &'static str {
        let what = self.0;
        std::mem::forget(self);
        what
    }
}

fn bomb(armed: bool, what: &'static str) -> Bomb {
    Bomb(if armed { what } else { "" })
}

/// What `run` returns, or what it panics with: what was said of the bomb that
/// went off, or a text.
fn ended<T>(run: impl FnOnce() -> T) -> Result<T, &'static str> {
    let payload = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => return Ok(value),
        Err(payload) => payload,
    };
    let said = match payload.downcast_ref::<Payload>() {
        Some(Payload(what)) => *what,
        None => *payload.downcast_ref::<&'static str>().expect("a text or a bomb"),
    };
    std::mem::forget(payload);
    Err(said)
}

/// A payload that panics in turn.
struct Payload(&'static str);

impl Drop for Payload {
    fn drop(&mut self) {
        panic!("the payload of {}", self.0);
    }
}

/// A future beside a bomb, which goes off when the future is dropped.
struct Armed<F>(Pin<Box<F>>, #[expect(dead_code, reason = "held")] Option<Bomb>);

impl<F: Future> Future for Armed<F> {
    type Output = F::Output;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.0.as_mut().poll(context)
    }
}

/// One that ends or not.
fn armed<T>(what: &'static str, ends: Option<T>) -> Armed<impl Future<Output = T>> {
    let future = async move {
        match ends {
            Some(value) => value,
            None => std::future::pending().await,
        }
    };
    Armed(Box::pin(future), Some(Bomb(what)))
}

fn is_panic<T, E>(outcome: &Outcome<T, E>) -> bool {
    matches!(outcome, Outcome::Panicked(_))
}
