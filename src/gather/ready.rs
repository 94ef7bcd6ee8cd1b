//! The slots of a gather in place that are to be polled, and the wake-up of
//! the task that polls them.
//!
//! # Algorithm
//!
//! One bit per slot. A slot's waker sets its bit; whichever waker sets the
//! first bit of a word also *tells* the parent, which is one `swap` of `told`.
//! The parent claims a word by swapping it with zero, and before it returns
//! `Pending` it swaps `told` back and looks at the words once more.
//!
//! # Invariants
//!
//! 1. `told` is only ever swapped, never stored, so every swap of a waker is
//!    part of what the parent's next swap acquires (a release sequence) unless
//!    it comes after it. In that case the waker finds `false`, or a waker that
//!    did comes before it; whoever finds `false` wakes the parent.
//! 2. A bit that joins others in its word needs no swap of its own: the word
//!    is claimed whole, and whoever set the first bit has told, or is about to.
//! 3. `parent` is set before `told` becomes `false`.
//!
//! # Model bounds
//!
//! `loom-tests/models/ready.rs`: two slots in one word, a wake-up of each.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

/// Which slots are to be polled, and who polls them.
#[derive(Debug)]
pub struct Ready {
    bits: Box<[AtomicU64]>,
    /// The parent is awake, or has been told.
    told: AtomicBool,
    parent: Mutex<Option<Waker>>,
}

/// The waker of one slot, for as long as the gather lives.
struct Slot {
    ready: Arc<Ready>,
    at: usize,
}

impl Wake for Slot {
    fn wake(self: std::sync::Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &std::sync::Arc<Self>) {
        let bit = 1 << (self.at % 64);
        // ORDERING: Release pairs with the Acquire in `claim`: who finds the
        // bit sees the event. Else the slot is polled too early, and not again.
        if self.ready.bits[self.at / 64].fetch_or(bit, Ordering::Release) == 0 {
            self.ready.tell();
        }
    }
}

impl Ready {
    /// For so many slots, with the parent awake.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let words = (0..slots.div_ceil(64)).map(|_| AtomicU64::new(0));
        Self { bits: words.collect(), told: AtomicBool::new(true), parent: Mutex::new(None) }
    }

    /// A waker that marks the slot `at`.
    #[must_use]
    pub fn waker(this: &Arc<Self>, at: usize) -> Waker {
        Waker::from(std::sync::Arc::new(Slot { ready: Arc::clone(this), at }))
    }

    /// The parent runs: no waker needs to tell it.
    pub fn awake(&self) {
        // ORDERING: Relaxed: what is published is acquired in `asleep`, and a
        // swap keeps it (invariant 1).
        self.told.swap(true, Ordering::Relaxed);
    }

    /// Takes the bits of a word: the slots to poll now.
    #[must_use]
    pub fn claim(&self, word: usize) -> u64 {
        // ORDERING: Acquire pairs with the Release of every waker whose bit is
        // in it.
        self.bits[word].swap(0, Ordering::Acquire)
    }

    /// The parent is about to return `Pending`, with `waker` to be woken by: at
    /// once if it wants to go on, or if a bit of the first `words` words was
    /// set meanwhile.
    pub fn asleep(&self, waker: &Waker, words: usize, go_on: bool) {
        let before = self.parent.lock().replace(waker.clone());
        drop(before);
        // ORDERING: Acquire pairs with the Release in `tell`: the bits of those
        // who found the parent awake are seen below (invariant 1).
        self.told.swap(false, Ordering::Acquire);
        // ORDERING: Relaxed: the swap has ordered it.
        let set = |word: &AtomicU64| word.load(Ordering::Relaxed) != 0;
        if go_on || self.bits[..words].iter().any(set) {
            self.tell();
        }
    }

    fn tell(&self) {
        // ORDERING: Release pairs with the Acquire in `asleep`: the bit was set
        // before. If this finds `false` the mutex orders the rest
        // (invariant 3).
        if !self.told.swap(true, Ordering::Release) {
            let parent = self.parent.lock().take();
            parent.into_iter().for_each(Waker::wake);
        }
    }
}
