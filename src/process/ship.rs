//! How a function crosses to a worker.
//!
//! # Algorithm
//!
//! Parent and worker run the same executable, loaded at different addresses.
//! A function crosses as its distance from a `static` of this crate (a
//! function as the fixed point would have a second copy in the caller's crate
//! in release builds). What crosses is not the caller's closure but a lane: a
//! function made for the closure's type, which takes arguments from the batch,
//! makes the closure out of nothing (it has no size), and writes the results.
//!
//! # Invariants
//!
//! 1. Both sides compare [`identity`] before any distance is used.
//! 2. A distance is made, and used, only if it points into executable memory
//!    of the main program: a function of a dynamic library is refused.
//! 3. Only `Copy` closures of no size cross. The value that the caller passed
//!    shows that the type has one.

#![allow(unsafe_code, reason = "turns a distance into a function, and nothing into a closure")]

use super::codec::Portable;
use super::error::NotShippable;
use super::lane::Lane;
use std::ffi::{c_int, c_void};
use std::hash::{DefaultHasher, Hasher};
use std::marker::PhantomData;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::ptr::NonNull;
use std::sync::OnceLock;

/// What all distances are measured from.
static ANCHOR: u8 = 0;

/// Runs tasks of one function in the worker.
pub(crate) type Entry = fn(&mut Lane<'_, '_>);

/// A function that can be called in a worker, and its types.
pub(crate) struct Job<A, R> {
    pub(crate) entry: u64,
    types: PhantomData<fn(A) -> R>,
}

impl<A, R> Job<A, R> {
    /// Of an entry that takes and gives these types.
    pub(super) fn of(entry: u64) -> Self {
        Self { entry, types: PhantomData }
    }
}

impl<A, R> Clone for Job<A, R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<A, R> Copy for Job<A, R> {}

/// Refuses closures that have captured something.
struct NoCapture<F>(PhantomData<F>);

impl<F> NoCapture<F> {
    const CHECKED: () = assert!(
        size_of::<F>() == 0,
        "this function cannot cross to a worker process, because it holds values: a closure that \
         captures variables, or a function pointer. Pass what it needs with each item (for \
         instance as a tuple), or once for each worker as the pool's context \
         (`Builder::context`, then `map_with`); name functions directly instead of by pointer"
    );
}

/// A closure of a type that has no size, out of nothing.
///
/// # Safety
///
/// A value of this type exists or existed, in this or another process of the
/// same executable.
unsafe fn conjure<F: Copy>() -> F {
    const { NoCapture::<F>::CHECKED };
    // SAFETY: reads no bytes; by the caller's promise the type is inhabited,
    // and `Copy` says that one more value does no harm.
    unsafe { NonNull::<F>::dangling().as_ptr().read() }
}

/// A job of a function of the item alone.
pub(crate) fn plain<F, A, R>(_: F) -> Result<Job<A, R>, NotShippable>
where
    F: Fn(A) -> R + Copy + Send + 'static,
    A: Portable,
    R: Portable,
{
    const { NoCapture::<F>::CHECKED };
    job(plain_lane::<F, A, R>)
}

fn plain_lane<F: Fn(A) -> R + Copy, A: Portable, R: Portable>(lane: &mut Lane<'_, '_>) {
    // SAFETY: the parent had one: `plain` or `signed` took it.
    let f = unsafe { conjure::<F>() };
    lane.run_all(f);
}

/// What stands in the program where a function is named for other machines.
#[repr(C)]
struct Sign {
    mark: [u64; 2],
    entry: Entry,
}

/// By chance it stands nowhere else.
const MARK: [u64; 2] = [0x9d1c_6f0e_52b7_a843, 0x3e85_b4d2_c07f_6a19];

struct Signed<F, A, R>(PhantomData<(F, A, R)>);

impl<F: Fn(A) -> R + Copy, A: Portable, R: Portable> Signed<F, A, R> {
    const SIGN: &'static Sign = &Sign { mark: MARK, entry: plain_lane::<F, A, R> };
}

/// A job as [`plain`] makes it, and the distance of its sign.
pub(crate) fn signed<F, A, R>(f: F) -> Result<(u64, Job<A, R>), NotShippable>
where
    F: Fn(A) -> R + Copy + Send + 'static,
    A: Portable,
    R: Portable,
{
    let job = plain(f)?;
    let sign = std::ptr::from_ref(Signed::<F, A, R>::SIGN) as usize;
    Ok((sign.wrapping_sub(anchor()) as u64, job))
}

/// The function whose sign is at this distance, if there is one.
pub(crate) fn find_signed(distance: u64) -> Option<u64> {
    let address = anchor().wrapping_add(distance as usize);
    let end = address.checked_add(size_of::<Sign>())?;
    let inside = |range: &Range<usize>| range.start <= address && end <= range.end;
    if !address.is_multiple_of(align_of::<Sign>()) || !program().readable.iter().any(inside) {
        return None;
    }
    // SAFETY: all of it lies in readable memory of the main program, aligned,
    // and integers may have any bytes. Volatile: others may write there.
    let [first, second, entry] = unsafe { (address as *const [u64; 3]).read_volatile() };
    let known = [first, second] == MARK && program().runs(entry as usize);
    known.then(|| (entry as usize).wrapping_sub(anchor()) as u64)
}

/// A job of a function of the pool's context and the item.
pub(crate) fn with_context<F, C, A, R>(_: F) -> Result<Job<A, R>, NotShippable>
where
    F: Fn(&C, A) -> R + Copy + Send + 'static,
    C: Send + Sync + 'static,
    A: Portable,
    R: Portable,
{
    const { NoCapture::<F>::CHECKED };
    fn lane<F, C, A, R>(lane: &mut Lane<'_, '_>)
    where
        F: Fn(&C, A) -> R + Copy,
        C: Send + Sync + 'static,
        A: Portable,
        R: Portable,
    {
        // SAFETY: the parent had one: `with_context` took it.
        let f = unsafe { conjure::<F>() };
        let context = Lane::context::<C>();
        lane.run_all(|item| f(context, item));
    }
    job(lane::<F, C, A, R>)
}

/// A function to call once in each worker, before its tasks.
pub(crate) fn initializer<F>(_: F) -> Result<u64, NotShippable>
where
    F: Fn() + Copy + Send + 'static,
{
    const { NoCapture::<F>::CHECKED };
    fn call<F: Fn() + Copy>(_: &mut Lane<'_, '_>) {
        // SAFETY: the parent had one: `initializer` took it.
        (unsafe { conjure::<F>() })();
    }
    distance(call::<F>)
}

/// The entry that reads a context of this type.
pub(crate) fn context_reader<C>() -> Result<u64, NotShippable>
where
    C: Portable + Send + Sync,
{
    fn read<C: Portable + Send + Sync>(lane: &mut Lane<'_, '_>) {
        lane.read_context::<C>();
    }
    distance(read::<C>)
}

fn job<A, R>(entry: Entry) -> Result<Job<A, R>, NotShippable> {
    Ok(Job { entry: distance(entry)?, types: PhantomData })
}

fn anchor() -> usize {
    &raw const ANCHOR as usize
}

/// Invariant 2, in the parent.
fn distance(entry: Entry) -> Result<u64, NotShippable> {
    let address = entry as *const () as usize;
    check_program()?;
    if !program().runs(address) {
        return Err(NotShippable::new("the function is not in the main program but in a library"));
    }
    Ok(address.wrapping_sub(anchor()) as u64)
}

/// Whether workers can be had at all: this crate must be part of the main
/// program, for its hook to run there.
pub(crate) fn check_program() -> Result<(), NotShippable> {
    if program().holds(anchor()) {
        return Ok(());
    }
    Err(NotShippable::new("selvedge itself is not in the main program but in a library"))
}

/// Invariant 2, in the worker, after invariant 1.
pub(crate) fn entry(distance: u64) -> Option<Entry> {
    let address = anchor().wrapping_add(distance as usize);
    // SAFETY: the parent made the distance from an `Entry` of the same
    // executable; it points into executable memory of the main program.
    program().runs(address).then(|| unsafe { std::mem::transmute::<usize, Entry>(address) })
}

/// Where the main program is in memory, and what it is.
#[derive(Default)]
struct Program {
    all: Vec<Range<usize>>,
    code: Vec<Range<usize>>,
    readable: Vec<Range<usize>>,
    identity: u64,
}

impl Program {
    fn holds(&self, address: usize) -> bool {
        self.all.iter().any(|range| range.contains(&address))
    }
    fn runs(&self, address: usize) -> bool {
        self.code.iter().any(|range| range.contains(&address))
    }
}

/// The same for two processes if they run the same executable: its layout, its
/// notes, and where this crate lies in it. The build id is among the notes; one
/// without is known by its file, whose times may change (`touch`) and whose
/// contents may not while it runs.
pub(crate) fn identity() -> u64 {
    program().identity
}

fn program() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut found = Found { program: None, hasher: DefaultHasher::new(), has_build_id: false };
        // SAFETY: `visit` gets the pointer to `found`, which outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut found).cast()) };
        let mut program = found.program.unwrap_or_default();
        if !found.has_build_id
            && let Ok(file) = std::fs::metadata("/proc/self/exe")
        {
            for part in [file.dev(), file.ino(), file.size()] {
                found.hasher.write_u64(part);
            }
        }
        program.identity = found.hasher.finish();
        program
    })
}

struct Found {
    program: Option<Program>,
    hasher: DefaultHasher,
    has_build_id: bool,
}

const NT_GNU_BUILD_ID: u32 = 3;

/// Whether there is a build id among these notes.
fn has_build_id(mut notes: &[u8]) -> bool {
    let word = |at: usize, notes: &[u8]| {
        notes.get(at..at + 4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))
    };
    while let (Some(name), Some(value), Some(kind)) =
        (word(0, notes), word(4, notes), word(8, notes))
    {
        let (name, value) = (name as usize, value as usize);
        if kind == NT_GNU_BUILD_ID && value > 0 && notes[12..].starts_with(b"GNU\0") {
            return true;
        }
        let next = 12 + name.next_multiple_of(4) + value.next_multiple_of(4);
        let Some(rest) = notes.get(next..) else { return false };
        notes = rest;
    }
    false
}

/// Looks at the first object, the main program, and stops.
unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
    // SAFETY: the loader passes a valid object, and `data` is our `Found`.
    let (info, found) = unsafe { (&*info, &mut *data.cast::<Found>()) };
    let base = info.dlpi_addr as usize;
    let mut program = Program::default();
    for at in 0..usize::from(info.dlpi_phnum) {
        // SAFETY: there are `dlpi_phnum` headers.
        let header = unsafe { &*info.dlpi_phdr.add(at) };
        let start = base.wrapping_add(header.p_vaddr as usize);
        let range = start..start.wrapping_add(header.p_memsz as usize);
        found.hasher.write_u32(header.p_type);
        found.hasher.write_usize(header.p_vaddr as usize);
        found.hasher.write_usize(header.p_memsz as usize);
        if header.p_type == libc::PT_NOTE {
            // SAFETY: a note segment of the main program is mapped and
            // readable for as long as the program runs.
            let note = unsafe { std::slice::from_raw_parts(start as *const u8, range.len()) };
            found.hasher.write(note);
            found.has_build_id |= has_build_id(note);
        }
        if header.p_type == libc::PT_LOAD {
            if header.p_flags & libc::PF_X != 0 {
                program.code.push(range.clone());
            }
            if header.p_flags & libc::PF_R != 0 {
                program.readable.push(range.clone());
            }
            program.all.push(range);
        }
    }
    found.hasher.write_usize(anchor().wrapping_sub(base));
    found.program = Some(program);
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anything(_: &mut Lane<'_, '_>) {}

    #[test]
    fn a_function_of_this_program_crosses() {
        let there = distance(anything).unwrap();
        assert!(entry(there).is_some_and(|back| std::ptr::fn_addr_eq(back, anything as Entry)));
    }

    /// A function of the C library stands for one of any other library.
    #[test]
    fn a_function_of_a_library_does_not() {
        // SAFETY: never called.
        let foreign =
            unsafe { std::mem::transmute::<usize, Entry>(libc::abs as *const () as usize) };
        let why = distance(foreign).unwrap_err().to_string();
        assert!(why.contains("in a library"), "{why}");
        let there = (libc::abs as *const () as usize).wrapping_sub(anchor()) as u64;
        assert!(entry(there).is_none(), "not taken from a parent either");
    }

    #[test]
    fn a_build_id_is_found_among_notes() {
        let note = |name: &[u8], kind: u32, value: &[u8]| {
            let lengths = [name.len() as u32, value.len() as u32, kind];
            let mut note: Vec<u8> = lengths.into_iter().flat_map(u32::to_ne_bytes).collect();
            for part in [name, value] {
                note.extend(part);
                note.resize(note.len().next_multiple_of(4), 0);
            }
            note
        };
        let id = note(b"GNU\0", 3, &[7; 20]);
        let abi = note(b"GNU\0", 1, &[0; 16]);
        let other = note(b"stapsdt\0", 3, &[1; 5]);
        assert!(has_build_id(&id));
        assert!(has_build_id(&[abi.clone(), other.clone(), id.clone()].concat()));
        assert!(!has_build_id(&[abi, other].concat()));
        assert!((0..12).all(|cut| !has_build_id(&id[..cut])), "cut off");
        assert!(!has_build_id(&note(b"GNU\0", 3, &[])), "empty");
        assert!(!has_build_id(&[0xff; 64]), "of any length");
    }

    #[test]
    fn what_is_no_code_is_no_function() {
        let on_the_stack = 0_u8;
        for address in [anchor(), &raw const on_the_stack as usize, 0, usize::MAX] {
            assert!(entry(address.wrapping_sub(anchor()) as u64).is_none(), "{address:#x}");
        }
    }
}
