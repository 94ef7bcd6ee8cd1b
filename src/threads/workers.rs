//! How many workers a job may have.

use crate::swap::thread;
use std::num::NonZeroUsize;
use std::sync::OnceLock;

static CORES: OnceLock<NonZeroUsize> = OnceLock::new();

/// Asks the system for the number of cores, once. That is some ten file
/// accesses and takes longer than a small job, so helpers do it when they
/// start, and callers never.
pub(super) fn learn_cores() {
    CORES.get_or_init(|| thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
}

/// The caller and its helpers: a number that was given, or one a core.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Workers(pub(super) Option<NonZeroUsize>);

impl Workers {
    /// The number, as far as it is known. Until the first helper of the
    /// process has learnt how many cores there are, two; a job that began
    /// earlier grows from there.
    pub(super) fn count(self) -> usize {
        self.0.or_else(|| CORES.get().copied()).map_or(2, NonZeroUsize::get)
    }
}
