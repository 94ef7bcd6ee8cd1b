//! The lazy form: a helper pulls the source, so that results are handed out
//! while the source blocks.
//!
//! # Who does what
//!
//! The first helper that comes to the job is its *puller*: it takes the source
//! from its seat and publishes items one by one, each before it asks for the
//! next, and waits while the window is full. The others, as many as there are
//! workers, do the items. The caller waits for results, and does something
//! else only when nothing is outstanding, so that no result waits for it:
//!
//! * it does the next item if no helper works (the pool may have none left);
//! * it pulls one item itself if the source is in its seat: no puller has come
//!   yet, or items are so quick that one thread is faster than two.
//!
//! # Invariants
//!
//! 1. Whoever pulls holds the source; between the pulls of others it is in its
//!    seat. The caller takes it only when every item that was pulled has been
//!    handed out, so it never waits for the source while it owes a result.
//! 2. `pulled - handed` is at most the window. `handed` counts what the
//!    consumer has asked past, not what lies in a chunk at hand.
//! 3. A source that has ended or panicked is not pulled again.

mod caller;

pub(super) use caller::Live;

use super::crew::Crew;
use super::results::Limits;
use super::stream::{Chunk, Job, State, Step, Task};
use crate::guard::{Payload, caught};
use crate::swap::MutexGuard;
use std::mem;
use std::time::Duration;

/// Items that take less are not worth a lock each.
const QUICK: Duration = Duration::from_nanos(100);

/// So many items are measured before they are called quick.
const MEASURED: usize = 16;

/// The part of a job's state that is about its source, `P`.
pub(super) struct Feed<P> {
    /// The source, while nobody holds it.
    pub(super) seat: Option<P>,
    /// What it, or its destructor, panicked with.
    panic: Option<Payload>,
    /// Items that it yielded.
    pulled: usize,
    /// Results that the consumer is done with.
    handed: usize,
    /// A helper has come to pull.
    has_puller: bool,
    /// It waits on `room`.
    pub(super) puller_waits: bool,
    /// Helpers that came to work.
    pub(super) hands: usize,
    /// Items are quick: the caller is to pull and do them alone.
    quick: bool,
    /// Items that were measured since that was last decided, and their time.
    measured: (usize, Duration),
}

impl<P> Feed<P> {
    pub(super) const fn new(seat: Option<P>) -> Self {
        Self {
            seat,
            panic: None,
            pulled: 0,
            handed: 0,
            has_puller: false,
            puller_waits: false,
            hands: 0,
            quick: false,
            measured: (0, Duration::ZERO),
        }
    }

    /// `count` items took so long.
    pub(super) fn measure(&mut self, count: usize, took: Duration) {
        let (items, time) = (self.measured.0 + count, self.measured.1 + took);
        self.measured = (items, time);
        if items >= MEASURED {
            self.quick = time.as_nanos() <= QUICK.as_nanos() * items as u128;
            self.measured = (0, Duration::ZERO);
        }
    }

    /// Drops the source. What it panicked with before was not asked for.
    pub(super) fn end(&mut self) -> Result<(), Payload> {
        caught(|| self.seat = None)
    }

    /// The first panic counts.
    fn panicked(&mut self, payload: Payload) -> Option<Payload> {
        if self.panic.is_some() { Some(payload) } else { self.panic.replace(payload) }
    }
}

impl<P> Drop for Feed<P> {
    fn drop(&mut self) {
        crate::guard::surface(caught(|| self.seat = None));
    }
}

/// How many results there will be, if the source knows.
pub(super) fn total(source: &impl Iterator) -> Option<usize> {
    let (least, most) = source.size_hint();
    most.filter(|most| *most == least)
}

/// What the caller is to do next.
enum Turn<T, R, I> {
    /// Hand this out.
    HandOut(Chunk<R>),
    /// Do these items.
    Do(Task<T>),
    /// Pull an item: the source, and whether to keep it.
    Pull(I, bool),
    /// Nothing more comes.
    Over,
}

impl<I: Iterator<Item: Send> + Send, S: Step<I::Item>> Job<I::Item, S, I> {
    /// A helper's part.
    pub(super) fn pull_or_help(&self, crew: &Crew, limits: Limits<'_>) {
        let mut state = self.state.lock();
        if mem::replace(&mut state.feed.has_puller, true) {
            state.feed.hands += 1;
            drop(state);
            self.help(crew);
        } else {
            drop(state);
            self.pull(crew, limits);
        }
    }

    /// The puller's part.
    fn pull(&self, crew: &Crew, limits: Limits<'_>) {
        let mut held = None;
        let mut batch = 0;
        let mut state = self.state.lock();
        while !state.shut && !state.dry {
            if state.feed.quick && held.is_some() {
                state.feed.seat = held.take();
                self.wake_caller(&state);
            }
            if held.is_none() && !state.feed.quick {
                held = state.feed.seat.take();
            }
            if batch == 0 && held.is_some() {
                let depth = limits.depth(state.pace.size());
                let outstanding = state.feed.pulled - state.feed.handed;
                batch = state.pace.batch(depth.saturating_sub(outstanding), depth);
            }
            let Some(source) = held.as_mut().filter(|_| batch > 0) else {
                state.feed.puller_waits = true;
                state = self.room.wait(state);
                state.feed.puller_waits = false;
                continue;
            };
            drop(state);
            let pulled = caught(|| source.next());
            batch -= 1;
            state = match pulled {
                Ok(Some(item)) => self.publish(item, crew),
                Ok(None) => self.run_dry(held.take(), None),
                Err(payload) => self.run_dry(held.take(), Some(payload)),
            };
        }
        // Dropped on the caller's thread.
        if held.is_some() {
            state.feed.seat = held;
        }
    }

    fn publish(&self, item: I::Item, crew: &Crew) -> MutexGuard<'_, State<I::Item, S::Out, I>> {
        let mut state = self.state.lock();
        state.feed.pulled += 1;
        state.waiting += 1;
        state.single.push_back(item);
        if state.feed.hands == 0 {
            self.wake_caller(&state);
        }
        self.call_another(state, crew);
        self.state.lock()
    }

    /// The source has ended, or panicked. A panic in its destructor is one of
    /// the source too.
    fn run_dry(
        &self,
        source: Option<I>,
        payload: Option<Payload>,
    ) -> MutexGuard<'_, State<I::Item, S::Out, I>> {
        let dropped = caught(|| drop(source)).err();
        let mut state = self.state.lock();
        state.dry = true;
        let mut surplus = None;
        for payload in [payload, dropped].into_iter().flatten() {
            surplus = state.feed.panicked(payload);
        }
        if state.asleep > 0 {
            self.work.notify_all();
        }
        self.wake_caller(&state);
        if surplus.is_some() {
            drop(state);
            drop(surplus);
            state = self.state.lock();
        }
        state
    }

    fn wake_caller(&self, state: &State<I::Item, S::Out, I>) {
        if state.caller_waits {
            self.head.notify_one();
        }
    }

    fn wake_puller(&self, state: &State<I::Item, S::Out, I>) {
        if state.feed.puller_waits {
            self.room.notify_one();
        }
    }

    /// Waits for something that the caller should do; `handed` results are done
    /// with.
    fn turn(&self, handed: usize, limits: Limits<'_>) -> Turn<I::Item, S::Out, I> {
        let mut state = self.state.lock();
        if state.feed.handed < handed {
            state.feed.handed = handed;
            let depth = limits.depth(state.pace.size());
            let outstanding = state.feed.pulled - handed;
            if state.pace.batch(depth.saturating_sub(outstanding), depth) > 0 {
                self.wake_puller(&state);
            }
        }
        let backoff = crate::swap::hint::Backoff::new();
        loop {
            if let Some(turn) = self.turn_now(&mut state) {
                return turn;
            }
            if backoff.is_completed() {
                state.caller_waits = true;
                state = self.head.wait(state);
                state.caller_waits = false;
            } else {
                drop(state);
                backoff.snooze();
                state = self.state.lock();
            }
        }
    }

    fn turn_now(&self, state: &mut State<I::Item, S::Out, I>) -> Option<Turn<I::Item, S::Out, I>> {
        if state.aborted {
            return Some(Turn::Over);
        }
        if let Some(front) = state.chunks.front_mut() {
            let chunk = front.take()?;
            state.chunks.pop_front();
            state.received += 1;
            return Some(Turn::HandOut(chunk));
        }
        // Nobody is at work, and all that was done has been handed out.
        if state.shut {
            return Some(Turn::Over);
        }
        if state.waiting > 0 {
            let idle = state.feed.hands == 0;
            let task = idle.then(|| state.take(self.workers.count())).flatten();
            return task.map(Turn::Do);
        }
        if state.dry {
            return Some(Turn::Over);
        }
        let source = state.feed.seat.take()?;
        Some(Turn::Pull(source, state.feed.quick))
    }
}
