//! The proof kit: what a model is built from.
//!
//! * [`Model`] explores a closure under loom or the harness and asserts the
//!   exact set of outcomes that it reached;
//! * [`Drops`] finds leaks and double drops;
//! * [`History`] checks a recorded history against a sequential specification.

mod explore;

pub(crate) use explore::Model;
pub(crate) use selvedge_model::kit::{Drops, History, Tracked};
