//! [`SafeCounter`]: one linearizable number that reports overflow.
//!
//! # Algorithm
//!
//! A checked add is usually a compare-exchange loop, which under contention
//! costs 1.3 to 2.5 times a `fetch_add`: a loser goes round again. This
//! counter adds first and looks afterwards, far from the edge, where a
//! `fetch_add` cannot overflow; near the edge it counts under a mutex. The
//! scheme is this library's own.
//!
//! # States
//!
//! `word` is an atomic, `edge` a number inside a mutex.
//!
//! | state | `word` | the value | who changes the state |
//! |---|---|---|---|
//! | open | below `CLOSED` | `word` | an add that finds `word >= SOFT`, and every add of more than `LARGEST_BLIND`, closes it |
//! | closed | `CLOSED` plus the pending adds | `edge` | whoever holds the mutex, finds `edge < SOFT` and no add pending, opens it |
//!
//! # Invariants
//!
//! 1. *The state changes under the mutex only*, by a compare-exchange, so no
//!    add slips in between the reading of the value and the change.
//! 2. *An open word stays below `CLOSED`.* A blind add is at most
//!    `LARGEST_BLIND` = 2^32. A thread whose add finds `word >= SOFT` = 2^62
//!    closes the counter before it adds again. So beyond `SOFT` each thread
//!    that is inside an add contributes once, and it would take 2^30 such
//!    threads at one time to reach `CLOSED` = 2^63. (Linux allows 2^22.)
//! 3. *A pending add counts for nothing.* An add that hit a closed word takes
//!    itself out again, under the mutex, before it adds to `edge` with a check.
//!    Until then the word is not equal to `CLOSED`, so the counter cannot open
//!    and mistake it for a value. By the argument of 2 the pending adds never
//!    carry out of the 63 bits that they have.
//!
//! # Linearization
//!
//! Open: the one access to `word`. Closed: the critical section. A state change
//! leaves the value as it is.
//!
//! # Progress
//!
//! Open: an add of at most 2^32 and a read are wait-free, `take` is lock-free.
//! Closed, that is from 4.6e18 on or while somebody adds more than 2^32 at
//! once: everybody waits for the mutex, which is held for a few instructions
//! and never while foreign code runs.
//!
//! # Model bounds
//!
//! `loom-tests/models/counter.rs`, in loom and in shuttle: up to three threads,
//! one or two operations each, starting open, one short of `SOFT`, and one or
//! two short of `u64::MAX`. Not covered: more than one change of state and
//! back in one execution, and the thread count of invariant 2, which is an
//! argument and not a model.

use crate::swap::atomic::{AtomicU64, Ordering};
use crate::swap::{Mutex, const_new};
use std::fmt;

/// The state bit of `word`.
const CLOSED: u64 = 1 << 63;
/// Where an open counter closes.
const SOFT: u64 = 1 << 62;
/// The most that is added before looking.
const LARGEST_BLIND: u64 = 1 << 32;

// ORDERING: the access that an operation takes effect by is SeqCst. Acquire and
// Release would order what threads tell each other through this counter, but
// two counters could each be read as they were before the other's increment,
// and a read could return a value that a finished increment had already
// replaced. On x86-64 the instructions are the same ones. Accesses that only
// prepare one, or clear up behind it, say what they need where they stand.
use Ordering::{Acquire, Relaxed, Release, SeqCst};

/// A counter whose every operation takes effect at one instant between its
/// call and its return, and which reports overflow instead of wrapping.
///
/// ```
/// use selvedge::counter::SafeCounter;
///
/// static TICKETS: SafeCounter = SafeCounter::new();
///
/// std::thread::scope(|scope| {
///     for _ in 0..5 {
///         scope.spawn(|| (0..1000).for_each(|_| { TICKETS.inc().unwrap(); }));
///     }
/// });
/// assert_eq!(TICKETS.value(), 5000);
/// ```
///
/// # Memory ordering
///
/// All operations on all `SafeCounter`s are sequentially consistent: what
/// happened before an increment is visible to whoever reads its effect.
pub struct SafeCounter {
    /// Invariants 1 to 3.
    word: AtomicU64,
    /// The value, in the closed state. Stale in the open one.
    edge: Mutex<u64>,
}

/// Adding would have taken a [`SafeCounter`] beyond [`u64::MAX`]. Nothing was
/// added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Overflow {
    /// What the counter was, and still was when the add gave up.
    pub value: u64,
    /// What was to be added.
    pub increment: u64,
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, increment } = self;
        write!(f, "adding {increment} to a counter at {value} would exceed {}", u64::MAX)
    }
}

impl std::error::Error for Overflow {}

impl SafeCounter {
    const_new! {
        /// A counter at zero.
        #[must_use]
        pub fn new() -> Self {
            Self::with_value(0)
        }
    }

    const_new! {
        /// A counter that starts at `value`.
        ///
        /// ```
        /// use selvedge::counter::{Overflow, SafeCounter};
        ///
        /// let full = SafeCounter::with_value(u64::MAX);
        /// assert_eq!(full.inc(), Err(Overflow { value: u64::MAX, increment: 1 }));
        /// assert_eq!(full.value(), u64::MAX);
        /// ```
        #[must_use]
        pub fn with_value(value: u64) -> Self {
            let word = if value < SOFT { value } else { CLOSED };
            Self { word: AtomicU64::new(word), edge: Mutex::new(value) }
        }
    }

    /// Adds one and returns the new value.
    ///
    /// # Errors
    ///
    /// [`Overflow`] if the counter is at [`u64::MAX`]; it stays there.
    #[inline]
    pub fn inc(&self) -> Result<u64, Overflow> {
        self.inc_by(1)
    }

    /// Adds `n` and returns the new value. Up to 2^32 at once this is one
    /// `fetch_add`; more takes a mutex.
    ///
    /// # Errors
    ///
    /// [`Overflow`] if the sum would exceed [`u64::MAX`]; the value is
    /// untouched.
    ///
    /// ```
    /// # use selvedge::counter::SafeCounter;
    /// let bytes = SafeCounter::new();
    /// assert_eq!(bytes.inc_by(1500), Ok(1500));
    /// let overflow = bytes.inc_by(u64::MAX).unwrap_err();
    /// assert_eq!((overflow.value, overflow.increment), (1500, u64::MAX));
    /// ```
    #[inline]
    pub fn inc_by(&self, n: u64) -> Result<u64, Overflow> {
        let _whole = crate::swap::whole("counter");
        if n > LARGEST_BLIND {
            return self.locked(0, |value| checked_add(value, n));
        }
        let before = self.word.fetch_add(n, SeqCst);
        if before < SOFT { Ok(before + n) } else { self.inc_late(before, n) }
    }

    /// The add of `n` has been made to `word`, and found `before`.
    #[cold]
    fn inc_late(&self, before: u64, n: u64) -> Result<u64, Overflow> {
        if before < CLOSED {
            // It counted, but the next one must not be blind (invariant 2).
            self.locked(0, |_| ());
            return Ok(before + n);
        }
        self.locked(n, |value| checked_add(value, n))
    }

    /// The value.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        let _whole = crate::swap::whole("counter");
        let word = self.word.load(SeqCst);
        if word < CLOSED { word } else { self.value_closed() }
    }

    #[cold]
    fn value_closed(&self) -> u64 {
        let edge = self.edge.lock();
        // Invariant 1: while the lock is held, the state does not change.
        // ORDERING: Acquire: if it was opened meanwhile, what came before the
        // increments in it is visible. It is no older than what the SeqCst load
        // in `value` saw, so the read still has its place in the one order.
        let word = self.word.load(Acquire);
        if word < CLOSED { word } else { *edge }
    }

    /// Sets the counter to zero and returns what it was, in one step: every
    /// increment is in exactly one take, or in the rest.
    ///
    /// ```
    /// # use selvedge::counter::SafeCounter;
    /// let errors = SafeCounter::with_value(3);
    /// assert_eq!((errors.take(), errors.value()), (3, 0));
    /// ```
    #[must_use = "what was counted is gone from the counter"]
    pub fn take(&self) -> u64 {
        let _whole = crate::swap::whole("counter");
        // ORDERING: Relaxed here and where the swap fails: a guess, which the
        // swap or the lock corrects.
        let mut word = self.word.load(Relaxed);
        while word < CLOSED {
            match self.word.compare_exchange_weak(word, 0, SeqCst, Relaxed) {
                Ok(_) => return word,
                Err(now) => word = now,
            }
        }
        self.locked(0, std::mem::take)
    }

    /// Closes the counter, takes out a pending add, runs `change` on the value
    /// and opens the counter again if it can.
    fn locked<R>(&self, pending: u64, change: impl FnOnce(&mut u64) -> R) -> R {
        let mut edge = self.edge.lock();
        // ORDERING: Relaxed here and where the swap fails: the lock shows the
        // last change of state (invariant 1), and the swap the last value.
        let mut word = self.word.load(Relaxed);
        while word < CLOSED {
            match self.word.compare_exchange_weak(word, CLOSED, SeqCst, Relaxed) {
                Ok(_) => {
                    *edge = word;
                    break;
                }
                Err(now) => word = now,
            }
        }
        if pending > 0 {
            // ORDERING: Relaxed: nobody reads the pending part of the word but
            // by a read-modify-write.
            self.word.fetch_sub(pending, Relaxed);
        }
        let result = change(&mut edge);
        if *edge < SOFT {
            // If an add is pending it opens the counter in its turn
            // (invariant 3).
            // ORDERING: Release: pairs with the loads in `value` and
            // `value_closed`: who reads what this opens with sees what came
            // before the operation. It has its place in the one order by the
            // access that closed the word, or found it closed.
            let _ = self.word.compare_exchange(CLOSED, *edge, Release, Relaxed);
        }
        result
    }
}

fn checked_add(value: &mut u64, n: u64) -> Result<u64, Overflow> {
    let sum = value.checked_add(n).ok_or(Overflow { value: *value, increment: n })?;
    *value = sum;
    Ok(sum)
}

impl Default for SafeCounter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SafeCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SafeCounter").field(&self.value()).finish()
    }
}
