//! What a caller knows of its items: a pure state machine.
//!
//! # Algorithm
//!
//! The broker's word is not enough. It forgets acknowledgements, hears workers
//! whose lease ran out, and delivers twice; results come over a wire that loses
//! what nobody reads. So the caller keeps the books. An item is *owed* from
//! [`Ledger::push`] until the first outcome for it arrives, and *done* from then
//! until [`Ledger::next`] gives it out. An owed item waits, or belongs to one
//! batch. A batch is published, then stored (the broker named its place); past
//! its due time the ledger asks again, and believes the broker in one thing
//! alone: that a message which it still has was not yet done.
//!
//! | state of an owed item | leaves it by |
//! |---|---|
//! | waiting | `pack`, into a batch |
//! | in a batch that is published | `stored`; or `overdue` says [`Overdue::Publish`], the same message again |
//! | in a batch that is stored | `outcome`; or `overdue` says [`Overdue::Ask`], and then `kept` (it stays) or `gone` (it waits again) |
//!
//! # Invariants
//!
//! 1. Each index is given out once, in order, with the first outcome that came.
//! 2. An owed item waits, or is in exactly one batch.
//! 3. Items pushed and not given out are at most `window`; owed ones at most
//!    `under_way`.
//! 4. What is reported of another run changes nothing.
//!
//! # Model bounds
//!
//! `explore` says what is explored and what is not.

mod lease;

#[cfg(test)]
mod explore;

pub(crate) use lease::{Callers, Lease, Terms};

use std::collections::{BTreeMap, VecDeque};

/// Nanoseconds by the clock of this process.
pub(crate) type Nanos = u64;

/// Of a batch in its run.
pub(crate) type BatchId = u64;

/// Of an item in its run.
pub(crate) type Index = u64;

/// What a ledger may hold, and for how long it trusts silence.
#[derive(Debug, Clone, Copy, Hash)]
pub(crate) struct Bounds {
    /// Items that are pushed and not given out.
    pub(crate) window: usize,
    /// Items that are pushed and have no outcome.
    pub(crate) under_way: usize,
    /// How long after the last sign of a batch the broker is asked.
    pub(crate) patience: Nanos,
}

#[derive(Debug, Clone, Hash)]
enum Slot<P, O> {
    /// And the batch that it is in.
    Owed(P, Option<BatchId>),
    Done(O),
}

#[derive(Debug, Clone, Hash)]
struct Batch {
    /// Some may have an outcome from elsewhere.
    items: Vec<Index>,
    /// Those without an outcome.
    owed: usize,
    /// Where the broker keeps it, once it said so.
    stored: Option<u64>,
    due: Nanos,
}

/// What to do about a batch of which nothing was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Overdue {
    /// Publish it again, with the same identity: the broker may have it.
    Publish(BatchId),
    /// Ask whether the broker still has what is stored there.
    Ask(BatchId, u64),
}

/// See the [module](self). `P` is what is sent for an item, `O` its outcome.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Ledger<P, O> {
    run: u64,
    bounds: Bounds,
    /// The index of the first slot.
    given: Index,
    slots: VecDeque<Slot<P, O>>,
    owed: usize,
    waiting: VecDeque<Index>,
    /// Waiting too, and to be sent each by itself: one of them may be what
    /// ends its workers.
    alone: VecDeque<Index>,
    batches: BTreeMap<BatchId, Batch>,
    next_batch: BatchId,
}

impl<P, O> Ledger<P, O> {
    pub(crate) fn new(run: u64, bounds: Bounds) -> Self {
        Self {
            run,
            bounds,
            given: 0,
            slots: VecDeque::new(),
            owed: 0,
            waiting: VecDeque::new(),
            alone: VecDeque::new(),
            batches: BTreeMap::new(),
            next_batch: 0,
        }
    }

    /// Whether one more item may be pushed.
    pub(crate) fn has_room(&self) -> bool {
        self.slots.len() < self.bounds.window && self.owed < self.bounds.under_way
    }

    /// Takes the next item. Only where there [is room](Self::has_room).
    pub(crate) fn push(&mut self, payload: P) -> Index {
        let index = self.given + self.slots.len() as Index;
        self.slots.push_back(Slot::Owed(payload, None));
        self.owed += 1;
        self.waiting.push_back(index);
        index
    }

    /// Takes the next item with its outcome: it cannot be sent.
    pub(crate) fn push_done(&mut self, outcome: O) {
        self.slots.push_back(Slot::Done(outcome));
    }

    /// The next outcome in order.
    pub(crate) fn next(&mut self) -> Option<(Index, O)> {
        if !matches!(self.slots.front(), Some(Slot::Done(_))) {
            return None;
        }
        let Some(Slot::Done(outcome)) = self.slots.pop_front() else { return None };
        self.given += 1;
        Some((self.given - 1, outcome))
    }

    /// Items that wait to be sent.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len() + self.alone.len()
    }

    /// Items without an outcome.
    pub(crate) fn owed(&self) -> usize {
        self.owed
    }

    /// Batches under way.
    pub(crate) fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Nothing is left to give out.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The next outcome in order is there.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.slots.front(), Some(Slot::Done(_)))
    }

    /// Less than half of what may be under way is.
    pub(crate) fn is_hungry(&self) -> bool {
        2 * self.owed < self.bounds.under_way
    }

    /// Items that may be under way.
    pub(crate) fn most_under_way(&self) -> usize {
        self.bounds.under_way
    }

    /// Where the broker keeps batches.
    pub(crate) fn places(&self) -> impl Iterator<Item = u64> {
        self.batches.values().filter_map(|batch| batch.stored)
    }

    /// The batch is under way.
    pub(crate) fn has_batch(&self, batch: BatchId) -> bool {
        self.batches.contains_key(&batch)
    }

    /// Makes a batch of items that wait: at most `most`, and no more than take
    /// `room` in all, but at least one.
    pub(crate) fn pack(
        &mut self,
        now: Nanos,
        most: usize,
        room: usize,
        size: impl Fn(&P) -> usize,
    ) -> Option<BatchId> {
        let mut items = Vec::new();
        if let Some(index) = self.alone.pop_front() {
            items.push(index);
        } else {
            let mut used = 0;
            while let Some(&index) = self.waiting.front().filter(|_| items.len() < most) {
                used += self.payload(index).map_or(0, &size);
                if used > room && !items.is_empty() {
                    break;
                }
                self.waiting.pop_front();
                items.push(index);
            }
        }
        if items.is_empty() {
            return None;
        }
        let batch = self.next_batch;
        self.next_batch += 1;
        for index in &items {
            if let Some(Slot::Owed(_, place)) = self.slot(*index) {
                *place = Some(batch);
            }
        }
        let due = now.saturating_add(self.bounds.patience);
        let owed = items.len();
        self.batches.insert(batch, Batch { items, owed, stored: None, due });
        Some(batch)
    }

    /// The items of a batch that have no outcome, with what is sent for each.
    pub(crate) fn items(&self, batch: BatchId) -> impl Iterator<Item = (Index, &P)> {
        let items = self.batches.get(&batch).map_or(&[][..], |batch| &batch.items);
        items.iter().filter_map(|&index| self.payload(index).map(|payload| (index, payload)))
    }

    fn payload(&self, index: Index) -> Option<&P> {
        match self.slots.get(index.checked_sub(self.given)? as usize)? {
            Slot::Owed(payload, _) => Some(payload),
            Slot::Done(_) => None,
        }
    }

    /// The broker has the batch, in this place.
    pub(crate) fn stored(&mut self, batch: BatchId, place: u64, now: Nanos) {
        let due = now.saturating_add(self.bounds.patience);
        if let Some(batch) = self.batches.get_mut(&batch) {
            batch.stored = Some(place);
            batch.due = due;
        }
    }

    /// An item's outcome, from this run; returns what was sent for it. `None`:
    /// there was an outcome already, or it is of another run.
    pub(crate) fn outcome(&mut self, run: u64, index: Index, outcome: O) -> Option<P> {
        if run != self.run {
            return None;
        }
        let slot = self.slot(index)?;
        if matches!(slot, Slot::Done(_)) {
            return None;
        }
        let Slot::Owed(payload, batch) = std::mem::replace(slot, Slot::Done(outcome)) else {
            return None;
        };
        self.owed -= 1;
        match batch {
            None => {
                self.waiting.retain(|waiting| *waiting != index);
                self.alone.retain(|waiting| *waiting != index);
            }
            Some(id) => {
                if let Some(batch) = self.batches.get_mut(&id) {
                    batch.owed -= 1;
                    if batch.owed == 0 {
                        self.batches.remove(&id);
                    }
                }
            }
        }
        Some(payload)
    }

    fn slot(&mut self, index: Index) -> Option<&mut Slot<P, O>> {
        self.slots.get_mut(index.checked_sub(self.given)? as usize)
    }

    /// What is overdue now. Each is given a new due time: an answer may be lost
    /// as well.
    pub(crate) fn overdue(&mut self, now: Nanos) -> Vec<Overdue> {
        let due = now.saturating_add(self.bounds.patience);
        let late = self.batches.iter_mut().filter(|(_, batch)| batch.due <= now);
        late.map(|(id, batch)| {
            batch.due = due;
            match batch.stored {
                None => Overdue::Publish(*id),
                Some(place) => Overdue::Ask(*id, place),
            }
        })
        .collect()
    }

    /// The earliest time at which something is [overdue](Self::overdue).
    #[cfg(test)]
    pub(crate) fn next_due(&self) -> Option<Nanos> {
        self.batches.values().map(|batch| batch.due).min()
    }

    /// The broker still has the message in this place.
    pub(crate) fn kept(&mut self, batch: BatchId, now: Nanos) {
        let due = now.saturating_add(self.bounds.patience);
        if let Some(batch) = self.batches.get_mut(&batch) {
            batch.due = due;
        }
    }

    /// The broker has nothing in this place: what is owed of the batch waits
    /// again, for its results were lost, or its message was.
    pub(crate) fn gone(&mut self, batch: BatchId, place: u64) {
        if self.batches.get(&batch).is_some_and(|batch| batch.stored == Some(place)) {
            self.send_again(batch, false);
        }
    }

    /// The broker has no room for the batch: it never had it.
    pub(crate) fn refused(&mut self, batch: BatchId) {
        if self.batches.get(&batch).is_some_and(|batch| batch.stored.is_none()) {
            self.send_again(batch, false);
        }
    }

    /// A worker found that this batch ended workers too often. One item: that
    /// is its outcome. More: each goes by itself, so that one is to blame.
    pub(crate) fn poisoned(&mut self, run: u64, batch: BatchId, outcome: impl FnOnce() -> O) {
        if run != self.run {
            return;
        }
        let Some(found) = self.batches.get(&batch) else { return };
        match found.items[..] {
            [index] => {
                self.outcome(run, index, outcome());
            }
            _ => self.send_again(batch, true),
        }
    }

    fn send_again(&mut self, batch: BatchId, alone: bool) {
        let Some(batch) = self.batches.remove(&batch) else { return };
        for index in batch.items.into_iter().rev() {
            let Some(Slot::Owed(_, place)) = self.slot(index) else { continue };
            *place = None;
            match alone {
                true => self.alone.push_front(index),
                false => self.waiting.push_front(index),
            }
        }
    }

    /// Everything under way is to be asked about now: what was said meanwhile
    /// was not heard.
    pub(crate) fn reconnected(&mut self, now: Nanos) {
        for batch in self.batches.values_mut() {
            batch.due = batch.due.min(now);
        }
    }

    /// Ends all that is owed with this outcome.
    pub(crate) fn give_up(&mut self, outcome: impl Fn() -> O) {
        for slot in &mut self.slots {
            if matches!(slot, Slot::Owed(..)) {
                *slot = Slot::Done(outcome());
            }
        }
        self.owed = 0;
        self.waiting.clear();
        self.alone.clear();
        self.batches.clear();
    }
}
