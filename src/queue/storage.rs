//! Where the items lie: blocks of slots, walked by two cursors.
//!
//! A small bounded queue is one block whose successor is itself (a ring). An
//! unbounded or very large one is a chain: the writer appends a block when it
//! fills one, the reader frees a block when it has emptied it.
//!
//! # Invariants
//!
//! 1. Slots are written and read in the same order, by one writer at a time
//!    and one reader at a time (the ends' mutexes).
//! 2. The reader reads a slot only after the write was published to it, and
//!    the writer rewrites a slot only after the read was published to it (the
//!    positions in `Core`).
//! 3. In a chain the writer has linked and moved to the next block *before* the
//!    last slot of a block is published. A reader that has read that slot is
//!    therefore the only one left in the block, and may free it.
#![allow(unsafe_code, reason = "slots are uninitialised memory handed from end to end")]

use crate::swap;
use crate::swap::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

/// Slots in a block of a chain: about a page, and few under a checker so that
/// block changes are in its reach.
const fn chain_block_len<T>() -> usize {
    if swap::MODELLED {
        return 2;
    }
    let size = if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
    match 4096 / size {
        0..16 => 16,
        fit @ 16..=256 => fit,
        _ => 256,
    }
}

/// Bounded queues up to this many bytes or slots are one ring, made at once.
const RING_LIMIT: usize = 1 << 20;

struct Block<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Written once by the writer, read by the reader after it has read the
    /// last slot.
    next: UnsafeCell<*mut Block<T>>,
    /// Whether `next` is this block.
    ring: bool,
}

impl<T> Block<T> {
    fn allocate(len: usize, ring: bool) -> NonNull<Self> {
        let slots = (0..len).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
        let next = UnsafeCell::new(std::ptr::null_mut());
        NonNull::from(Box::leak(Box::new(Self { slots, next, ring })))
    }
}

/// One end's place in the storage.
#[derive(Debug)]
pub(super) struct Cursor<T> {
    block: NonNull<Block<T>>,
    slot: usize,
}

// SAFETY: a cursor hands over values of `T` from thread to thread and shares
// nothing else; who may use it when is invariant 1.
unsafe impl<T: Send> Send for Cursor<T> {}

/// New storage: the writer's and the reader's cursor, at the same slot.
pub(super) fn allocate<T>(capacity: Option<NonZeroUsize>) -> (Cursor<T>, Cursor<T>) {
    let ring = capacity.filter(|n| n.get().saturating_mul(size_of::<T>().max(1)) <= RING_LIMIT);
    let len = ring.map_or(const { chain_block_len::<T>() }, NonZeroUsize::get);
    let block = Block::allocate(len, ring.is_some());
    (Cursor { block, slot: 0 }, Cursor { block, slot: 0 })
}

impl<T> Cursor<T> {
    /// Writes the next slot and moves past it.
    ///
    /// # Safety
    ///
    /// `self` is the writer's cursor, held exclusively, and the slot is free
    /// (invariants 1 and 2). Both cursors' storage is alive.
    #[inline]
    pub(super) unsafe fn write(&mut self, value: T) {
        // SAFETY: the writer's block is alive: the reader frees a block only
        // after the writer has left it (invariant 3).
        let block = unsafe { self.block.as_ref() };
        block.slots[self.slot].with_mut(|slot| {
            // SAFETY: the slot is free and ours (caller).
            unsafe { (*slot).write(value) };
        });
        self.slot += 1;
        if self.slot == block.slots.len() {
            self.slot = 0;
            if !block.ring {
                let next = Block::allocate(block.slots.len(), false);
                // SAFETY: the reader looks at `next` only after the slot just
                // written is published, which the caller has yet to do.
                block.next.with_mut(|link| unsafe { *link = next.as_ptr() });
                self.block = next;
            }
        }
    }

    /// Takes the value out of the next slot and moves past it.
    ///
    /// # Safety
    ///
    /// `self` is the reader's cursor, held exclusively, and the slot was
    /// written and published to this thread (invariants 1 and 2).
    #[inline]
    pub(super) unsafe fn read(&mut self) -> T {
        // SAFETY: only the reader frees blocks, and it is in this one.
        let block = unsafe { self.block.as_ref() };
        let value = block.slots[self.slot].with(|slot| {
            // SAFETY: the slot was written (caller), and moving past it below
            // makes sure that it is read once.
            unsafe { (*slot).assume_init_read() }
        });
        self.slot += 1;
        if self.slot == block.slots.len() {
            self.slot = 0;
            if !block.ring {
                // SAFETY: linked before the slot just read was published.
                let next = block.next.with(|link| unsafe { *link });
                let emptied = self.block;
                self.block = NonNull::new(next).expect("a full block has a successor");
                // SAFETY: made by `Box::leak`; nobody else is in it
                // (invariant 3).
                drop(unsafe { Box::from_raw(emptied.as_ptr()) });
            }
        }
        value
    }

    /// Frees the block that both cursors are in.
    ///
    /// # Safety
    ///
    /// `self` is the reader's cursor, everything that was written was read,
    /// and neither cursor is used again.
    pub(super) unsafe fn free(&mut self) {
        // SAFETY: all is read, so both cursors are in this one block.
        drop(unsafe { Box::from_raw(self.block.as_ptr()) });
    }
}
