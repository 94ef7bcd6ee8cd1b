//! The borrowed form: a slot for each lane, polled by whoever awaits.

use super::item::{Item, OutcomeOf};
use super::ready::Ready;
use crate::guard::{self, guarded};
use crate::outcome::{IntoOutcome, Outcome, Panic};
use crate::swap::Arc;
use futures_core::Stream;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A lane's future, pinned where it stays, and its waker.
struct Lane<F> {
    item: Pin<Box<Item<F>>>,
    index: usize,
    waker: Waker,
}

/// Polls the items of `source`, at most `limit` at a time.
pub(super) struct InPlace<S: Stream<Item: Future<Output: IntoOutcome>>> {
    source: Option<Pin<Box<S>>>,
    pulled: usize,
    limit: usize,
    each: Option<Duration>,
    lanes: Vec<Lane<S::Item>>,
    /// First freed, first filled: items that take equally long end in order.
    free: VecDeque<usize>,
    ready: Arc<Ready>,
}

impl<S: Stream<Item: Future<Output: IntoOutcome>>> InPlace<S> {
    pub(super) fn new(source: S, limit: usize, each: Option<Duration>) -> Self {
        Self {
            source: Some(Box::pin(source)),
            pulled: 0,
            limit,
            each,
            lanes: Vec::new(),
            free: VecDeque::new(),
            ready: Arc::new(Ready::new(limit.min(FIRST_LANES))),
        }
    }

    /// Polls what is to be polled, and calls `finish` with each outcome until
    /// that returns `false`. Ready once there is nothing left to wait for;
    /// an error if the source panicked.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        finish: &mut impl FnMut(usize, OutcomeOf<S::Item>) -> bool,
    ) -> Poll<Result<(), Panic>> {
        self.ready.awake();
        if !self.poll_slots(finish) {
            return Poll::Ready(Ok(()));
        }
        let mut turns = TURNS;
        while turns > 0 && (!self.free.is_empty() || self.lanes.len() < self.limit) {
            turns -= 1;
            match self.pull(context) {
                Ok(Poll::Ready(Some(at))) => {
                    if !self.poll_slot(at, finish) {
                        return Poll::Ready(Ok(()));
                    }
                }
                Ok(_) => break,
                Err(panic) => return Poll::Ready(Err(panic)),
            }
        }
        if self.source.is_none() && self.free.len() == self.lanes.len() {
            return Poll::Ready(Ok(()));
        }
        // Out of turns: come back, after whoever else wants to run.
        self.ready.asleep(context.waker(), self.words(), turns == 0);
        Poll::Pending
    }

    /// Drops what is in flight and the source. An item whose destructor panics
    /// has ended with that.
    pub(super) fn stop(&mut self, finish: &mut impl FnMut(usize, OutcomeOf<S::Item>) -> bool) {
        for lane in &mut self.lanes {
            if let Err(panic) = lane.item.as_mut().clear() {
                finish(lane.index, Outcome::Panicked(panic));
            }
        }
        // Why it stopped is known.
        let _ = guard::dropped(self.source.take());
    }

    /// How many words of the bit map are in use.
    fn words(&self) -> usize {
        self.lanes.len().div_ceil(64)
    }

    fn poll_slots(&mut self, finish: &mut impl FnMut(usize, OutcomeOf<S::Item>) -> bool) -> bool {
        for word in 0..self.words() {
            let mut bits = self.ready.claim(word);
            while bits != 0 {
                let at = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if !self.poll_slot(at, finish) {
                    return false;
                }
            }
        }
        true
    }

    /// `false` if the gather is over.
    fn poll_slot(
        &mut self,
        at: usize,
        finish: &mut impl FnMut(usize, OutcomeOf<S::Item>) -> bool,
    ) -> bool {
        let lane = &mut self.lanes[at];
        let mut context = Context::from_waker(&lane.waker);
        // A late wake-up of an item that has ended finds the slot empty, or
        // polls the next one once for nothing.
        if lane.item.is_empty() {
            return true;
        }
        let Poll::Ready(outcome) = lane.item.as_mut().poll(&mut context) else { return true };
        self.free.push_back(at);
        finish(lane.index, outcome)
    }

    /// Asks the source for an item, and puts it into a slot.
    fn pull(&mut self, context: &mut Context<'_>) -> Result<Poll<Option<usize>>, Panic> {
        let Some(source) = &mut self.source else { return Ok(Poll::Ready(None)) };
        let future = match guarded(|| source.as_mut().poll_next(context)) {
            Ok(Poll::Ready(Some(future))) => future,
            Ok(Poll::Pending) => return Ok(Poll::Pending),
            Ok(Poll::Ready(None)) => {
                guard::dropped(self.source.take())?;
                return Ok(Poll::Ready(None));
            }
            Err(panic) => {
                let _ = guard::dropped(self.source.take());
                return Err(panic);
            }
        };
        let at = self.free.pop_front().unwrap_or_else(|| self.add_lane());
        let lane = &mut self.lanes[at];
        lane.item.as_mut().put(future, self.each);
        lane.index = self.pulled;
        self.pulled += 1;
        Ok(Poll::Ready(Some(at)))
    }

    fn add_lane(&mut self) -> usize {
        let at = self.lanes.len();
        let waker = Ready::waker(&self.ready, at);
        self.lanes.push(Lane { item: Box::pin(Item::empty()), index: 0, waker });
        at
    }
}

impl<S: Stream<Item: Future<Output: IntoOutcome>>> Drop for InPlace<S> {
    fn drop(&mut self) {
        // The items guard themselves.
        let _ = guard::dropped(self.source.take());
    }
}

/// Lanes that the bit map has room for from the start. It grows with the
/// lanes, and these with the items: a limit by itself costs nothing.
const FIRST_LANES: usize = 1 << 12;

/// Items that a poll starts before others get their turn: a source may be
/// endless and its futures ready.
const TURNS: usize = 128;
