//! The slots of a gather in place that are to be polled, and the wake-up of
//! the task that polls them.
//!
//! # Algorithm
//!
//! One bit per slot. A slot's waker sets its bit; whichever waker sets the
//! first bit of a word also *tells* the parent, which is one `swap` of `told`.
//! The parent claims a word by swapping it with zero, and before it returns
//! `Pending` it swaps `told` back and looks at the words once more. Words are
//! added as slots are: nothing is allocated for a limit that is never reached.
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
//! 4. Words are added by `waker` alone, before there is a waker for them, and
//!    never moved.
//!
//! # Model bounds
//!
//! `loom-tests/models/ready.rs`: two slots in one word, a wake-up of each.

use crate::guard;
use crate::swap::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::swap::unmodelled::OnceLock;
use crate::swap::{Arc, Mutex};
use std::fmt;
use std::iter::successors;
use std::task::{Wake, Waker};

/// Which slots are to be polled, and who polls them.
pub struct Ready {
    bits: Bits,
    /// The parent is awake, or has been told.
    told: AtomicBool,
    parent: Mutex<Option<Waker>>,
}

/// Words, and twice as many behind them once they are wanted.
struct Bits {
    words: Box<[AtomicU64]>,
    /// Set before anything refers to its words (invariant 4).
    more: OnceLock<Box<Bits>>,
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
        if self.ready.word(self.at / 64).fetch_or(bit, Ordering::Release) == 0 {
            self.ready.tell();
        }
    }
}

impl Ready {
    /// For `slots` slots to begin with, with the parent awake.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let bits = Bits::new(slots.div_ceil(64).max(1));
        Self { bits, told: AtomicBool::new(true), parent: Mutex::new(None) }
    }

    /// A waker that marks the slot `at`, and room for that mark.
    #[must_use]
    pub fn waker(this: &Arc<Self>, at: usize) -> Waker {
        this.word(at / 64);
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
        self.word(word).swap(0, Ordering::Acquire)
    }

    /// The parent is about to return `Pending`, with `waker` to be woken by: at
    /// once if it wants to go on, or if a bit of the first `words` words was
    /// set meanwhile.
    pub fn asleep(&self, waker: &Waker, words: usize, go_on: bool) {
        // Cloned, and dropped, unlocked: that is foreign code.
        let waker = waker.clone();
        let before = self.parent.lock().replace(waker);
        let _ = guard::dropped(before);
        // ORDERING: Acquire pairs with the Release in `tell`: the bits of those
        // who found the parent awake are seen below (invariant 1).
        self.told.swap(false, Ordering::Acquire);
        // ORDERING: Relaxed: the swap has ordered it.
        let set = |word: &AtomicU64| word.load(Ordering::Relaxed) != 0;
        if go_on || self.bits.all().take(words).any(set) {
            self.tell();
        }
    }

    fn word(&self, word: usize) -> &AtomicU64 {
        let (mut bits, mut at) = (&self.bits, word);
        while at >= bits.words.len() {
            at -= bits.words.len();
            bits = bits.more.get_or_init(|| Box::new(Bits::new(2 * bits.words.len())));
        }
        &bits.words[at]
    }

    fn tell(&self) {
        // ORDERING: Release pairs with the Acquire in `asleep`: the bit was set
        // before. If this finds `false` the mutex orders the rest
        // (invariant 3).
        if !self.told.swap(true, Ordering::Release) {
            let parent = self.parent.lock().take();
            parent.into_iter().for_each(guard::wake);
        }
    }
}

impl Bits {
    fn new(words: usize) -> Self {
        let words = (0..words).map(|_| AtomicU64::new(0)).collect();
        Self { words, more: OnceLock::new() }
    }

    fn all(&self) -> impl Iterator<Item = &AtomicU64> {
        successors(Some(self), |bits| bits.more.get().map(Box::as_ref)).flat_map(|bits| &bits.words)
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").finish_non_exhaustive()
    }
}
