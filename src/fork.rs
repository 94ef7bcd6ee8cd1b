//! Helper threads are not there in a forked child, and the locks that they
//! share may be held for ever by a thread that is not there either.

#![allow(dead_code, reason = "loom leaves out one of its users")]

use std::process;
use std::sync::OnceLock;

/// A value for each process that asks: made anew in a forked child.
///
/// The parent's value is not touched there: no lock of it is taken.
#[derive(Debug)]
pub(crate) struct PerProcess<T>(OnceLock<Box<Made<T>>>);

#[derive(Debug)]
struct Made<T> {
    process: u32,
    value: T,
    /// Of a child that was forked from this process.
    next: PerProcess<T>,
}

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The value of this process.
    pub(crate) fn get(&self, make: impl FnOnce() -> T) -> &T {
        let process = process::id();
        let mut place = &self.0;
        while let Some(made) = place.get() {
            if made.process == process {
                return &made.value;
            }
            place = &made.next.0;
        }
        // Whoever else comes here is of this process, too.
        &place.get_or_init(|| Box::new(Made { process, value: make(), next: Self::new() })).value
    }

    /// The value of this process, if it was made.
    pub(crate) fn made(&self) -> Option<&T> {
        let process = process::id();
        let mut place = &self.0;
        while let Some(made) = place.get() {
            if made.process == process {
                return Some(&made.value);
            }
            place = &made.next.0;
        }
        None
    }
}
