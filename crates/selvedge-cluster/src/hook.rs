//! How the same executable becomes a worker without a line in its `main`.
//!
//! As the process pool's workers do: a function in `.init_array` looks for a
//! variable in the environment. If it is there, this process is a worker, and
//! the call never returns.

#![allow(unsafe_code, reason = "runs before main")]

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};

/// The variable that makes a worker of a program.
pub(crate) const VARIABLE: &str = "SELVEDGE_CLUSTER";

static INSIDE: AtomicBool = AtomicBool::new(false);

/// Whether this process is a worker, by the variable or by [`crate::work`].
pub(crate) fn is_worker() -> bool {
    INSIDE.load(Ordering::Relaxed)
}

/// This process is a worker from now on.
pub(crate) fn become_worker() {
    INSIDE.store(true, Ordering::Relaxed);
}

// SAFETY: a function without arguments may stand in this section: the loader
// passes three, which the C calling convention lets it ignore.
#[used]
#[unsafe(link_section = ".init_array")]
static HOOK: extern "C" fn() = hook;

/// A caller calls this, so that the linker keeps the hook.
pub(crate) fn keep() {
    // SAFETY: reads a static.
    std::hint::black_box(unsafe { std::ptr::read_volatile(&raw const HOOK) });
}

extern "C" fn hook() {
    // A process of the pool has this one to see to, whatever else is set.
    if std::env::var_os("SELVEDGE_WORKER").is_some() {
        return;
    }
    let Some(url) = std::env::var_os(VARIABLE) else { return };
    // SAFETY: before `main` there is only this thread.
    unsafe { std::env::remove_var(VARIABLE) };
    let worked = std::panic::catch_unwind(|| work(url)).unwrap_or(Err("a panic".to_owned()));
    std::process::exit(match worked {
        Ok(()) => 0,
        Err(why) => {
            eprintln!("selvedge worker: {why}");
            1
        }
    });
}

fn work(url: OsString) -> Result<(), String> {
    let url = url.to_str().ok_or("the URL is no text")?;
    crate::work(url).map_err(|error| error.to_string())
}
