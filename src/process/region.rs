//! The memory that a parent shares with one worker: two slots, each with a
//! progress word, room for arguments and room for results.
//!
//! A slot belongs to one batch at a time. The parent writes the arguments and
//! arms the word before it tells the worker; the worker writes results, each
//! before the word says that it is finished. What a worker leaves when it dies
//! is therefore a whole number of results, and can be read.
//!
//! The parent trusts nothing it reads here: it copies results out before it
//! looks at them, and the file is sealed against shrinking, which would make
//! the copying fault.

#![allow(unsafe_code, reason = "maps shared memory")]

use super::progress::{Loans, Word};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Slots, and batches that a worker may hold.
pub(super) const SLOTS: usize = 2;

/// Bytes for arguments, and as many for results, in each slot.
pub(super) const AREA: usize = 256 << 10;

const PAGE: usize = 4096;
const TOTAL: usize = PAGE + SLOTS * 2 * AREA;

/// What both look at while a batch runs.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Header {
    pub(super) word: Word,
    /// When the running task started, if deadlines are kept.
    pub(super) since: AtomicU64,
    /// Bytes of finished results.
    pub(super) results: AtomicU64,
    /// Not 0: the worker is ending because it has no memory. In the first
    /// slot's header only.
    pub(super) out_of_memory: AtomicU32,
    /// Which of the worker's sheets the parent has still to read, a bit each.
    /// In the first slot's header only.
    pub(super) lent: Loans,
}

/// A mapping of the shared memory.
#[derive(Debug)]
pub(super) struct Region {
    start: NonNull<u8>,
}

// SAFETY: the mapping belongs to the process and not to a thread; what is
// shared mutably through it is atomic, or handed over by the protocol.
unsafe impl Send for Region {}
// SAFETY: as above; methods that touch plain bytes take `&mut self` in the
// parent, and the worker uses its mapping from one thread.
unsafe impl Sync for Region {}

impl Region {
    /// Memory for a new worker, and the file to send it.
    pub(super) fn create() -> io::Result<(Self, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("selvedge-pool", flags)?;
        rustix::fs::ftruncate(&file, TOTAL as u64)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let region = Self::map(file.as_fd())?;
        Ok((region, file))
    }

    /// Maps what the other side created.
    pub(super) fn map(file: impl AsFd) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let start = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), TOTAL, protection, MapFlags::SHARED, file, 0)?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start })
    }

    pub(super) fn header(&self, slot: usize) -> &Header {
        assert!(slot < SLOTS);
        // SAFETY: headers lie in the first page, which is mapped for as long
        // as `self` lives, aligned, zeroed by the kernel at first, and made of
        // atomics alone.
        unsafe { self.start.cast::<Header>().add(slot).as_ref() }
    }

    fn area(&self, slot: usize, results: bool) -> NonNull<u8> {
        assert!(slot < SLOTS);
        let at = PAGE + (slot * 2 + usize::from(results)) * AREA;
        // SAFETY: inside the mapping.
        unsafe { self.start.add(at) }
    }

    /// Parent: writes arguments of a slot that no batch holds.
    pub(super) fn write_arguments(&mut self, slot: usize, at: usize, bytes: &[u8]) {
        assert!(at <= AREA && bytes.len() <= AREA - at);
        let to = self.area(slot, false);
        // SAFETY: inside the mapping by the assert; the worker does not read
        // the slot before it is told to, which happens after this.
        unsafe { to.add(at).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) }
    }

    /// Parent: a copy of the results that the worker says are finished.
    pub(super) fn copy_results(&self, slot: usize) -> Vec<u8> {
        // ORDERING: the caller has read the word with Acquire, so every result
        // it counts lies before this length.
        let length = self.header(slot).results.load(Ordering::Relaxed).min(AREA as u64) as usize;
        let mut copy = Vec::with_capacity(length);
        // SAFETY: inside the mapping; a worker in good order does not write
        // below `length`, and one that is not can only spoil bytes, which are
        // checked after the copy.
        unsafe {
            self.area(slot, true)
                .copy_to_nonoverlapping(NonNull::new_unchecked(copy.as_mut_ptr()), length);
            copy.set_len(length);
        }
        copy
    }

    /// Worker: the arguments and the room for results of a slot.
    ///
    /// # Safety
    ///
    /// The parent has said that the slot holds a batch, the worker has not yet
    /// said that it is done, and there is no other borrow from this call.
    #[allow(clippy::mut_from_ref, reason = "memory that another process hands over")]
    pub(super) unsafe fn open(&self, slot: usize) -> (&[u8], &mut [u8]) {
        // SAFETY: inside the mapping, and nobody else's by the promise.
        unsafe {
            (
                std::slice::from_raw_parts(self.area(slot, false).as_ptr(), AREA),
                std::slice::from_raw_parts_mut(self.area(slot, true).as_ptr(), AREA),
            )
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by us with this length; no borrow outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), TOTAL) };
    }
}
