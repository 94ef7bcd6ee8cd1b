//! Counters that many threads add to.
//!
//! Take [`SafeCounter`] for ids, tickets, limits, and whenever a decision depends on
//! the exact value. Take [`StripedCounter`] for what is added often and read now
//! and then: requests, bytes, cache hits.
//!
//! ```
//! use selvedge::counter::{SafeCounter, StripedCounter};
//!
//! let (tickets, bytes) = (SafeCounter::new(), StripedCounter::new());
//! std::thread::scope(|scope| {
//!     for _ in 0..4 {
//!         scope.spawn(|| {
//!             for _ in 0..100 {
//!                 let ticket = tickets.inc().unwrap(); // no two threads get the same
//!                 assert!(ticket <= 400);
//!                 bytes.inc_by(1500);
//!             }
//!         });
//!     }
//! });
//! assert_eq!((tickets.value(), bytes.value()), (400, 600_000));
//! assert_eq!((bytes.take(), bytes.value()), (600_000, 0));
//! ```
//!
//! # Which one
//!
//! | | [`SafeCounter`] | [`StripedCounter`] |
//! |---|---|---|
//! | an add | one locked instruction on one shared word | a plain load and store, on a stripe that only this thread writes |
//! | a read | one load; linearizable | a walk over the stripes; between the totals at its start and at its end |
//! | overflow | an [`Overflow`] error, the value untouched | cannot happen: the total has 128 bits |
//! | memory | 24 bytes | 128 bytes for each thread that adds |
//! | in a `static` | yes, `new` is `const` | behind a `LazyLock` |
//!
//! No operation waits for a runtime, and none can be cancelled half way.
//!
//! ---
//!
//! # Learner's corner
//!
//! `loom-tests/models/naive.rs` holds the counter that is written first,
//! `cell.store(cell.load() + 1)`, and the checker finds the increment that two
//! threads lose between them. [`SafeCounter`] closes the gap by making load and
//! store one instruction. [`StripedCounter`] keeps them apart, and is right all
//! the same: no other thread writes that cell. Its models in
//! `loom-tests/models/counter.rs` turn red as soon as two threads share one.

mod local;
mod safe;
mod striped;
mod stripes;

pub use safe::{Overflow, SafeCounter};
pub use striped::{StripedCounter, Writer};
