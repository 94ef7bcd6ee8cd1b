//! How the same executable becomes a worker without a line in its `main`.
//!
//! The loader calls the functions in `.init_array` before `main`. Ours looks
//! for a variable in the environment. If it is there this process is a worker
//! and the call never returns: whatever happens, the program's own `main` does
//! not run, so a worker cannot start workers by running the program again.

#![allow(unsafe_code, reason = "runs before main")]

use std::sync::atomic::{AtomicBool, Ordering};

/// Set for workers, and taken away by them before anything else runs, so that
/// programs started by a task do not take themselves for workers.
pub(super) const VARIABLE: &str = "SELVEDGE_WORKER";

static INSIDE: AtomicBool = AtomicBool::new(false);

/// Whether this process is a worker.
pub(super) fn is_worker() -> bool {
    INSIDE.load(Ordering::Relaxed)
}

// SAFETY: a function without arguments may stand in this section: the loader
// passes three, which the C calling convention lets it ignore.
#[used]
#[unsafe(link_section = ".init_array")]
static HOOK: extern "C" fn() = hook;

/// Whoever starts workers calls this, so that the linker keeps the hook.
pub(super) fn keep() {
    // SAFETY: reads a static.
    std::hint::black_box(unsafe { std::ptr::read_volatile(&raw const HOOK) });
}

extern "C" fn hook() {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    // SAFETY: before `main` there is only this thread.
    unsafe { std::env::remove_var(VARIABLE) };
    INSIDE.store(true, Ordering::Relaxed);
    let code = std::panic::catch_unwind(super::worker::main).unwrap_or(super::worker::LOST);
    std::process::exit(code);
}
