//! When a worker may be started, and when the pool gives up starting any.
//!
//! # Algorithm
//!
//! A *setback* is a start that failed, or a worker that died with no task to
//! show for it. After one, starts wait, twice as long after each, and are then
//! made one at a time, until a worker that was started since has shown work.
//! Setbacks of workers that were started before the last one are of the same
//! cause, and not counted again: sixty-four starts that fail together are one.
//!
//! The pool gives up as an Erlang supervisor does, by a number of setbacks
//! and a span of time, with two differences. Both must be reached, so that a
//! moment without descriptors or processes breaks nothing; and only setbacks
//! count that found no other worker at work, since a pool with fewer workers
//! than it was asked to have goes on with those.

use super::types::{Nanos, Restarts, WorkerId};

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Starts {
    /// Setbacks in a row.
    row: u32,
    /// None before this.
    until: Nanos,
    /// Workers from this number on were started after the last setback.
    probes: u64,
    alone: Option<Alone>,
}

/// Setbacks with no worker at work.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Alone {
    since: Nanos,
    last: Nanos,
    count: u32,
}

impl Starts {
    /// How many workers may be started now, if so many are starting already.
    pub(super) fn allowed(&self, now: Nanos, starting: usize, config: &Restarts) -> usize {
        match self.row {
            0 => config.at_once.saturating_sub(starting),
            _ if now < self.until => 0,
            _ => usize::from(starting == 0),
        }
    }

    /// When the next may be started, if what is starting does not decide that.
    pub(super) fn next(&self, starting: usize) -> Option<Nanos> {
        (self.row > 0 && starting == 0).then_some(self.until)
    }

    /// A worker has started: the next one need not wait.
    pub(super) fn ready(&mut self, id: WorkerId) {
        if id.0 >= self.probes {
            self.until = 0;
        }
    }

    /// A worker has shown work.
    pub(super) fn worked(&mut self, id: WorkerId) {
        self.alone = None;
        if id.0 >= self.probes {
            (self.row, self.until) = (0, 0);
        }
    }

    /// A worker was lost with nothing to show. `next`: the number that the
    /// next worker gets; `company`: another is at work. Whether to give up.
    pub(super) fn setback(
        &mut self,
        now: Nanos,
        id: WorkerId,
        next: u64,
        company: bool,
        config: &Restarts,
    ) -> bool {
        if company {
            self.alone = None;
        }
        if id.0 < self.probes {
            return false;
        }
        let wait = config.first.saturating_mul(1 << self.row.min(40)).min(config.longest);
        self.row = self.row.saturating_add(1);
        self.until = now.saturating_add(wait);
        self.probes = next;
        if company {
            return false;
        }
        // What is long past says nothing of now.
        let recent = config.patience.saturating_add(config.longest);
        let alone = self.alone.take().filter(|alone| now.saturating_sub(alone.last) <= recent);
        let alone = alone.unwrap_or(Alone { since: now, last: now, count: 0 });
        let alone = Alone { last: now, count: alone.count.saturating_add(1), ..alone };
        let enough = alone.count >= config.setbacks;
        let long = now.saturating_sub(alone.since) >= config.patience;
        self.alone = Some(alone);
        enough && long
    }
}
