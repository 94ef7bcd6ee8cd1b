//! Counters that many threads add to at once.
//!
//! | | [`SafeCounter`] | [`StripedCounter`] |
//! |---|---|---|
//! | an add | one locked instruction on one shared word | a plain load and store, on a stripe that only this thread writes |
//! | a read | one load; linearizable | a walk over the stripes; between the totals at its start and at its end |
//! | overflow | an [`Overflow`] error, the value untouched | cannot happen: the total has 128 bits |
//! | memory | 24 bytes | 128 bytes for each thread that adds |
//! | in a `static` | yes, `new` is `const` | behind a `LazyLock` |
//!
//! Take [`SafeCounter`] for ids, tickets, limits, and whenever a decision hangs
//! on the exact value. Take [`StripedCounter`] for what is added often and read
//! now and then: requests, bytes, cache hits.
//!
//! # Learner's corner
//!
//! `loom-tests/models/naive.rs` holds the counter that everybody writes first,
//! `cell.store(cell.load() + 1)`, and the checker finds the increment that two
//! threads lose between them. [`SafeCounter`] closes the gap by making load and
//! store one instruction. [`StripedCounter`] keeps them apart, and is right all
//! the same: nobody else writes that cell. Its models in
//! `loom-tests/models/counter.rs` turn red as soon as two threads share one.

mod local;
mod safe;
mod striped;
mod stripes;

pub use safe::{Overflow, SafeCounter};
pub use striped::{StripedCounter, Writer};
