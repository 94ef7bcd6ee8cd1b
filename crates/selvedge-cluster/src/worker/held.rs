//! The deliveries that a worker has, and their leases.

use crate::ledger::{Lease, Nanos, Terms};
use async_nats::jetstream::message::Acker;
use std::collections::HashMap;
use std::sync::Arc;

/// See the [module](self).
#[derive(Default)]
pub(super) struct Held {
    next: u64,
    deliveries: HashMap<u64, (Lease, Arc<Acker>)>,
}

impl Held {
    pub(super) fn add(&mut self, lease: Lease, acker: Arc<Acker>) -> u64 {
        self.next += 1;
        self.deliveries.insert(self.next, (lease, acker));
        self.next
    }

    pub(super) fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// Whether the broker may be told something of it.
    pub(super) fn is_held(&self, delivery: u64, now: Nanos) -> bool {
        self.deliveries.get(&delivery).is_some_and(|(lease, _)| lease.is_held(now))
    }

    pub(super) fn remove(&mut self, delivery: u64) {
        self.deliveries.remove(&delivery);
    }

    /// Takes all that are held for another lease; returns whom to tell.
    pub(super) fn renew(&mut self, now: Nanos, terms: Terms) -> Vec<Arc<Acker>> {
        let held = self.deliveries.values_mut().filter(|(lease, _)| lease.is_held(now));
        held.map(|(lease, acker)| {
            lease.renewed(now, terms);
            Arc::clone(acker)
        })
        .collect()
    }
}
