//! A thread's writers, and the way to them: see [`striped`](super::striped)
//! for the invariants.

#![allow(unsafe_code, reason = "the table is looked at in place, and short cuts are pointers")]

use super::striped::Writer;
use super::stripes::{Core, Padded};
use crate::swap::cell::UnsafeCell;
use crate::swap::{Arc, local_key};
use std::cell::Cell;
use std::ptr::{self, NonNull};

/// A thread's writers, each at its counter's index.
pub(super) struct Table(UnsafeCell<Vec<Option<Writer>>>);

/// How many of a thread's stripes have a short cut.
const SHORT_CUTS: usize = 64;

/// The way to a stripe without the table, at the counter's index modulo
/// [`SHORT_CUTS`] (invariant 6).
pub(super) struct ShortCut {
    core: Cell<*const Core>,
    stripe: Cell<*const Padded>,
}

local_key! {
    pub(super) static TABLE: Table = Table(UnsafeCell::new(Vec::new()))
}

// A key of its own: since nothing is to be dropped with it, std reaches it
// without asking whether it still exists.
local_key! {
    static SHORT: [ShortCut; SHORT_CUTS] = [const { ShortCut::none() }; SHORT_CUTS]
}

impl Table {
    /// Adds `n` through the writer of the counter with this core, if it has a
    /// writer here, and renews its short cut.
    pub(super) fn add(&self, index: usize, core: &Arc<Core>, n: u64) -> bool {
        self.0.with(|writers| {
            // SAFETY: the table is one thread's. What runs while the reference
            // lives allocates and calls nothing that could come back to
            // `swap`: a look-up, an add, at most a settlement.
            match unsafe { &*writers }.get(index) {
                Some(Some(writer)) if Arc::ptr_eq(&writer.core, core) => {
                    writer.inc_by(n);
                    ShortCut::set(index, core, writer.stripe);
                    true
                }
                _ => false,
            }
        })
    }

    pub(super) fn swap(&self, with: Vec<Option<Writer>>) -> Vec<Option<Writer>> {
        // SAFETY: the table is one thread's, and nothing else runs meanwhile.
        self.0.with_mut(|writers| std::mem::replace(unsafe { &mut *writers }, with))
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        ShortCut::remove_all();
    }
}

impl ShortCut {
    const fn none() -> Self {
        Self { core: Cell::new(ptr::null()), stripe: Cell::new(ptr::null()) }
    }

    /// Adds `n` to the stripe of the counter with this core, if there is a
    /// short cut to it and the stripe does not overflow.
    #[inline]
    pub(super) fn add(index: usize, core: &Core, n: u64) -> bool {
        let added = SHORT.try_with(|short| {
            let short = &short[index % SHORT_CUTS];
            if !ptr::eq(short.core.get(), core) {
                return false;
            }
            // SAFETY: invariant 6, with which invariant 5 covers the stripe.
            let stripe = unsafe { &*short.stripe.get() };
            stripe.add(n).is_ok()
        });
        matches!(added, Ok(true))
    }

    pub(super) fn set(index: usize, core: &Arc<Core>, stripe: NonNull<Padded>) {
        let _ = SHORT.try_with(|short| {
            let short = &short[index % SHORT_CUTS];
            short.core.set(Arc::as_ptr(core));
            short.stripe.set(stripe.as_ptr());
        });
    }

    pub(super) fn remove_all() {
        let _ = SHORT.try_with(|short| short.iter().for_each(|short| short.core.set(ptr::null())));
    }
}
