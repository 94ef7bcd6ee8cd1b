//! The proof kit: what a model is built from.
//!
//! * [`Model`] explores a closure under loom or shuttle and asserts the exact
//!   set of outcomes that it reached;
//! * [`drops`] finds leaks and double drops;
//! * [`linear`] checks a recorded history against a sequential specification.

// Each test binary takes the kit in whole and uses what it needs.
#![allow(dead_code, unused_imports)]

pub(crate) mod drops;
mod explore;
pub(crate) mod linear;

pub(crate) use explore::Model;
