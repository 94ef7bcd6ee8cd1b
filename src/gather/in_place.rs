//! The borrowed form: a slot for each lane, polled by whoever awaits.

use super::item::{Item, OutcomeOf};
use crate::outcome::{IntoOutcome, Panic};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};
use futures_core::Stream;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Which slots are to be polled, one bit each, and who polls them.
struct Ready {
    bits: Box<[AtomicU64]>,
    /// The parent is awake, or has been told. A wake-up sets its bit and then
    /// looks here; the parent clears this and then looks at the bits. All of
    /// it is SeqCst, so one of the two sees the other.
    told: AtomicBool,
    parent: Mutex<Option<Waker>>,
}

/// The waker of one slot, for as long as the gather lives.
struct Slot {
    ready: Arc<Ready>,
    at: usize,
}

impl Wake for Slot {
    fn wake(self: std::sync::Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &std::sync::Arc<Self>) {
        // ORDERING: SeqCst twice: see `Ready::told`.
        self.ready.bits[self.at / 64].fetch_or(1 << (self.at % 64), Ordering::SeqCst);
        if !self.ready.told.load(Ordering::SeqCst) {
            self.ready.tell();
        }
    }
}

impl Ready {
    fn tell(&self) {
        if !self.told.swap(true, Ordering::SeqCst) {
            let parent = self.parent.lock().take();
            parent.into_iter().for_each(Waker::wake);
        }
    }
}

/// A lane's future, pinned where it stays, and its waker.
struct Lane<F> {
    item: Pin<Box<Option<Item<F>>>>,
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
        let words = (0..limit.min(MOST_LANES).div_ceil(64)).map(|_| AtomicU64::new(0));
        let ready =
            Ready { bits: words.collect(), told: AtomicBool::new(true), parent: Mutex::new(None) };
        Self {
            source: Some(Box::pin(source)),
            pulled: 0,
            limit: limit.min(MOST_LANES),
            each,
            lanes: Vec::new(),
            free: VecDeque::new(),
            ready: Arc::new(ready),
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
        // Awake: nobody needs to tell us. (A wake-up by somebody else finds
        // this set, or has set it.)
        self.ready.told.store(true, Ordering::SeqCst);
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
        let before = self.ready.parent.lock().replace(context.waker().clone());
        drop(before);
        // ORDERING: SeqCst: see `Ready::told`.
        self.ready.told.store(false, Ordering::SeqCst);
        let mut words = self.ready.bits[..self.words()].iter();
        if turns == 0 || words.any(|word| word.load(Ordering::SeqCst) != 0) {
            // Out of turns, or woken meanwhile: come back, after whoever else wants to run.
            self.ready.tell();
        }
        Poll::Pending
    }

    /// How many words of the bit map are in use.
    fn words(&self) -> usize {
        self.lanes.len().div_ceil(64)
    }

    fn poll_slots(&mut self, finish: &mut impl FnMut(usize, OutcomeOf<S::Item>) -> bool) -> bool {
        for word in 0..self.words() {
            // ORDERING: Acquire would do: pairs with the `fetch_or` of the
            // wake-up, before which the future's event happened.
            let mut bits = self.ready.bits[word].swap(0, Ordering::SeqCst);
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
        let Some(item) = lane.item.as_mut().as_pin_mut() else { return true };
        let Poll::Ready(outcome) = item.poll(&mut context) else { return true };
        lane.item.set(None);
        self.free.push_back(at);
        finish(lane.index, outcome)
    }

    /// Asks the source for an item, and puts it into a slot.
    fn pull(&mut self, context: &mut Context<'_>) -> Result<Poll<Option<usize>>, Panic> {
        let Some(source) = &mut self.source else { return Ok(Poll::Ready(None)) };
        let pulled = catch_unwind(AssertUnwindSafe(|| source.as_mut().poll_next(context)));
        let future = match pulled {
            Ok(Poll::Ready(Some(future))) => future,
            Ok(Poll::Pending) => return Ok(Poll::Pending),
            Ok(Poll::Ready(None)) => {
                self.source = None;
                return Ok(Poll::Ready(None));
            }
            Err(payload) => {
                self.source = None;
                return Err(Panic::from_payload(&*payload));
            }
        };
        let at = self.free.pop_front().unwrap_or_else(|| self.add_lane());
        let lane = &mut self.lanes[at];
        lane.item.set(Some(Item::new(future, self.each)));
        lane.index = self.pulled;
        self.pulled += 1;
        Ok(Poll::Ready(Some(at)))
    }

    fn add_lane(&mut self) -> usize {
        let at = self.lanes.len();
        let slot = Slot { ready: Arc::clone(&self.ready), at };
        let waker = Waker::from(std::sync::Arc::new(slot));
        self.lanes.push(Lane { item: Box::pin(None), index: 0, waker });
        at
    }
}

/// More lanes than anybody polls by hand; what the bit map is made for.
const MOST_LANES: usize = 1 << 16;

/// Items that a poll starts before others get their turn: a source may be
/// endless and its futures ready.
const TURNS: usize = 128;
