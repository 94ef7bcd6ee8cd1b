//! Permits that were granted and may yet come back.
//!
//! Giving permits back is not adding them: a bucket that has been full in the
//! meantime has made up for them already, and would overflow. What comes back
//! is what the schedule would have more of, had they never been taken: their
//! price, or the least debt that the bucket has been in at any later grant, if
//! that is less. (A bucket that is full has a debt of nothing.)

use super::core::rescaled;
use std::collections::VecDeque;

/// In the order of their grants, which is that of their ids.
#[derive(Debug)]
pub(super) struct Held {
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    permits: u32,
    /// The least debt at the grants after this one and up to the next entry's;
    /// `None` before there was any.
    least: Option<u128>,
}

impl Held {
    pub(super) const fn new() -> Self {
        Self { entries: VecDeque::new() }
    }

    /// Tells of a grant, and of the debt that it found.
    #[inline]
    pub(super) fn note(&mut self, debt: u128) {
        if let Some(last) = self.entries.back_mut() {
            last.least = Some(last.least.map_or(debt, |least| least.min(debt)));
        }
    }

    /// Keeps account of a grant that was just made.
    pub(super) fn hold(&mut self, id: u64, permits: u32) {
        debug_assert!(self.entries.back().is_none_or(|last| last.id < id));
        self.entries.push_back(Entry { id, permits, least: None });
    }

    /// It will not come back.
    pub(super) fn commit(&mut self, id: u64) {
        if let Some(at) = self.find(id) {
            self.remove(at);
        }
    }

    /// It comes back, at so many ticks a permit: says how many permits it was,
    /// and how many ticks come back.
    pub(super) fn refund(&mut self, id: u64, period: u64) -> (u32, u128) {
        let Some(at) = self.find(id) else { return (0, 0) };
        let permits = self.entries[at].permits;
        let mut ticks = u128::from(permits) * u128::from(period);
        // Grants that came later found less debt than they would have: by what
        // was left of this one at the time.
        for later in self.entries.range_mut(at..) {
            if let Some(least) = &mut later.least {
                ticks = ticks.min(*least);
                *least -= ticks;
            }
        }
        self.remove(at);
        (permits, ticks)
    }

    /// The ticks are others from now on.
    pub(super) fn rescale(&mut self, from: u64, to: u64) {
        for entry in &mut self.entries {
            entry.least = entry.least.map(|least| rescaled(least, from, to, false));
        }
    }

    fn find(&self, id: u64) -> Option<usize> {
        self.entries.binary_search_by_key(&id, |entry| entry.id).ok()
    }

    /// Takes an entry out; who stands before it takes over its grants.
    fn remove(&mut self, at: usize) {
        let least = self.entries.remove(at).and_then(|entry| entry.least);
        if let (Some(at), Some(least)) = (at.checked_sub(1), least) {
            let before = &mut self.entries[at].least;
            *before = Some(before.map_or(least, |other| other.min(least)));
        }
    }
}
