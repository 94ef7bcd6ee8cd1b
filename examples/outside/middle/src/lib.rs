//! A tally that a service keeps. The bug: two hits at the same time are one.

use selvedge_model::sync::atomic::{AtomicU32, Ordering};

/// How often something happened.
#[derive(Debug)]
pub struct Tally(AtomicU32);

impl Default for Tally {
    fn default() -> Self {
        Self(AtomicU32::new(0))
    }
}

impl Tally {
    /// It happened.
    pub fn hit(&self) {
        if cfg!(feature = "bugs") {
            let hits = self.0.load(Ordering::SeqCst);
            self.0.store(hits + 1, Ordering::SeqCst);
        } else {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// So often.
    pub fn hits(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}
