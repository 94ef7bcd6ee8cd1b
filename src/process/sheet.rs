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
use super::line::Identity;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of sheets that a pool keeps for arguments.
const KEPT: usize = 128 << 20;

/// Bytes of the largest sheet that is kept.
pub(super) const LARGEST_KEPT: usize = 64 << 20;

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
    identity: Option<Identity>,
    map: Mapping,
    serial: u64,
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
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let identity = Identity::of(file.as_fd());
        Ok(Self { file, identity, map, serial: SERIAL.fetch_add(1, Ordering::Relaxed) })
    }

    pub(super) fn room(&self) -> usize {
        self.map.len
    }

    /// Of this process's sheets, or `None` if nobody need remember it.
    pub(super) fn serial(&self) -> Option<u64> {
        Some(self.serial).filter(|_| self.room() <= LARGEST_KEPT)
    }

    /// What to send.
    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Whether nobody has closed the file, or put another in its place.
    pub(super) fn is_ours(&self) -> bool {
        self.identity.is_some() && Identity::of(self.file()) == self.identity
    }

    /// Writes bytes to its start, which has the room.
    pub(super) fn fill(&mut self, bytes: &[u8]) {
        self.bytes()[..bytes.len()].copy_from_slice(bytes);
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

/// Where a payload lies, apart from its file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) len: u64,
    /// The sheet's number, if it will come again.
    pub(super) serial: Option<u64>,
}

/// A reader's mappings of the sheets it saw last: mapping one again takes as
/// long as reading it.
#[derive(Debug, Default)]
pub(super) struct Reader([Option<(u64, Mapping)>; 2]);

impl Reader {
    /// What a worker makes of what its parent wrote.
    pub(super) fn read<T: Portable>(&mut self, file: &OwnedFd, place: Place) -> Result<T, String> {
        let map = self.open(file, place).map_err(|error| error.to_string())?;
        if codec::is_bytes::<T>() {
            let bytes = copy(map.start.as_ptr(), place.len as usize);
            return bytes.map_err(|error| error.to_string()).and_then(codec::from_vec);
        }
        // SAFETY: `open` has seen that so many bytes are there, and the parent
        // does not write before the task has ended.
        codec::decode(unsafe { std::slice::from_raw_parts(map.start.as_ptr(), place.len as usize) })
    }

    /// A copy of what a worker wrote.
    pub(super) fn copy(&mut self, file: &OwnedFd, place: Place) -> io::Result<Vec<u8>> {
        if !rustix::fs::fcntl_get_seals(file)?.contains(SealFlags::SHRINK) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a payload that may shrink"));
        }
        let map = self.open(file, place)?;
        copy(map.start.as_ptr(), place.len as usize)
    }

    /// At least `place.len` bytes, mapped.
    fn open(&mut self, file: &OwnedFd, Place { len, serial }: Place) -> io::Result<Opened<'_>> {
        let kept = &mut self.0[serial.map_or(0, |serial| serial as usize % 2)];
        let known = serial.filter(|serial| {
            kept.as_ref().is_some_and(|(other, map)| other == serial && map.len as u64 >= len)
        });
        if known.is_none() {
            let size = u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0);
            if len == 0 || size < len {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "of another length"));
            }
            let keeps = serial.filter(|_| size <= LARGEST_KEPT as u64);
            let wanted = if keeps.is_some() { size } else { len };
            let wanted = usize::try_from(wanted).map_err(io::Error::other)?;
            let map = Mapping::new(file.as_fd(), wanted, ProtFlags::READ)?;
            match keeps {
                Some(serial) => *kept = Some((serial, map)),
                None => return Ok(Opened::Once(map)),
            }
        }
        kept.as_ref().map(|(_, map)| Opened::Kept(map)).ok_or(io::ErrorKind::NotFound.into())
    }
}

enum Opened<'r> {
    Kept(&'r Mapping),
    Once(Mapping),
}

impl std::ops::Deref for Opened<'_> {
    type Target = Mapping;
    fn deref(&self) -> &Mapping {
        match self {
            Self::Kept(map) => map,
            Self::Once(map) => map,
        }
    }
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
        if sheet.room() <= LARGEST_KEPT && full + sheet.room() <= KEPT {
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

    pub(super) fn place(&self) -> Place {
        let serial = self.sheet.as_ref().and_then(Sheet::serial);
        Place { len: self.len as u64, serial }
    }

    pub(super) fn sheet(&self) -> Option<&Sheet> {
        self.sheet.as_ref()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(sheet) = self.sheet.take() {
            self.stock.give_back(sheet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(bytes: &[u8]) -> (Sheet, OwnedFd, Place) {
        let mut sheet = Sheet::new(bytes.len()).unwrap();
        sheet.bytes()[..bytes.len()].copy_from_slice(bytes);
        let file = sheet.file().try_clone_to_owned().unwrap();
        let place = Place { len: bytes.len() as u64, serial: sheet.serial() };
        (sheet, file, place)
    }

    #[test]
    fn a_reader_sees_what_was_written_last() {
        let mut reader = Reader::default();
        let (mut sheet, file, place) = sheet(&[1; 100_000]);
        assert_eq!(reader.copy(&file, place).unwrap(), [1; 100_000]);
        // The same sheet with more on it: the mapping is of all of it.
        sheet.bytes()[..120_000].fill(2);
        assert_eq!(reader.copy(&file, Place { len: 120_000, ..place }).unwrap(), [2; 120_000]);
        assert_eq!(reader.read::<Vec<u8>>(&file, place).unwrap(), [2; 100_000]);
        let once = Place { len: 3, serial: None };
        assert_eq!(reader.copy(&file, once).unwrap(), [2; 3]);
        let numbers: Vec<u32> = (0..30_000).collect();
        let len = codec::encoded_len(&numbers).unwrap();
        sheet.encode(&numbers, len).unwrap();
        let place = Place { len: len as u64, ..place };
        assert_eq!(reader.read::<Vec<u32>>(&file, place).unwrap(), numbers);
    }

    /// Whoever keeps a sheet's file can write to it in no way.
    #[test]
    fn only_its_writer_writes() {
        let (_sheet, file, place) = sheet(&[1; 10]);
        assert!(rustix::io::pwrite(&file, &[9], 0).is_err());
        let both = ProtFlags::READ | ProtFlags::WRITE;
        assert!(Mapping::new(file.as_fd(), 10, both).is_err());
        assert!(rustix::fs::ftruncate(&file, 0).is_err());
        assert_eq!(Reader::default().copy(&file, place).unwrap(), [1; 10]);
    }

    /// A worker may say anything of what it sent.
    #[test]
    fn lies_about_a_payload_are_errors() {
        let (sheet, file, place) = sheet(&[1; 10]);
        let mut reader = Reader::default();
        for len in [0, sheet.room() as u64 + 1, u64::MAX] {
            assert!(reader.copy(&file, Place { len, serial: None }).is_err());
            assert!(reader.copy(&file, Place { len, ..place }).is_err());
        }
        let may_shrink = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&may_shrink, 4096).unwrap();
        assert!(reader.copy(&may_shrink, Place { len: 10, serial: None }).is_err());
        // A serial number that was another sheet's: at worst its own bytes.
        assert_eq!(reader.copy(&file, place).unwrap(), [1; 10]);
    }

    #[test]
    fn a_stock_keeps_sheets_and_not_too_many() {
        let stock = Arc::new(Stock::default());
        let payload = vec![7_u8; 3 << 20];
        let first = stock.encode(&payload).unwrap().place().serial;
        assert_eq!(stock.encode(&payload).unwrap().place().serial, first);
        let both = [stock.encode(&payload).unwrap(), stock.encode(&payload).unwrap()];
        assert_ne!(both[0].place().serial, both[1].place().serial);
        drop(both);
        assert_eq!(stock.0.lock().unwrap().len(), 2);
        for _ in 0..KEPT / LARGEST_KEPT + 1 {
            stock.give_back(Sheet::new(LARGEST_KEPT).unwrap());
        }
        stock.give_back(Sheet::new(LARGEST_KEPT + 1).unwrap());
        let kept: usize = stock.0.lock().unwrap().iter().map(Sheet::room).sum();
        assert!(kept <= KEPT, "{kept}");
    }
}
