//! The ends for threads.

use super::core::{Core, Wait};
use super::error::{
    Closed, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use super::handles::{Receiver, Sender};
use crate::swap::hint::Spin;
use crate::swap::{Parked, thread, time, whole};
use crate::wait::{Ticket, Waiter};
use std::collections::VecDeque;
use std::iter::FusedIterator;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// A deadline passed.
struct Expired;

/// A side of the queue to wait at.
trait Side<T> {
    fn may_go_on(core: &Core<T>) -> bool;
    fn register(core: &Core<T>, ticket: &mut Option<Ticket>) -> Wait;
    fn was_woken(core: &Core<T>, ticket: Ticket) -> bool;
    fn stop_waiting(core: &Core<T>, ticket: Ticket) -> bool;
}

struct ForRoom;

impl<T> Side<T> for ForRoom {
    fn may_go_on(core: &Core<T>) -> bool {
        core.may_send()
    }
    fn register(core: &Core<T>, ticket: &mut Option<Ticket>) -> Wait {
        core.wait_to_send(ticket, Waiter::this_thread())
    }
    fn was_woken(core: &Core<T>, ticket: Ticket) -> bool {
        core.sender_was_woken(ticket)
    }
    fn stop_waiting(core: &Core<T>, ticket: Ticket) -> bool {
        core.stop_waiting_to_send(ticket)
    }
}

struct ForItems;

impl<T> Side<T> for ForItems {
    fn may_go_on(core: &Core<T>) -> bool {
        core.may_recv()
    }
    fn register(core: &Core<T>, ticket: &mut Option<Ticket>) -> Wait {
        core.wait_to_recv(ticket, Waiter::this_thread())
    }
    fn was_woken(core: &Core<T>, ticket: Ticket) -> bool {
        core.receiver_was_woken(ticket)
    }
    fn stop_waiting(core: &Core<T>, ticket: Ticket) -> bool {
        core.stop_waiting_to_recv(ticket)
    }
}

/// Waits until it is worth trying again: spins, then parks.
///
/// The caller has just tried. After `Ok` it tries again, also when a deadline
/// passed while a wake-up was under way: the item or the room that the wake-up
/// was for is then taken and not left behind.
fn wait<T, S: Side<T>>(core: &Core<T>, deadline: Option<Instant>) -> Result<(), Expired> {
    let mut spin = Spin::new();
    while spin.again() {
        if S::may_go_on(core) {
            return Ok(());
        }
    }
    let mut ticket = None;
    if S::register(core, &mut ticket) == Wait::Retry {
        return Ok(());
    }
    let ticket = ticket.expect("registering gives a ticket");
    loop {
        match thread::park_until(deadline) {
            Parked::Woken if S::was_woken(core, ticket) => return Ok(()),
            Parked::Woken => {}
            Parked::TimedOut if S::stop_waiting(core, ticket) => return Ok(()),
            Parked::TimedOut => return Err(Expired),
        }
    }
}

/// The moment `timeout` from now; none if that is beyond the clock.
fn after(timeout: Duration) -> Option<Instant> {
    time::now().checked_add(timeout)
}

impl<T> Sender<T> {
    /// Sends, waiting for room.
    ///
    /// # Errors
    ///
    /// The queue is or gets closed: the value comes back.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.send_until(value, None).map_err(|error| SendError(error.into_inner()))
    }

    /// Sends if there is room now.
    ///
    /// # Errors
    ///
    /// Full or closed: the value comes back.
    #[inline]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let _whole = whole("queue");
        self.core().try_send(value)
    }

    /// Sends, waiting for room for at most `timeout`. With a zero timeout it
    /// tries once.
    ///
    /// # Errors
    ///
    /// No room in time, or closed: the value comes back.
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_until(value, after(timeout))
    }

    /// Sends, waiting for room until `deadline`. If that has passed it tries
    /// once.
    ///
    /// # Errors
    ///
    /// No room in time, or closed: the value comes back.
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.send_until(value, Some(deadline))
    }

    fn send_until(
        &self,
        mut value: T,
        deadline: Option<Instant>,
    ) -> Result<(), SendTimeoutError<T>> {
        let _whole = whole("queue");
        loop {
            value = match self.core().try_send(value) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(value)) => return Err(SendTimeoutError::Closed(value)),
                Err(TrySendError::Full(value)) => value,
            };
            if wait::<T, ForRoom>(self.core(), deadline).is_err() {
                return Err(SendTimeoutError::Timeout(value));
            }
        }
    }

    /// Sends as many items from the front of `items` as there is room for now,
    /// under one lock, and says how many. They stand together in the queue.
    ///
    /// # Errors
    ///
    /// Closed: nothing was sent and all are still in `items`.
    pub fn try_send_many(&self, items: &mut VecDeque<T>) -> Result<usize, SendError<()>> {
        let _whole = whole("queue");
        self.core().try_send_many(items).map_err(SendError)
    }

    /// Sends all of `items` from the front, waiting for room, many under one
    /// lock. Items of other senders may come in between.
    ///
    /// ```
    /// use std::collections::VecDeque;
    /// let (tx, rx) = selvedge::queue::unbounded();
    /// tx.send_many(&mut VecDeque::from([1, 2, 3]))?;
    /// assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    /// # Ok::<(), selvedge::queue::SendError<()>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The queue is or gets closed: what was not sent is still in `items`.
    pub fn send_many(&self, items: &mut VecDeque<T>) -> Result<(), SendError<()>> {
        let _whole = whole("queue");
        loop {
            self.try_send_many(items)?;
            if items.is_empty() {
                return Ok(());
            }
            let _never_expires = wait::<T, ForRoom>(self.core(), None);
        }
    }
}

impl<T> Receiver<T> {
    /// Receives, waiting for an item.
    ///
    /// # Errors
    ///
    /// The queue is closed and drained, with the cause if there is one.
    pub fn recv(&self) -> Result<T, Closed> {
        let _whole = whole("queue");
        loop {
            match self.core().try_recv() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Closed(closed)) => return Err(closed),
                Err(TryRecvError::Empty) => {}
            }
            let _never_expires = wait::<T, ForItems>(self.core(), None);
        }
    }

    /// Receives if there is an item now.
    ///
    /// # Errors
    ///
    /// Empty, or closed and drained.
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let _whole = whole("queue");
        self.core().try_recv()
    }

    /// Receives, waiting for at most `timeout`. With a zero timeout it tries
    /// once.
    ///
    /// # Errors
    ///
    /// Nothing came in time, or the queue is closed and drained.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let _whole = whole("queue");
        // Reading the clock costs more than taking an item that is there.
        match self.core().try_recv() {
            Ok(value) => Ok(value),
            Err(TryRecvError::Closed(closed)) => Err(RecvTimeoutError::Closed(closed)),
            Err(TryRecvError::Empty) => self.recv_until(after(timeout)),
        }
    }

    /// Receives, waiting until `deadline`. If that has passed it tries once.
    ///
    /// # Errors
    ///
    /// Nothing came in time, or the queue is closed and drained.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(Some(deadline))
    }

    fn recv_until(&self, deadline: Option<Instant>) -> Result<T, RecvTimeoutError> {
        let _whole = whole("queue");
        loop {
            match self.core().try_recv() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Closed(closed)) => return Err(RecvTimeoutError::Closed(closed)),
                Err(TryRecvError::Empty) => {}
            }
            if wait::<T, ForItems>(self.core(), deadline).is_err() {
                return Err(RecvTimeoutError::Timeout);
            }
        }
    }

    /// Receives up to `most` items onto the end of `into`, waiting for the
    /// first, under one lock. Says how many, at least one.
    ///
    /// # Errors
    ///
    /// The queue is closed and drained.
    pub fn recv_many(&self, into: &mut Vec<T>, most: NonZeroUsize) -> Result<usize, Closed> {
        let _whole = whole("queue");
        loop {
            match self.core().try_recv_many(into, most) {
                Ok(count) => return Ok(count),
                Err(TryRecvError::Closed(closed)) => return Err(closed),
                Err(TryRecvError::Empty) => {}
            }
            let _never_expires = wait::<T, ForItems>(self.core(), None);
        }
    }

    /// Receives up to `most` items that are there now onto the end of `into`.
    ///
    /// # Errors
    ///
    /// Empty, or closed and drained.
    pub fn try_recv_many(
        &self,
        into: &mut Vec<T>,
        most: NonZeroUsize,
    ) -> Result<usize, TryRecvError> {
        let _whole = whole("queue");
        self.core().try_recv_many(into, most)
    }

    /// Receives until the queue is closed and drained. Why it closed is told
    /// by [`recv`](Self::recv) afterwards.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    /// Receives what is there now.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter(self)
    }
}

/// See [`Receiver::iter`].
#[derive(Debug)]
#[must_use]
pub struct Iter<'a, T>(&'a Receiver<T>);

/// See [`Receiver::try_iter`].
#[derive(Debug)]
#[must_use]
pub struct TryIter<'a, T>(&'a Receiver<T>);

/// A receiver as an iterator that ends when the queue is closed and drained.
#[derive(Debug)]
#[must_use]
pub struct IntoIter<T>(Receiver<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

// A closed and drained queue stays so.
impl<T> FusedIterator for Iter<'_, T> {}
impl<T> FusedIterator for IntoIter<T> {}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;
    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self)
    }
}
