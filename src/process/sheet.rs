//! Memory for one large payload, which its writer fills and its reader maps.
//!
//! Fresh memory costs several times what copying into it does: pages are found,
//! cleared, and given back one by one. Sheets are therefore kept for the next
//! payload. Their writer alone can write to them: the file is sealed once it
//! has its one writable mapping, so a reader that keeps it can do no harm.
//!
//! A reader of what a worker wrote trusts nothing: it checks the seal that
//! keeps the file from shrinking under the mapping, and copies before it
//! looks.

#![allow(unsafe_code, reason = "maps shared memory")]

use super::codec::{self, Portable, Unencoded};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of sheets that a pool keeps for arguments.
const KEPT: usize = 128 << 20;

const LARGE_PAGE: usize = 2 << 20;

/// A file as memory.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process and not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: bytes are reached through `Sheet::bytes`, which takes `&mut`, and
// `read`, whose mapping is its own.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: BorrowedFd<'_>, len: usize, protection: ProtFlags) -> io::Result<Self> {
        let start = std::ptr::null_mut();
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let start = unsafe { rustix::mm::mmap(start, len, protection, MapFlags::SHARED, file, 0)? };
        prefer_large_pages(start.cast(), len);
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by us with this length; no borrow outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Advice only: faulting memory in page by page takes longer than filling it.
fn prefer_large_pages(start: *mut u8, len: usize) {
    let end = start as usize + len;
    let start = (start as usize).next_multiple_of(LARGE_PAGE);
    let len = end.saturating_sub(start) / LARGE_PAGE * LARGE_PAGE;
    if len > 0 {
        let start = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: advice on whole pages inside memory of ours; it changes no
        // contents.
        let _ = unsafe { rustix::mm::madvise(start, len, Advice::LinuxHugepage) };
    }
}

/// Memory to fill and to send.
#[derive(Debug)]
pub(super) struct Sheet {
    file: OwnedFd,
    map: Mapping,
}

impl Sheet {
    /// Room for at least so many bytes.
    pub(super) fn new(room: usize) -> io::Result<Self> {
        let unit = if room < LARGE_PAGE { 64 << 10 } else { LARGE_PAGE };
        let len = room.max(1).checked_next_multiple_of(unit).ok_or(io::ErrorKind::OutOfMemory)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("selvedge-payload", flags)?;
        rustix::fs::ftruncate(&file, len as u64)?;
        let map = Mapping::new(file.as_fd(), len, ProtFlags::READ | ProtFlags::WRITE)?;
        rustix::fs::fcntl_add_seals(
            &file,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL,
        )?;
        Ok(Self { file, map })
    }

    pub(super) fn room(&self) -> usize {
        self.map.len
    }

    /// What to send.
    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: mapped for as long as `self` lives; this process maps it
        // once for writing, readers look when the protocol says so, and the
        // borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.map.start.as_ptr(), self.map.len) }
    }

    /// Writes `value` to its start, in the `len` bytes that it was measured
    /// to take.
    pub(super) fn encode<T: Portable>(&mut self, value: &T, len: usize) -> Result<(), Unencoded> {
        match codec::encode_to_slice(value, &mut self.bytes()[..len]) {
            Ok(taken) if taken == len => Ok(()),
            Ok(_) | Err(Unencoded::NoRoom) => {
                Err(Unencoded::Refused("it serializes differently each time".to_owned()))
            }
            Err(refused) => Err(refused),
        }
    }
}

/// What a worker makes of the first `len` bytes that its parent wrote.
pub(super) fn read<T: Portable>(file: &OwnedFd, len: u64) -> Result<T, String> {
    let map = open(file, len).map_err(|error| error.to_string())?;
    // SAFETY: the parent does not write before the task has ended.
    let bytes = unsafe { std::slice::from_raw_parts(map.start.as_ptr(), map.len) };
    if codec::is_bytes::<T>() {
        return copy(bytes.as_ptr(), map.len)
            .map_err(|error| error.to_string())
            .and_then(codec::from_vec);
    }
    codec::decode(bytes)
}

/// A copy of the first `len` bytes that a worker wrote.
pub(super) fn read_untrusted(file: &OwnedFd, len: u64) -> io::Result<Vec<u8>> {
    if !rustix::fs::fcntl_get_seals(file)?.contains(SealFlags::SHRINK) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a payload that may shrink"));
    }
    let map = open(file, len)?;
    copy(map.start.as_ptr(), map.len)
}

fn open(file: &OwnedFd, len: u64) -> io::Result<Mapping> {
    let size = rustix::fs::fstat(file)?.st_size;
    if len == 0 || u64::try_from(size).is_ok_and(|size| size < len) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a payload of another length"));
    }
    let len = usize::try_from(len).map_err(io::Error::other)?;
    Mapping::new(file.as_fd(), len, ProtFlags::READ)
}

/// Copies what the other side may be writing to: then the copy is spoilt.
fn copy(from: *const u8, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes: Vec<u8> = Vec::new();
    bytes.try_reserve_exact(len).map_err(io::Error::other)?;
    prefer_large_pages(bytes.as_mut_ptr(), bytes.capacity());
    // SAFETY: `len` bytes are mapped at `from` and reserved in `bytes`.
    unsafe {
        bytes.as_mut_ptr().copy_from_nonoverlapping(from, len);
        bytes.set_len(len);
    }
    Ok(bytes)
}

/// Sheets between two payloads of a pool.
#[derive(Debug, Default)]
pub(super) struct Stock(Mutex<Vec<Sheet>>);

impl Stock {
    /// The smallest sheet with so much room, or a new one.
    fn take(&self, room: usize) -> io::Result<Sheet> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits =
            (0..kept.len()).filter(|at| kept[*at].room() >= room).min_by_key(|at| kept[*at].room());
        match fits {
            Some(at) => Ok(kept.swap_remove(at)),
            None => {
                drop(kept);
                Sheet::new(room)
            }
        }
    }

    fn give_back(&self, sheet: Sheet) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full: usize = kept.iter().map(Sheet::room).sum();
        if full + sheet.room() <= KEPT {
            kept.push(sheet);
        }
    }

    /// An encoded value, on a sheet that comes back.
    pub(super) fn encode<T: Portable>(self: &Arc<Self>, value: &T) -> Result<Lent, Unencoded> {
        let failed = |error: io::Error| Unencoded::Refused(error.to_string());
        let len = codec::encoded_len(value)?;
        let mut sheet = self.take(len).map_err(failed)?;
        let encoded = sheet.encode(value, len);
        let lent = Lent { sheet: Some(sheet), len, stock: Arc::clone(self) };
        encoded.map(|()| lent)
    }
}

/// A payload on a sheet, which goes back to its stock once this is dropped: no
/// worker reads it then.
#[derive(Debug)]
pub(super) struct Lent {
    sheet: Option<Sheet>,
    len: usize,
    stock: Arc<Stock>,
}

impl Lent {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn file(&self) -> Option<BorrowedFd<'_>> {
        self.sheet.as_ref().map(Sheet::file)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(sheet) = self.sheet.take() {
            self.stock.give_back(sheet);
        }
    }
}
