//! The stripes, the base, and how they are read together: see
//! [`striped`](super::striped) for the invariants.

#![allow(unsafe_code, reason = "a list of stripes that readers walk without a lock")]

use crate::swap::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::swap::{Mutex, MutexGuard};
use crossbeam_utils::CachePadded;
use std::ptr::{self, NonNull};

/// Padded, so that no two owners write to one cache line.
pub(super) type Padded = CachePadded<Stripe>;

#[repr(C)]
pub(super) struct Stripe {
    count: AtomicU64,
    /// Keeps `older` off the line that the owner writes: a reader has it in
    /// its cache and goes on to the next stripe while `count` is on its way.
    _apart: [u64; 7],
    /// The stripe that was made before this one.
    older: *const Padded,
}

/// What the counter and its writers share.
pub(super) struct Core {
    /// The stripe that was made last.
    newest: AtomicPtr<Padded>,
    /// Odd while the base moves (invariant 4).
    version: AtomicU64,
    /// The base: its low and its high half.
    base: [AtomicU64; 2],
    registry: Mutex<Registry>,
}

/// The stripes without an owner.
pub(super) struct Registry {
    idle: Vec<NonNull<Padded>>,
}

// SAFETY: the pointers are to stripes of the core that the registry is part
// of; a stripe is made of an atomic and a pointer that never changes.
unsafe impl Send for Registry {}

impl Stripe {
    /// Adds `n`, or says what the count was if it would overflow. For the
    /// owner only (invariant 1).
    #[inline]
    pub(super) fn add(&self, n: u64) -> Result<(), u64> {
        // ORDERING: our own last store, or the last owner's, which the
        // registry's mutex puts before us.
        let before = self.count.load(Ordering::Relaxed);
        let after = before.checked_add(n).ok_or(before)?;
        // ORDERING: pairs with the Acquire in `Core::sum`, which promises that
        // what came before a counted add is visible. Also, a reader that sees
        // an add made after a settlement must see the version that the
        // settlement left.
        self.count.store(after, Ordering::Release);
        Ok(())
    }
}

impl Core {
    pub(super) fn new() -> Self {
        Self {
            newest: AtomicPtr::new(ptr::null_mut()),
            version: AtomicU64::new(0),
            base: [AtomicU64::new(0), AtomicU64::new(0)],
            registry: Mutex::new(Registry { idle: Vec::new() }),
        }
    }

    /// An idle stripe, or a new one at the head of the list.
    pub(super) fn claim(&self) -> NonNull<Padded> {
        let mut registry = self.registry.lock();
        if let Some(stripe) = registry.idle.pop() {
            return stripe;
        }
        // ORDERING: `newest` is written under the mutex only.
        let older = self.newest.load(Ordering::Relaxed);
        let stripe =
            Box::new(CachePadded::new(Stripe { count: AtomicU64::new(0), _apart: [0; 7], older }));
        let stripe = NonNull::from(Box::leak(stripe));
        // ORDERING: pairs with the Acquire in `stripes`: the stripe is made
        // before it is seen.
        self.newest.store(stripe.as_ptr(), Ordering::Release);
        stripe
    }

    /// Leaves a stripe to the next writer.
    pub(super) fn give_back(&self, stripe: NonNull<Padded>) {
        self.registry.lock().idle.push(stripe);
    }

    /// Every stripe, the newest first.
    #[inline]
    pub(super) fn stripes(&self) -> impl Iterator<Item = &Padded> {
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
    #[inline]
    fn sum(&self) -> u128 {
        // ORDERING: each Acquire pairs with the Release store of what it reads,
        // so that whoever sees part of a move also sees its odd version.
        let [low, high] = [0, 1].map(|half| u128::from(self.base[half].load(Ordering::Acquire)));
        self.stripes()
            .map(|stripe| u128::from(stripe.count.load(Ordering::Acquire)))
            .fold(low | high << 64, u128::wrapping_add)
    }

    #[inline]
    pub(super) fn value(&self) -> u128 {
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

    pub(super) fn take(&self) -> u128 {
        let mut registry = self.registry.lock();
        let taken = self.sum();
        self.rebase(&mut registry, taken.wrapping_neg(), || ());
        taken
    }

    /// Moves what a full stripe holds, `before`, and `n` into the base. For
    /// the stripe's owner only.
    #[cold]
    pub(super) fn settle(&self, stripe: &Stripe, before: u64, n: u64) {
        let mut registry = self.registry.lock();
        self.rebase(&mut registry, u128::from(before) + u128::from(n), || {
            stripe.count.store(0, Ordering::Release);
        });
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
