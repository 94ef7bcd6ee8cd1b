//! Two ends, two locks: the algorithm, apart from how callers wait.
//!
//! # Algorithm
//!
//! The two-lock queue of Michael and Scott (PODC 1996) over blocks of slots
//! instead of list nodes. Senders share the tail's mutex, receivers the head's;
//! each end publishes how far it has come in one atomic, and keeps a copy of
//! how far the other end had come when it last looked (as in a
//! single-producer single-consumer ring), so that in the steady state an end
//! touches no cache line of the other but the slots.
//!
//! Who waits for an event registers *with the end that makes it happen*:
//! receivers with the tail, senders with the head. The check "still empty?"
//! and the registration are one critical section of the tail, "write and take a
//! waiter" is another, so a wake-up cannot fall in between, and no fence is
//! needed: `wait.rs`, invariant 1.
//!
//! # Invariants
//!
//! 1. `received <= sent <= received + capacity`; both only grow.
//! 2. `sent` changes under the tail's lock, `received` under the head's.
//! 3. While a receiver is registered there are at most as many items as
//!    wake-ups under way to receivers. So a receiver that was woken takes an
//!    item, finds that another took it, or hands its wake-up on.
//! 4. The same for senders and free slots.
//! 5. After `closed` is set nothing is written; after that and `received ==
//!    sent` nothing is ever read.
//! 6. No lock is held while foreign code runs (wakers, `T`'s drop), and no
//!    thread ever holds one end's lock while it waits for the other's.
//!
//! # Linearization
//!
//! A send takes effect when it stores `sent`, a receive when it stores
//! `received`, a close when it sets `closed` under the tail's lock. "Empty" and
//! "full" answers are as of what happened before the call (Release/Acquire);
//! without a happens-before relation a send that returned a moment ago on
//! another core may be missed on weakly ordered machines. Nobody goes to sleep
//! on such an answer: the check before parking is under the lock that makes it
//! exact.
//!
//! # Progress
//!
//! Blocking on the ends' mutexes, whose critical sections are a bounded number
//! of instructions (and a block allocation now and then). A thread that is
//! preempted inside one delays its own end only.

use super::error::{Abandoned, Closed, SenderPanicked, TryRecvError, TrySendError};
use super::storage::{self, Cursor};
use crate::guard;
use crate::swap::Mutex;
use crate::swap::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::wait::{Ticket, WaitList, Waiter};
use crossbeam_utils::CachePadded;
use std::collections::VecDeque;
use std::num::NonZeroUsize;

#[derive(Debug)]
pub(super) struct Core<T> {
    tail: CachePadded<Mutex<Tail<T>>>,
    head: CachePadded<Mutex<Head<T>>>,
    /// Items ever sent; written under the tail's lock.
    sent: CachePadded<AtomicU64>,
    /// Items ever received; written under the head's lock.
    received: CachePadded<AtomicU64>,
    /// Whether `Tail::closed` is set, for those without the tail's lock.
    closed: AtomicBool,
    capacity: Option<NonZeroUsize>,
}

/// The senders' end.
#[derive(Debug)]
struct Tail<T> {
    cursor: Cursor<T>,
    /// Items ever sent.
    sent: u64,
    /// `sent` may come this far: what was received when last looked at, plus
    /// the capacity.
    room_until: u64,
    closed: Option<Closed>,
    /// Why the end, if nothing else closes the queue, is not a good one.
    fault: Option<Fault>,
    /// Receivers that wait for an item.
    receivers: WaitList,
}

/// The receivers' end.
#[derive(Debug)]
struct Head<T> {
    cursor: Cursor<T>,
    /// Items ever received.
    received: u64,
    /// `received` may come this far: what was sent when last looked at.
    items_until: u64,
    /// Senders that wait for room.
    senders: WaitList,
}

/// How a sender went away, if not well: the later, the graver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// It was to say that it had finished, and did not.
    Abandoned,
    /// It was dropped by a panicking thread.
    Panicked,
}

/// What came of trying to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// It is not the time to wait: try again.
    Retry,
    /// Registered: sleep until woken.
    Sleep,
}

impl<T> Core<T> {
    pub(super) fn new(capacity: Option<NonZeroUsize>) -> Self {
        let (writer, reader) = storage::allocate(capacity);
        Self {
            tail: CachePadded::new(Mutex::new(Tail {
                cursor: writer,
                sent: 0,
                room_until: capacity.map_or(u64::MAX, |n| n.get() as u64),
                closed: None,
                fault: None,
                receivers: WaitList::new(),
            })),
            head: CachePadded::new(Mutex::new(Head {
                cursor: reader,
                received: 0,
                items_until: 0,
                senders: WaitList::new(),
            })),
            sent: CachePadded::new(AtomicU64::new(0)),
            received: CachePadded::new(AtomicU64::new(0)),
            closed: AtomicBool::new(false),
            capacity,
        }
    }

    pub(super) fn capacity(&self) -> Option<NonZeroUsize> {
        self.capacity
    }

    /// Items in the queue at some moment during the call.
    ///
    /// `sent` that has not changed between two looks stood still while
    /// `received` was read in between. A queue that is too busy for that is
    /// held still: `sent` changes under the tail's lock alone.
    pub(super) fn len(&self) -> usize {
        let _whole = crate::swap::whole("queue");
        const LOOKS: usize = if crate::swap::MODELLED { 1 } else { 8 };
        // ORDERING: Acquire, each with the Release stores of its counter, and
        // so that the three loads stay in this order. Whoever stored `sent`
        // had seen as many receives as its items needed room for, and whoever
        // stored `received` had seen its items sent: with that the difference
        // is between zero and the capacity.
        for _ in 0..LOOKS {
            let sent = self.sent.load(Ordering::Acquire);
            let received = self.received.load(Ordering::Acquire);
            // ORDERING: Relaxed: nothing follows that it would order.
            if self.sent.load(Ordering::Relaxed) == sent {
                return distance(received, sent);
            }
        }
        let tail = self.tail.lock();
        // ORDERING: Relaxed: the lock shows as many receives as the items
        // needed room for, and no item is received before it is sent.
        distance(self.received.load(Ordering::Relaxed), tail.sent)
    }

    /// About how many items there are: a lock-free hint that may be too high.
    fn about(&self) -> usize {
        // ORDERING: Relaxed: what it finds is checked again under a lock.
        distance(self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }

    pub(super) fn is_closed(&self) -> bool {
        let _whole = crate::swap::whole("queue");
        // ORDERING: pairs with the Release in `close`: who sees it sees every
        // item that was sent before.
        self.closed.load(Ordering::Acquire)
    }

    // ---- the senders' end ----

    /// Sends, if there is room.
    #[inline]
    pub(super) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut tail = self.tail.lock();
        if tail.closed.is_some() {
            return Err(TrySendError::Closed(value));
        }
        if self.room(&mut tail, 1) == 0 {
            return Err(TrySendError::Full(value));
        }
        tail.write(value);
        // ORDERING: pairs with the Acquire in `items`: the slot was written.
        self.sent.store(tail.sent, Ordering::Release);
        let waiter = tail.receivers.pop();
        drop(tail);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        Ok(())
    }

    /// Sends as many from the front of `items` as there is room for. `Err` if
    /// the queue is closed.
    pub(super) fn try_send_many(&self, items: &mut VecDeque<T>) -> Result<usize, ()> {
        let mut tail = self.tail.lock();
        if tail.closed.is_some() {
            return Err(());
        }
        let room = self.room(&mut tail, items.len() as u64);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let count = items.len().min(room);
        for value in items.drain(..count) {
            tail.write(value);
        }
        // ORDERING: as in `try_send`.
        self.sent.store(tail.sent, Ordering::Release);
        let waiters = tail.receivers.pop_many(count);
        drop(tail);
        waiters.into_iter().for_each(Waiter::wake);
        Ok(count)
    }

    /// Free slots, looking at the other end only if fewer than `wanted` are
    /// known of.
    #[inline]
    fn room(&self, tail: &mut Tail<T>, wanted: u64) -> u64 {
        if tail.room_until - tail.sent < wanted
            && let Some(capacity) = self.capacity
        {
            // ORDERING: pairs with the Release stores of `received`: the slot
            // was read before it is written again.
            let received = self.received.load(Ordering::Acquire);
            tail.room_until = received.saturating_add(capacity.get() as u64);
        }
        tail.room_until - tail.sent
    }

    /// Whether a send would not have to wait, by a glance without a lock.
    pub(super) fn may_send(&self) -> bool {
        self.capacity.is_none_or(|capacity| self.about() < capacity.get()) || self.is_closed()
    }

    /// Registers a sender, unless there is room or the queue is closed. A
    /// ticket that is still good is kept.
    pub(super) fn wait_to_send(&self, ticket: &mut Option<Ticket>, who: Waiter) -> Wait {
        let mut head = self.head.lock();
        // ORDERING: `closed` Relaxed: `close` sets it before it takes this
        // lock to empty the list, so either that sees us or we see it.
        // `sent` Relaxed: this thread has just found the queue full under the
        // tail's lock and cannot read an older value; a newer one only counts
        // more items. `received` is exact under this lock.
        let full = self.capacity.is_some_and(|capacity| {
            self.sent.load(Ordering::Relaxed).saturating_sub(head.received) >= capacity.get() as u64
        });
        if !full || self.closed.load(Ordering::Relaxed) {
            return Wait::Retry;
        }
        let displaced = enlist(&mut head.senders, ticket, who);
        drop(head);
        drop(displaced);
        Wait::Sleep
    }

    /// A registered sender wakes up: whether it was for good reason.
    pub(super) fn sender_was_woken(&self, ticket: Ticket) -> bool {
        !self.head.lock().senders.holds(ticket)
    }

    /// A sender that will not wait any more takes its name off the list.
    /// `true` if a wake-up was under way to it, which it must then use.
    pub(super) fn stop_waiting_to_send(&self, ticket: Ticket) -> bool {
        let waiter = self.head.lock().senders.take(ticket);
        waiter.is_none()
    }

    /// A sender that was registered gives up for good and hands a wake-up that
    /// was under way to it to the next (invariant 4).
    pub(super) fn abandon_send(&self, ticket: Ticket) {
        let mut head = self.head.lock();
        let mine = head.senders.take(ticket);
        let next = if mine.is_none() { head.senders.pop() } else { None };
        drop(head);
        drop(mine);
        if let Some(next) = next {
            next.wake();
        }
    }

    // ---- the receivers' end ----

    /// Receives, if there is an item.
    #[inline]
    pub(super) fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut head = self.head.lock();
        if let Err(closed) = self.items(&mut head, 1) {
            drop(head);
            return Err(self.nothing(closed));
        }
        let value = head.read();
        // ORDERING: pairs with the Acquire in `room`: the slot was read.
        self.received.store(head.received, Ordering::Release);
        let waiter = head.senders.pop();
        drop(head);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        Ok(value)
    }

    /// Receives up to `most` items, at least one, onto the end of `into`.
    pub(super) fn try_recv_many(
        &self,
        into: &mut Vec<T>,
        most: NonZeroUsize,
    ) -> Result<usize, TryRecvError> {
        let mut head = self.head.lock();
        let items = match self.items(&mut head, most.get() as u64) {
            Ok(items) => items,
            Err(closed) => {
                drop(head);
                return Err(self.nothing(closed));
            }
        };
        let count = usize::try_from(items).unwrap_or(usize::MAX).min(most.get());
        into.reserve(count);
        into.extend((0..count).map(|_| head.read()));
        // ORDERING: as in `try_recv`.
        self.received.store(head.received, Ordering::Release);
        let waiters = head.senders.pop_many(count);
        drop(head);
        waiters.into_iter().for_each(Waiter::wake);
        Ok(count)
    }

    /// Items to read, at least one, looking at the other end only if fewer
    /// than `wanted` are known of. `Err` with whether the queue is closed if
    /// there are none.
    #[inline]
    fn items(&self, head: &mut Head<T>, wanted: u64) -> Result<u64, bool> {
        if head.items_until - head.received < wanted {
            // `closed` before `sent`: if it is set, `sent` is final
            // (invariant 5).
            let closed = self.is_closed();
            // ORDERING: pairs with the Release stores of `sent`: the slot was
            // written before it is read.
            head.items_until = self.sent.load(Ordering::Acquire);
            if head.received == head.items_until {
                return Err(closed);
            }
        }
        Ok(head.items_until - head.received)
    }

    fn nothing(&self, closed: bool) -> TryRecvError {
        if closed { TryRecvError::Closed(self.closed()) } else { TryRecvError::Empty }
    }

    /// Whether a receive would not have to wait, by a glance without a lock.
    pub(super) fn may_recv(&self) -> bool {
        // ORDERING: Relaxed: whatever it finds is checked again under a lock.
        self.sent.load(Ordering::Relaxed) != self.received.load(Ordering::Relaxed)
            || self.closed.load(Ordering::Relaxed)
    }

    /// Registers a receiver, unless there is an item or the queue is closed. A
    /// ticket that is still good is kept.
    pub(super) fn wait_to_recv(&self, ticket: &mut Option<Ticket>, who: Waiter) -> Wait {
        let mut tail = self.tail.lock();
        // ORDERING: Relaxed: this thread has just found the queue empty under
        // the head's lock and cannot read an older value; `sent` is exact under
        // this lock, so "equal" is exact too.
        let empty = self.received.load(Ordering::Relaxed) == tail.sent;
        if !empty || tail.closed.is_some() {
            return Wait::Retry;
        }
        let displaced = enlist(&mut tail.receivers, ticket, who);
        drop(tail);
        drop(displaced);
        Wait::Sleep
    }

    /// A registered receiver wakes up: whether it was for good reason.
    pub(super) fn receiver_was_woken(&self, ticket: Ticket) -> bool {
        !self.tail.lock().receivers.holds(ticket)
    }

    /// A receiver that will not wait any more takes its name off the list.
    /// `true` if a wake-up was under way to it, which it must then use.
    pub(super) fn stop_waiting_to_recv(&self, ticket: Ticket) -> bool {
        let waiter = self.tail.lock().receivers.take(ticket);
        waiter.is_none()
    }

    /// A receiver that was registered gives up for good and hands a wake-up
    /// that was under way to it to the next (invariant 3).
    pub(super) fn abandon_recv(&self, ticket: Ticket) {
        let mut tail = self.tail.lock();
        let mine = tail.receivers.take(ticket);
        let next = if mine.is_none() { tail.receivers.pop() } else { None };
        drop(tail);
        drop(mine);
        if let Some(next) = next {
            next.wake();
        }
    }

    // ---- the end ----

    /// Closes: nothing more is sent, what is there can be received. `false` if
    /// the queue was closed already, and then nothing changes.
    pub(super) fn close(&self, how: Closed) -> bool {
        let _whole = crate::swap::whole("queue");
        let mut tail = self.tail.lock();
        if tail.closed.is_some() {
            return false;
        }
        tail.closed = Some(how);
        // ORDERING: pairs with the Acquire in `is_closed`.
        self.closed.store(true, Ordering::Release);
        let receivers = tail.receivers.pop_all();
        drop(tail);
        let senders = self.head.lock().senders.pop_all();
        receivers.into_iter().chain(senders).for_each(Waiter::wake);
        true
    }

    /// The last sender is gone.
    pub(super) fn close_after_senders(&self) {
        let _whole = crate::swap::whole("queue");
        let fault = self.tail.lock().fault;
        self.close(match fault {
            None => Closed::default(),
            Some(Fault::Abandoned) => Closed::because(Abandoned),
            Some(Fault::Panicked) => Closed::because(SenderPanicked),
        });
    }

    /// A sender went away, and not well. Of several faults the gravest stands.
    pub(super) fn sender_failed(&self, fault: Fault) {
        let _whole = crate::swap::whole("queue");
        let mut tail = self.tail.lock();
        tail.fault = tail.fault.max(Some(fault));
    }

    /// Takes all that is there. Final only after `close`.
    pub(super) fn drain(&self) -> Vec<T> {
        let _whole = crate::swap::whole("queue");
        let mut items = Vec::new();
        while self.try_recv_many(&mut items, NonZeroUsize::MAX).is_ok() {}
        items
    }

    /// How the queue was closed.
    pub(super) fn closed(&self) -> Closed {
        self.tail.lock().closed.clone().unwrap_or_default()
    }
}

/// From one position to a later one.
fn distance(received: u64, sent: u64) -> usize {
    usize::try_from(sent.saturating_sub(received)).unwrap_or(usize::MAX)
}

/// Drops values one by one: of two destructors that panic in one drop of a
/// vector the second aborts the process. The first panic surfaces, unless the
/// thread is unwinding already.
pub(super) fn drop_each<T>(values: Vec<T>) {
    if !std::mem::needs_drop::<T>() {
        return;
    }
    let mut first = Ok(());
    for value in values {
        let dropped = guard::caught(|| drop(value));
        if first.is_ok() {
            first = dropped;
        }
    }
    guard::surface(first);
}

impl<T> Tail<T> {
    #[inline]
    #[allow(unsafe_code, reason = "a slot is written")]
    fn write(&mut self, value: T) {
        debug_assert!(self.sent < self.room_until);
        // SAFETY: we hold the tail's lock (`self` is inside it), and there is
        // room: the slot was never used or was read, and that was published.
        unsafe { self.cursor.write(value) };
        self.sent += 1;
    }
}

impl<T> Head<T> {
    #[inline]
    #[allow(unsafe_code, reason = "a slot is read")]
    fn read(&mut self) -> T {
        debug_assert!(self.received < self.items_until);
        // SAFETY: we hold the head's lock (`self` is inside it), and the slot
        // was written and published: `received < items_until`.
        let value = unsafe { self.cursor.read() };
        self.received += 1;
        value
    }
}

impl<T> Drop for Core<T> {
    #[allow(unsafe_code, reason = "the storage is freed")]
    fn drop(&mut self) {
        let rest = self.drain();
        // SAFETY: all is read (`drain` reads up to `sent`, and nobody else has
        // a reference), and the cursors go with us.
        unsafe { self.head.get_mut().cursor.free() };
        let cause = self.tail.get_mut().closed.take();
        // Last: they may panic.
        let cause = guard::caught(|| drop(cause));
        drop_each(rest);
        guard::surface(cause);
    }
}

/// Puts `who` on the list, in its old place if its ticket is still good; the
/// waiter that was there comes back, to be dropped without the lock.
#[must_use]
fn enlist(list: &mut WaitList, ticket: &mut Option<Ticket>, mut who: Waiter) -> Option<Waiter> {
    if let Some(ticket) = *ticket {
        match list.replace(ticket, who) {
            Ok(displaced) => return Some(displaced),
            Err(back) => who = back,
        }
    }
    *ticket = Some(list.push(who));
    None
}
