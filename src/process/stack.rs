//! Whether the stack of this thread says that an allocation failed.

#![allow(unsafe_code, reason = "walks the stack")]

use std::ffi::{c_int, c_void};

type Trace = extern "C" fn(frame: *mut c_void, found: *mut c_void) -> c_int;

// The unwinder that std links, whatever a panic does. It reads tables and
// allocates nothing.
unsafe extern "C" {
    fn _Unwind_Backtrace(trace: Trace, found: *mut c_void) -> c_int;
    fn _Unwind_GetIP(frame: *mut c_void) -> usize;
    fn _Unwind_FindEnclosingFunction(address: *mut c_void) -> *mut c_void;
}

const GO_ON: c_int = 0;
const STOP: c_int = 5;

/// Whether [`handle_alloc_error`](std::alloc::handle_alloc_error) is running.
pub(super) fn an_allocation_failed() -> bool {
    let mut found = false;
    // SAFETY: `look` gets the pointer to `found`, which outlives the call.
    unsafe { _Unwind_Backtrace(look, (&raw mut found).cast()) };
    found
}

extern "C" fn look(frame: *mut c_void, found: *mut c_void) -> c_int {
    // SAFETY: the unwinder passes a frame, and `found` as it was given. A
    // return address may lie behind the last instruction of a function that
    // does not return, so what is looked up is the byte before.
    let function = unsafe {
        let before = _Unwind_GetIP(frame).wrapping_sub(1);
        _Unwind_FindEnclosingFunction(std::ptr::with_exposed_provenance_mut(before))
    };
    if function.addr() == std::alloc::handle_alloc_error as *const () as usize {
        // SAFETY: the caller's `found`.
        unsafe { *found.cast::<bool>() = true };
        return STOP;
    }
    GO_ON
}
