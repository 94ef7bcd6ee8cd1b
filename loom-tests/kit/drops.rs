//! Values that know whether they were dropped, and how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Makes [`Tracked`] values and accounts for them: at most 64.
///
/// The bookkeeping is std's and so invisible to the checkers: it orders
/// nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drops(Arc<Account>);

#[derive(Debug, Default)]
struct Account {
    made: AtomicUsize,
    dropped: AtomicU64,
}

/// A value made by [`Drops::track`].
#[derive(Debug)]
pub(crate) struct Tracked<T> {
    /// The value itself.
    pub(crate) value: T,
    id: usize,
    account: Drops,
}

impl Drops {
    /// An account with nothing in it.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A value whose end is watched.
    pub(crate) fn track<T>(&self, value: T) -> Tracked<T> {
        let id = self.0.made.fetch_add(1, Ordering::Relaxed);
        assert!(id < 64, "a tracker holds 64 values");
        Tracked { value, id, account: self.clone() }
    }

    /// How many of the values are alive.
    pub(crate) fn alive(&self) -> usize {
        let dropped = self.0.dropped.load(Ordering::Relaxed).count_ones() as usize;
        self.0.made.load(Ordering::Relaxed) - dropped
    }

    /// Asserts that nothing that was made is still alive.
    #[track_caller]
    pub(crate) fn assert_none_leaked(&self) {
        assert_eq!(self.alive(), 0, "leaked: values that were never dropped");
    }
}

impl<T> Drop for Tracked<T> {
    fn drop(&mut self) {
        let bit = 1 << self.id;
        let before = self.account.0.dropped.fetch_or(bit, Ordering::Relaxed);
        assert_eq!(before & bit, 0, "double drop of value {}", self.id);
    }
}
