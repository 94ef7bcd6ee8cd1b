//! When a worker may speak of a delivery, and for whom it works.
//!
//! # Invariants
//!
//! 1. A delivery is counted from when it was *asked for*: it may have lain in
//!    the socket of a process that was stopped.
//! 2. A worker that is not sure to hold a delivery says nothing of it to the
//!    broker: its word would count for whoever has it now.
//! 3. Only differences of the worker's own clock count: clocks of different
//!    machines are never compared.

use super::Nanos;
use std::collections::BTreeMap;

/// How long a delivery is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Terms {
    /// The broker's `ack_wait`.
    pub(crate) lease: Nanos,
    /// What a message may take to the broker.
    pub(crate) margin: Nanos,
}

impl Terms {
    pub(crate) fn new(lease: Nanos) -> Self {
        Self { lease, margin: lease / 5 }
    }

    /// How often a lease is renewed, and how long a pull may wait: two may
    /// fail.
    pub(crate) fn beat(&self) -> Nanos {
        (self.lease - self.margin) / 4
    }
}

/// A delivery that this worker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    until: Nanos,
}

impl Lease {
    /// Of a delivery that was asked for at this time.
    pub(crate) fn new(asked: Nanos, terms: Terms) -> Self {
        Self { until: asked.saturating_add(terms.lease - terms.margin) }
    }

    /// Whether the broker may be told something of the delivery.
    pub(crate) fn is_held(&self, now: Nanos) -> bool {
        now < self.until
    }

    /// The broker was told that the work goes on, at this time.
    pub(crate) fn renewed(&mut self, now: Nanos, terms: Terms) {
        if self.is_held(now) {
            self.until = now.saturating_add(terms.lease - terms.margin);
        }
    }
}

/// The callers that are heard: nobody works for one that is gone.
#[derive(Debug, Clone, Default, Hash)]
pub(crate) struct Callers {
    heard: BTreeMap<u64, Nanos>,
}

impl Callers {
    pub(crate) fn heard(&mut self, caller: u64, now: Nanos) {
        self.heard.insert(caller, now);
    }

    /// The caller said goodbye.
    pub(crate) fn left(&mut self, caller: u64) {
        self.heard.remove(&caller);
    }

    /// Whether it was heard within a lease.
    pub(crate) fn is_alive(&self, caller: u64, now: Nanos, terms: Terms) -> bool {
        self.heard.get(&caller).is_some_and(|heard| now < heard.saturating_add(terms.lease))
    }

    /// Forgets those that are gone, and says who they are.
    pub(crate) fn bury(&mut self, now: Nanos, terms: Terms) -> Vec<u64> {
        let gone: Vec<u64> =
            self.heard.keys().copied().filter(|id| !self.is_alive(*id, now, terms)).collect();
        self.heard.retain(|id, _| !gone.contains(id));
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { lease: 100, margin: 20 };

    #[test]
    fn a_lease_ends_a_margin_early_and_is_not_revived() {
        let mut lease = Lease::new(1_000, TERMS);
        assert!(lease.is_held(1_079) && !lease.is_held(1_080));
        lease.renewed(1_079, TERMS);
        assert!(lease.is_held(1_158) && !lease.is_held(1_159));
        lease.renewed(1_159, TERMS);
        assert!(!lease.is_held(1_159), "a lease that ran out stays so");
    }

    #[test]
    fn two_renewals_may_fail() {
        for terms in [TERMS, Terms::new(5_000_000_000), Terms::new(1_000_000)] {
            assert!(3 * terms.beat() < terms.lease - terms.margin, "{terms:?}");
        }
    }

    #[test]
    fn a_caller_lives_for_a_lease_after_its_last_sign() {
        let mut callers = Callers::default();
        assert!(!callers.is_alive(7, 0, TERMS), "never heard");
        callers.heard(7, 50);
        assert!(callers.is_alive(7, 149, TERMS) && !callers.is_alive(7, 150, TERMS));
        assert!(callers.bury(149, TERMS).is_empty());
        assert_eq!(callers.bury(150, TERMS), [7]);
        callers.heard(7, 200);
        callers.left(7);
        assert!(!callers.is_alive(7, 201, TERMS), "said goodbye");
    }
}
