//! [`StripedCounter`]: every thread counts for itself.
//!
//! # Algorithm
//!
//! The total is a base plus the sum of the stripes. A stripe is written by one
//! thread at a time, its owner, so an add is a load and a store and no locked
//! instruction (the statistical counter of McKenney, *Is Parallel Programming
//! Hard*, ch. 5, with a base that `take` moves). A thread finds its stripe in a
//! thread-local table at the counter's index. A read sums the stripes between
//! two looks at a version number (a seqlock), or under the registry's mutex if
//! the base moved meanwhile.
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

#![allow(unsafe_code, reason = "a list of stripes that readers walk without a lock")]

use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sync::cell::UnsafeCell;
use crate::sync::{Arc, Mutex, MutexGuard, local_key, unmodelled};
use crossbeam_utils::CachePadded;
use slab::Slab;
use std::fmt;
use std::ptr::{self, NonNull};
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
    core: Arc<Core>,
    /// Owned (invariant 1), and alive as long as `core` is (invariant 5).
    stripe: NonNull<Padded>,
}

// SAFETY: a writer is the only one to write its stripe, wherever it is
// (invariant 1); everything else in it is shared between threads anyway. It is
// not `Sync`: two threads would both write.
unsafe impl Send for Writer {}

/// Padded, so that no two owners write to one cache line.
type Padded = CachePadded<Stripe>;

struct Stripe {
    count: AtomicU64,
    /// The stripe that was made before this one.
    older: *const Padded,
}

/// What the counter and its writers share.
struct Core {
    /// The stripe that was made last.
    newest: AtomicPtr<Padded>,
    /// Odd while the base moves (invariant 4).
    version: AtomicU64,
    /// The base: its low and its high half.
    base: [AtomicU64; 2],
    registry: Mutex<Registry>,
}

/// The stripes without an owner.
struct Registry {
    idle: Vec<NonNull<Padded>>,
}

// SAFETY: the pointers are to stripes of the core that the registry is part
// of; a stripe is made of an atomic and a pointer that never changes.
unsafe impl Send for Registry {}

/// The places in the threads' tables that are taken. Two counters in one place
/// would only evict each other's writers: no claim rests on this.
static PLACES: unmodelled::Mutex<Slab<()>> = unmodelled::Mutex::new(Slab::new());

fn places() -> std::sync::MutexGuard<'static, Slab<()>> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread's writers, each at its counter's index.
struct Table(UnsafeCell<Vec<Option<Writer>>>);

local_key! {
    static TABLE: Table = Table(UnsafeCell::new(Vec::new()))
}

impl Table {
    /// Adds `n` through the writer of the counter with this core, if it has a
    /// writer here.
    #[inline]
    fn add(&self, index: usize, core: &Arc<Core>, n: u64) -> bool {
        self.0.with(|writers| {
            // SAFETY: the table is one thread's. What runs while the reference
            // lives allocates and calls nothing that could come back to
            // `swap`: a look-up, an add, at most a settlement.
            match unsafe { &*writers }.get(index) {
                Some(Some(writer)) if Arc::ptr_eq(&writer.core, core) => {
                    writer.inc_by(n);
                    true
                }
                _ => false,
            }
        })
    }

    fn swap(&self, with: Vec<Option<Writer>>) -> Vec<Option<Writer>> {
        // SAFETY: the table is one thread's, and nothing else runs meanwhile.
        self.0.with_mut(|writers| std::mem::replace(unsafe { &mut *writers }, with))
    }
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
        let counted = TABLE.try_with(|table| table.add(self.index, &self.core, n));
        if !matches!(counted, Ok(true)) {
            self.enrol(n);
        }
    }

    /// Adds `n` through a new writer and puts that into the thread's table.
    #[cold]
    fn enrol(&self, n: u64) {
        let writer = self.writer();
        writer.inc_by(n);
        let Ok(mut writers) = TABLE.try_with(|table| table.swap(Vec::new())) else {
            // The thread is at its end: the stripe goes to the next one.
            return;
        };
        if writers.len() <= self.index {
            writers.resize_with(self.index + 1, || None);
        }
        writers[self.index] = Some(writer);
        let _ = TABLE.try_with(|table| table.swap(writers));
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
        let count = unsafe { &self.stripe.as_ref().count };
        // ORDERING: our own last store, or the last owner's, which the
        // registry's mutex puts before us.
        let before = count.load(Ordering::Relaxed);
        match before.checked_add(n) {
            // ORDERING: pairs with the Acquire in `Core::sum`, which promises
            // that what came before a counted add is visible. Also, a reader
            // that sees an add made after a settlement must see the version
            // that the settlement left.
            Some(after) => count.store(after, Ordering::Release),
            None => self.settle(before, n),
        }
    }

    /// Moves the full stripe, and `n`, into the base.
    #[cold]
    fn settle(&self, before: u64, n: u64) {
        let mut registry = self.core.registry.lock();
        self.core.rebase(&mut registry, u128::from(before) + u128::from(n), || {
            // SAFETY: invariant 5.
            let stripe = unsafe { self.stripe.as_ref() };
            stripe.count.store(0, Ordering::Release);
        });
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.core.registry.lock().idle.push(self.stripe);
    }
}

impl Core {
    fn new() -> Self {
        Self {
            newest: AtomicPtr::new(ptr::null_mut()),
            version: AtomicU64::new(0),
            base: [AtomicU64::new(0), AtomicU64::new(0)],
            registry: Mutex::new(Registry { idle: Vec::new() }),
        }
    }

    /// An idle stripe, or a new one at the head of the list.
    fn claim(&self) -> NonNull<Padded> {
        let mut registry = self.registry.lock();
        if let Some(stripe) = registry.idle.pop() {
            return stripe;
        }
        // ORDERING: `newest` is written under the mutex only.
        let older = self.newest.load(Ordering::Relaxed);
        let stripe = Box::new(CachePadded::new(Stripe { count: AtomicU64::new(0), older }));
        let stripe = NonNull::from(Box::leak(stripe));
        // ORDERING: pairs with the Acquire in `stripes`: the stripe is made
        // before it is seen.
        self.newest.store(stripe.as_ptr(), Ordering::Release);
        stripe
    }

    /// Every stripe, the newest first.
    fn stripes(&self) -> impl Iterator<Item = &Padded> {
        // ORDERING: pairs with the Release in `claim`.
        let mut at = self.newest.load(Ordering::Acquire).cast_const();
        std::iter::from_fn(move || {
            // SAFETY: invariant 5, and `older` is null at the end.
            let stripe = unsafe { at.as_ref() }?;
            at = stripe.older;
            Some(stripe)
        })
    }

    /// The base plus the stripes: the total, unless the base moves meanwhile.
    fn sum(&self) -> u128 {
        // ORDERING: each Acquire pairs with the Release store of what it reads,
        // so that whoever sees part of a move also sees its odd version.
        let [low, high] = [0, 1].map(|half| u128::from(self.base[half].load(Ordering::Acquire)));
        self.stripes()
            .map(|stripe| u128::from(stripe.count.load(Ordering::Acquire)))
            .fold(low | high << 64, u128::wrapping_add)
    }

    fn value(&self) -> u128 {
        // ORDERING: pairs with the last Release in `rebase`: an even version
        // comes with the whole of the move that led to it.
        let version = self.version.load(Ordering::Acquire);
        if version.is_multiple_of(2) {
            let sum = self.sum();
            // ORDERING: stays behind the Acquire loads of `sum`. If one of
            // them saw part of a move, this sees at least its odd version.
            if self.version.load(Ordering::Relaxed) == version {
                return sum;
            }
        }
        let _still = self.registry.lock();
        self.sum()
    }

    fn take(&self) -> u128 {
        let mut registry = self.registry.lock();
        let taken = self.sum();
        self.rebase(&mut registry, taken.wrapping_neg(), || ());
        taken
    }

    /// Adds to the base, modulo 2^128, and resets what `reset` resets, as one
    /// step for those who read the version (invariant 4).
    fn rebase(&self, _locked: &mut MutexGuard<'_, Registry>, by: u128, reset: impl FnOnce()) {
        // ORDERING: version and base are written under the mutex only, so the
        // Relaxed loads see the last store.
        let version = self.version.load(Ordering::Relaxed);
        let [low, high] = [0, 1].map(|half| u128::from(self.base[half].load(Ordering::Relaxed)));
        let base = (low | high << 64).wrapping_add(by);
        // ORDERING: the Release stores below carry the odd version with them.
        self.version.store(version + 1, Ordering::Relaxed);
        reset();
        self.base[0].store(base as u64, Ordering::Release);
        self.base[1].store((base >> 64) as u64, Ordering::Release);
        // ORDERING: pairs with the Acquire in `value`.
        self.version.store(version + 2, Ordering::Release);
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // ORDERING: the last owner of the core is alone with it.
        let mut at = self.newest.load(Ordering::Relaxed);
        while let Some(stripe) = NonNull::new(at) {
            // SAFETY: made by `Box::leak` in `claim`, in the list once, and no
            // writer is left (invariant 5).
            let stripe = unsafe { Box::from_raw(stripe.as_ptr()) };
            at = stripe.older.cast_mut();
        }
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
