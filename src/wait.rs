//! Who waits, in what order, and for whom a wake-up was meant.
//!
//! A [`WaitList`] is plain data: it lives inside the mutex of the block that
//! owns it, next to the condition that is waited for. A thread and a task
//! wait in the same queue, so a queue has one notion of "next" for both ends.
//!
//! # The protocol
//!
//! 1. Under the lock: check the condition; if it does not hold, [`push`] and
//!    keep the [`Ticket`]. Unlock, then park or return `Pending`.
//! 2. Whoever makes the condition true does so under the same lock and
//!    [`pop`]s a waiter there. It unlocks, then wakes it.
//! 3. A waiter that stops waiting, for whatever reason (woken, deadline,
//!    cancelled future), takes the lock and [`remove`]s its ticket.
//!
//! # Invariants
//!
//! 1. *No wake-up is lost*: check and push are one critical section, change
//!    and pop are another; either the check sees the change or the pop sees
//!    the waiter.
//! 2. *A ticket is answered once*: an entry leaves the list either by `pop`
//!    (it was woken) or by `remove` returning `true` (it was not). A waiter
//!    for which `remove` returns `false` holds a wake-up that was meant for
//!    it: it must use it or hand it to the next.
//! 3. *First come, first woken.*
//!
//! Every operation is O(1). Cloning, waking and dropping a `Waker` run foreign
//! code, so all three happen outside the lock: `push` and `replace` take a
//! waiter that was made before, `pop`, `take`, `replace` and `tell_all` return
//! them.
//!
//! [`push`]: WaitList::push
//! [`pop`]: WaitList::pop
//! [`remove`]: WaitList::remove

use crate::guard;
use crate::swap::thread::{self, Thread};
use slab::Slab;
use std::task::Waker;

/// A parked thread or a pending task.
#[derive(Debug, Clone)]
pub(crate) enum Waiter {
    Thread(Thread),
    Task(TaskWaker),
}

/// The waker of a task. Waking it and dropping it run foreign code, whose
/// panic goes no further.
#[derive(Debug, Clone)]
pub(crate) struct TaskWaker(Option<Waker>);

impl Drop for TaskWaker {
    fn drop(&mut self) {
        // It may be the last of its task, and drop that.
        let _ = guard::dropped(self.0.take());
    }
}

impl Waiter {
    /// The calling thread.
    pub(crate) fn this_thread() -> Self {
        Self::Thread(thread::current())
    }

    /// The task to which `waker` belongs. Call this without holding a lock.
    pub(crate) fn task(waker: &Waker) -> Self {
        Self::Task(TaskWaker(Some(waker.clone())))
    }

    /// Wakes it. Call this without holding a lock.
    pub(crate) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Task(mut waker) => waker.0.take().into_iter().for_each(guard::wake),
        }
    }
}

/// A place in a [`WaitList`]. Not reused: a stale ticket matches nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    key: usize,
    serial: u64,
}

#[derive(Debug)]
struct Entry<P> {
    waiter: Waiter,
    wants: P,
    serial: u64,
    before: Option<usize>,
    after: Option<usize>,
}

/// A first-in first-out list of waiters with O(1) removal from the middle: a
/// doubly linked list whose links are slab keys. `P` is what each one waits
/// for, where that differs (a number of permits).
#[derive(Debug)]
pub(crate) struct WaitList<P = ()> {
    entries: Slab<Entry<P>>,
    first: Option<usize>,
    last: Option<usize>,
    next_serial: u64,
}

impl WaitList {
    /// Adds a waiter behind all others.
    pub(crate) fn push(&mut self, waiter: Waiter) -> Ticket {
        self.push_wanting(waiter, ())
    }
}

impl<P> WaitList<P> {
    pub(crate) const fn new() -> Self {
        Self { entries: Slab::new(), first: None, last: None, next_serial: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Adds a waiter behind all others, with what it waits for.
    pub(crate) fn push_wanting(&mut self, waiter: Waiter, wants: P) -> Ticket {
        let serial = self.next_serial;
        self.next_serial += 1;
        let entry = Entry { waiter, wants, serial, before: self.last, after: None };
        let key = self.entries.insert(entry);
        match self.last {
            Some(last) => self.entries[last].after = Some(key),
            None => self.first = Some(key),
        }
        self.last = Some(key);
        Ticket { key, serial }
    }

    /// What the waiter that has waited longest waits for.
    pub(crate) fn first_wants(&self) -> Option<&P> {
        self.first.map(|key| &self.entries[key].wants)
    }

    /// Who has waited longest.
    pub(crate) fn first(&self) -> Option<Ticket> {
        self.first.map(|key| Ticket { key, serial: self.entries[key].serial })
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What the ticket waits for; `None` if it has left.
    pub(crate) fn wants_mut(&mut self, ticket: Ticket) -> Option<&mut P> {
        let entry = self.entries.get_mut(ticket.key)?;
        (entry.serial == ticket.serial).then_some(&mut entry.wants)
    }

    /// The handle of every waiter, first come first. All of them stay in the
    /// list, to be woken by nobody else: for an event that is not a grant (a
    /// close), and after which nobody waits again.
    pub(crate) fn tell_all(&mut self) -> Vec<Waiter> {
        let mut told = Vec::new();
        let mut next = self.first;
        while let Some(key) = next {
            let entry = &mut self.entries[key];
            let nobody = Waiter::task(Waker::noop());
            told.push(std::mem::replace(&mut entry.waiter, nobody));
            next = entry.after;
        }
        told
    }

    /// Takes the waiter that has waited longest. The caller wakes it after
    /// unlocking.
    pub(crate) fn pop(&mut self) -> Option<Waiter> {
        self.first.map(|key| self.unlink(key).waiter)
    }

    /// Takes up to `most` waiters, first come first. Allocates only if there
    /// are any.
    pub(crate) fn pop_many(&mut self, most: usize) -> Vec<Waiter> {
        std::iter::from_fn(|| self.pop()).take(most).collect()
    }

    /// Takes every waiter, first come first.
    pub(crate) fn pop_all(&mut self) -> Vec<Waiter> {
        std::iter::from_fn(|| self.pop()).collect()
    }

    /// Takes the waiter out. `false` if it had been popped: its wake-up is
    /// under way, and whoever gives up waiting must hand it on (invariant 2).
    #[must_use]
    pub(crate) fn remove(&mut self, ticket: Ticket) -> bool {
        self.take(ticket).is_some()
    }

    /// [`remove`](Self::remove) for callers that drop the waiter after they
    /// unlock: the last waker of a task drops the task, and whatever it holds.
    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<Waiter> {
        self.holds(ticket).then(|| self.unlink(ticket.key).waiter)
    }

    /// Whether the ticket still waits.
    pub(crate) fn holds(&self, ticket: Ticket) -> bool {
        matches!(self.entries.get(ticket.key), Some(entry) if entry.serial == ticket.serial)
    }

    /// A task that is polled again keeps its place but may have a new waker.
    /// The old waiter comes back, to be dropped after the lock is released;
    /// `Err` with the new one if the ticket no longer waits.
    pub(crate) fn replace(&mut self, ticket: Ticket, waiter: Waiter) -> Result<Waiter, Waiter> {
        if !self.holds(ticket) {
            return Err(waiter);
        }
        Ok(std::mem::replace(&mut self.entries[ticket.key].waiter, waiter))
    }

    fn unlink(&mut self, key: usize) -> Entry<P> {
        let entry = self.entries.remove(key);
        match entry.before {
            Some(before) => self.entries[before].after = entry.after,
            None => self.first = entry.after,
        }
        match entry.after {
            Some(after) => self.entries[after].before = entry.before,
            None => self.last = entry.before,
        }
        entry
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct Mark(AtomicUsize, usize);
    impl Wake for Mark {
        fn wake(self: Arc<Self>) {
            self.0.store(self.1, Ordering::Relaxed);
        }
    }

    /// The label of a popped waiter, seen through the wake-up itself.
    fn label(waiter: Waiter, marks: &[Arc<Mark>]) -> usize {
        waiter.wake();
        let hit = marks
            .iter()
            .position(|mark| mark.0.swap(usize::MAX, Ordering::Relaxed) != usize::MAX)
            .expect("some mark was woken");
        marks[hit].1
    }

    /// In the order in which they came, whatever slots they were given.
    #[test]
    fn all_are_told_first_come_first_and_stay() {
        let mut list = WaitList::new();
        let mut marks: Vec<Arc<Mark>> = Vec::new();
        let mut tickets = Vec::new();
        for id in 0..6 {
            marks.push(Arc::new(Mark(AtomicUsize::new(usize::MAX), id)));
            tickets.push(list.push(Waiter::task(&Waker::from(marks[id].clone()))));
            if id == 3 {
                // Their slots are used again.
                assert_eq!(list.pop().map(|waiter| label(waiter, &marks)), Some(0));
                assert!(list.remove(tickets[2]));
            }
        }
        let told = list.tell_all().into_iter().map(|waiter| label(waiter, &marks));
        assert_eq!(told.collect::<Vec<_>>(), [1, 3, 4, 5]);
        let stay: Vec<bool> = tickets.iter().map(|ticket| list.holds(*ticket)).collect();
        assert_eq!(stay, [false, true, false, true, true, true]);
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: crate::test_seeds("wait"),
            ..ProptestConfig::default()
        })]
        /// push, pop and remove in any order agree with a `Vec` of labels.
        #[test]
        fn agrees_with_a_vec(steps in prop::collection::vec((0..3_u8, any::<prop::sample::Index>()), 1..60)) {
            let mut list = WaitList::new();
            let mut oracle: Vec<usize> = Vec::new();
            let mut tickets: Vec<(usize, Ticket)> = Vec::new();
            let mut marks: Vec<Arc<Mark>> = Vec::new();
            for (step, pick) in steps {
                match step {
                    0 => {
                        let id = marks.len();
                        marks.push(Arc::new(Mark(AtomicUsize::new(usize::MAX), id)));
                        tickets.push((id, list.push(Waiter::task(&Waker::from(marks[id].clone())))));
                        oracle.push(id);
                    }
                    1 => {
                        let popped = list.pop().map(|waiter| label(waiter, &marks));
                        let expected = (!oracle.is_empty()).then(|| oracle.remove(0));
                        prop_assert_eq!(popped, expected);
                    }
                    _ if !tickets.is_empty() => {
                        let (id, ticket) = tickets[pick.index(tickets.len())];
                        let expected = oracle.iter().position(|x| *x == id);
                        prop_assert_eq!(list.holds(ticket), expected.is_some());
                        prop_assert_eq!(list.remove(ticket), expected.is_some());
                        if let Some(at) = expected {
                            oracle.remove(at);
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(list.is_empty(), oracle.is_empty());
            }
            let rest: Vec<usize> = list.pop_all().into_iter().map(|waiter| label(waiter, &marks)).collect();
            prop_assert_eq!(rest, oracle);
        }
    }
}
