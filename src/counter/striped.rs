//! [`StripedCounter`]: every thread counts for itself.
//!
//! # Algorithm
//!
//! The total is a base plus the sum of the stripes. A stripe is written by one
//! thread at a time, its owner, so an add is a load and a store and no locked
//! instruction (the statistical counter of McKenney, *Is Parallel Programming
//! Hard*, ch. 5, with a base that `take` moves). A thread finds its stripe in a
//! thread-local table at the counter's index, or by a short cut around the
//! table. A read sums the stripes between two looks at a version number (a
//! seqlock), or under the registry's mutex if the base moved meanwhile.
//! `stripes.rs` has the stripes and the base, `local.rs` what a thread keeps.
//!
//! # States of a stripe
//!
//! | state | where it is | who may write it |
//! |---|---|---|
//! | owned | a [`Writer`], in a thread's table or in the user's hands | whoever holds the writer |
//! | idle | the registry's list | nobody; it keeps its count until the next owner counts on |
//!
//! # Invariants
//!
//! 1. *One owner.* A stripe is in one writer or in the idle list, and moves
//!    between them under the registry's mutex, which orders one owner's stores
//!    before the next one's.
//! 2. *A stripe only grows*, but for a settlement: an owner whose stripe would
//!    overflow moves it into the base, under the mutex.
//! 3. *total taken + base + stripes = total added*, modulo 2^128, whenever the
//!    mutex is free. The base is unsigned and wraps: after a `take` it is minus
//!    what the stripes held.
//! 4. *Whoever changes the base or resets a stripe* holds the mutex and makes
//!    the version odd first and even afterwards.
//! 5. *Stripes are never freed before the counter's core*, which the counter
//!    and every writer share.
//! 6. *A short cut leads to the stripe of a writer in the same thread's
//!    table.* It is removed or led elsewhere before that writer leaves the
//!    table. The writer keeps the core alive, so no other core has its address.
//!
//! The total does not overflow: to reach 2^128 takes 2^64 settlements, one
//! after the other under the mutex.
//!
//! # Linearization
//!
//! `take` and `value` see a total that lies between the total at their call
//! and the total at their return, where an add counts as made before the call
//! if it happened before it (by a join, a lock, a message: what orders the
//! rest of the program). That is less than linearizable: two readers may see
//! two threads' adds in different orders. Takes are ordered by the mutex, and
//! each add is in exactly one of them or in the rest.
//!
//! # Progress
//!
//! An add is wait-free, but for the first one of a thread, which takes the
//! mutex, and settlements. A read takes the mutex only if a take or a
//! settlement got in between. A take walks the stripes under the mutex.
//!
//! # Model bounds
//!
//! `loom-tests/models/counter.rs`, in loom and in shuttle: up to three threads
//! with up to two operations each on one counter. Not covered: several counters
//! in one thread's table (real threads, `tests/counter.rs`).

#![allow(unsafe_code, reason = "a writer points at its stripe")]

use super::local::{ShortCut, TABLE};
use super::stripes::{Core, Padded};
use crate::swap::{Arc, unmodelled};
use slab::Slab;
use std::fmt;
use std::ptr::NonNull;
use std::sync::PoisonError;

/// A counter for what is added often, from many threads, and read now and
/// then. Adding never fails, never waits for another thread's add, and runs no
/// locked instruction.
///
/// ```
/// use selvedge::counter::StripedCounter;
///
/// let requests = StripedCounter::new();
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| (0..1000).for_each(|_| requests.inc()));
///     }
/// });
/// assert_eq!(requests.value(), 4000);
/// assert_eq!(requests.take(), 4000);
/// assert_eq!(requests.value(), 0);
/// ```
///
/// # Memory ordering
///
/// What happened before an add is visible to whoever reads or takes a total
/// that includes it.
///
/// # Memory
///
/// One stripe of 128 bytes for the largest number of threads that ever added
/// at the same time. A thread that ends leaves its stripe, with what it
/// counted, to the next one. A thread keeps the stripes of a dropped counter
/// until it ends or adds to a newer counter that was given the same place in
/// its table; places are reused, so a table never has more entries than there
/// were counters alive at one time.
///
/// # Where it does not belong
///
/// A global allocator: a thread's first add allocates. A signal handler: it
/// could lose the add that it interrupts. [`SafeCounter`](super::SafeCounter)
/// is for those.
pub struct StripedCounter {
    core: Arc<Core>,
    /// Where in each thread's table this counter's writer is.
    index: usize,
}

/// One thread's end of a [`StripedCounter`], without the look-up: for a hot
/// loop. It owns a stripe of its own, and may be moved to another thread but
/// not shared.
///
/// ```
/// # use selvedge::counter::StripedCounter;
/// let counter = StripedCounter::new();
/// let writer = counter.writer();
/// (0..1000).for_each(|n| writer.inc_by(n % 3));
/// assert_eq!(counter.value(), 999);
/// ```
///
/// Two threads cannot share one:
///
/// ```compile_fail,E0277
/// fn sync<T: Sync>() {}
/// sync::<selvedge::counter::Writer>();
/// ```
///
/// Dropping it leaves the stripe to the next writer. Forgetting it
/// ([`std::mem::forget`]) loses no count, but the counter's memory.
pub struct Writer {
    pub(super) core: Arc<Core>,
    /// Owned (invariant 1), and alive as long as `core` is (invariant 5).
    pub(super) stripe: NonNull<Padded>,
}

// SAFETY: a writer is the only one to write its stripe, wherever it is
// (invariant 1); everything else in it is shared between threads anyway. It is
// not `Sync`: two threads would both write.
unsafe impl Send for Writer {}

/// The places in the threads' tables that are taken. Two counters in one place
/// would only evict each other's writers: no claim rests on this.
static PLACES: unmodelled::Mutex<Slab<()>> = unmodelled::Mutex::new(Slab::new());

fn places() -> std::sync::MutexGuard<'static, Slab<()>> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StripedCounter {
    /// A counter at zero.
    #[must_use]
    pub fn new() -> Self {
        Self { core: Arc::new(Core::new()), index: places().insert(()) }
    }

    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// Adds `n`.
    ///
    /// A thread's first add to a counter allocates and takes a mutex. An add
    /// from the destructor of a thread-local takes the mutex too, and counts
    /// like any other.
    #[inline]
    pub fn inc_by(&self, n: u64) {
        if !ShortCut::add(self.index, &self.core, n) {
            self.add_by_table(n);
        }
    }

    /// The short cut leads elsewhere, or the stripe is full, or this is the
    /// thread's first add to this counter.
    #[cold]
    fn add_by_table(&self, n: u64) {
        let added = TABLE.try_with(|table| table.add(self.index, &self.core, n));
        if matches!(added, Ok(true)) {
            return;
        }
        let writer = self.writer();
        writer.inc_by(n);
        let stripe = writer.stripe;
        // The table stays out while it grows: an allocator may come back here.
        let Ok(mut writers) = TABLE.try_with(|table| table.swap(Vec::new())) else {
            // The thread is at its end: the stripe goes to the next one.
            return;
        };
        if writers.len() <= self.index {
            writers.resize_with(self.index + 1, || None);
        }
        let evicted = writers[self.index].replace(writer);
        let meanwhile = TABLE.try_with(|table| table.swap(writers));
        // Short cuts to what is dropped at the end of this go first
        // (invariant 6).
        if !matches!(&meanwhile, Ok(writers) if writers.is_empty()) {
            ShortCut::remove_all();
        }
        if meanwhile.is_ok() {
            ShortCut::set(self.index, &self.core, stripe);
        }
        drop((evicted, meanwhile));
    }

    /// A writer with a stripe of its own, for a hot loop.
    #[must_use]
    pub fn writer(&self) -> Writer {
        Writer { stripe: self.core.claim(), core: Arc::clone(&self.core) }
    }

    /// What was added and not taken yet: a total between the one at the call
    /// and the one at the return.
    ///
    /// O(stripes).
    #[inline]
    #[must_use]
    pub fn value(&self) -> u128 {
        self.core.value()
    }

    /// How many stripes there are: the most threads and writers that this
    /// counter had at one time.
    #[must_use]
    pub fn stripes(&self) -> usize {
        self.core.stripes().count()
    }

    /// Takes what was added and not taken yet, and leaves zero. No add is lost
    /// and none is taken twice, however takes, adds and ends of threads mix.
    ///
    /// O(stripes).
    #[must_use = "what was counted is gone from the counter"]
    pub fn take(&self) -> u128 {
        self.core.take()
    }
}

impl Drop for StripedCounter {
    fn drop(&mut self) {
        places().remove(self.index);
    }
}

impl Writer {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn inc_by(&self, n: u64) {
        // SAFETY: invariant 5.
        let stripe = unsafe { self.stripe.as_ref() };
        if let Err(before) = stripe.add(n) {
            self.core.settle(stripe, before, n);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.core.give_back(self.stripe);
    }
}

impl Default for StripedCounter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for StripedCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StripedCounter").field(&self.value()).finish()
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}
