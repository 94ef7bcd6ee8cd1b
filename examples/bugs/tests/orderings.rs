//! What only loom finds.
#![cfg(loom)]

use selvedge_bugs::facade::chapters::tokio_1788;
use selvedge_model::Model;

#[test]
#[should_panic = "the worker sleeps, and nobody wakes it"]
fn a_wake_up_lost_to_the_memory_is_found() {
    Model::new("idle worker").holds(|| tokio_1788::body(false));
}

#[test]
fn mended_it_is_not_lost() {
    Model::new("idle worker").holds(|| tokio_1788::body(true));
}
