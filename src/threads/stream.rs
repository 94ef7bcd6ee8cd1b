//! What the caller and its helpers share while an ordered map runs: the queue
//! of items that were pulled, and the chunks of results on their way back.
//!
//! # Algorithm
//!
//! The caller pulls items in batches into `ready`. A worker (a helper, or the
//! caller itself) takes the oldest batch, or the first part of it, as one chunk
//! and opens a place for its results at the end of `chunks`; places are in the order of the items, so
//! the front of `chunks` is always the next one to hand out. All of it is
//! under one mutex that is held for the moves only: no code of the user's runs
//! under it.
//!
//! # Invariants
//!
//! 1. Items are taken in input order, so every item that was never taken comes
//!    after every one that was: when an item ends the job at index `i`, all
//!    items before `i` have been taken and will be finished.
//! 2. A place in `chunks` is filled exactly once, by the worker that opened
//!    it, whatever happens in the user's code.
//! 3. Items and results are never dropped under the lock, and none of their
//!    destructors that panics hides how the map ended.
//!
//! Where the source is `Send` the caller does not pull: see [`live`](super::live).

use super::crew::Crew;
use super::live::Feed;
use super::pace::Pace;
use super::workers::Workers;
use crate::guard::{self, Each, Payload, Surfacing, caught};
use crate::swap::atomic::{AtomicUsize, Ordering};
use crate::swap::hint::Backoff;
use crate::swap::{Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::time::Instant;
use std::vec;

/// The most items that one adaptive chunk holds.
pub(super) const LARGEST_CHUNK: usize = 4096;

/// What to do with an item, and what its result means for the rest.
pub(super) trait Step<T>: Sync {
    /// What an item becomes.
    type Out: Send;

    /// Does the item at `index`.
    fn step(&self, index: usize, item: T) -> Flow<Self::Out>;
}

/// The result of one item.
#[derive(Debug)]
pub(super) enum Flow<R> {
    /// A result; go on.
    Go(R),
    /// A result; nothing after this index is wanted.
    Last(R),
    /// Nothing is wanted any more, not even what came before.
    Abort,
}

/// How a chunk ended early.
pub(super) enum End {
    /// The item after its last result panicked.
    Panicked(Payload),
    /// Its last result was a [`Flow::Last`], or it was cut short because
    /// nobody wants the rest.
    Over,
}

/// The results of a run of consecutive items. Whoever drops it has something
/// else to say than what their destructors do.
pub(super) struct Chunk<R> {
    pub(super) results: Each<R>,
    pub(super) end: Option<End>,
}

/// A chunk to do.
pub(super) struct Task<T> {
    items: vec::IntoIter<T>,
    /// The index of the first item.
    first: usize,
    /// The number of its place in `chunks`.
    place: usize,
    pace: Pace,
}

pub(super) struct State<T, R, P> {
    ready: VecDeque<vec::IntoIter<T>>,
    /// Items that were pulled one by one; `ready` is empty then.
    pub(super) single: VecDeque<T>,
    /// Items in `ready` and in `single`.
    pub(super) waiting: usize,
    /// The index of the first of them.
    pub(super) taken: usize,
    /// The chunks that were taken and not yet received, oldest first.
    pub(super) chunks: VecDeque<Option<Chunk<R>>>,
    /// How many chunks were received: the number of the front one.
    pub(super) received: usize,
    /// Chunks that somebody is at.
    at_work: usize,
    /// The source has ended: no items will be added.
    pub(super) dry: bool,
    /// Nothing more is to be taken.
    pub(super) shut: bool,
    /// Not even what was finished is wanted.
    pub(super) aborted: bool,
    /// Helpers that wait on `work`.
    pub(super) asleep: usize,
    /// The caller waits on `head`.
    pub(super) caller_waits: bool,
    pub(super) pace: Pace,
    pub(super) feed: Feed<P>,
    /// The window, if one was given.
    widest: usize,
}

/// See the module.
pub(super) struct Job<T, S: Step<T>, P = ()> {
    step: Surfacing<S>,
    pub(super) state: Mutex<State<T, S::Out, P>>,
    /// Helpers wait here for items.
    pub(super) work: Condvar,
    /// The caller waits here for the front chunk.
    pub(super) head: Condvar,
    /// The helper that pulls waits here for room in the window.
    pub(super) room: Condvar,
    /// Items from this index on need not be done. Written under the lock.
    cut: AtomicUsize,
    pub(super) workers: Workers,
}

/// What the caller finds when it looks.
pub(super) struct View<R> {
    /// The front chunk, if it is finished.
    pub(super) chunk: Option<Chunk<R>>,
    /// Items nobody has taken.
    pub(super) ready: usize,
    /// How many of them a worker would like to take.
    pub(super) pace: Pace,
    /// No more input is wanted.
    pub(super) shut: bool,
    /// No more output is wanted either.
    pub(super) aborted: bool,
}

impl<T, S: Step<T>, P> Job<T, S, P> {
    /// `source` is for a helper to pull; `None` if the caller does.
    pub(super) fn new(
        step: S,
        workers: Workers,
        pace: Pace,
        widest: usize,
        source: Option<P>,
    ) -> Self {
        Self {
            step: Surfacing::new(step),
            state: Mutex::new(State {
                ready: VecDeque::new(),
                single: VecDeque::new(),
                waiting: 0,
                taken: 0,
                chunks: VecDeque::new(),
                received: 0,
                at_work: 0,
                dry: false,
                shut: false,
                aborted: false,
                asleep: 0,
                caller_waits: false,
                pace,
                feed: Feed::new(source),
                widest,
            }),
            work: Condvar::new(),
            head: Condvar::new(),
            room: Condvar::new(),
            cut: AtomicUsize::new(usize::MAX),
            workers,
        }
    }

    /// Drops the step, and the source if it is here.
    pub(super) fn end(self) -> Result<(), Payload> {
        let dropped = self.state.into_inner().feed.end();
        dropped.and(self.step.end())
    }

    /// The step, for a caller that works alone.
    pub(super) fn step(&self) -> &S {
        &self.step
    }

    /// A helper's part: takes chunks until there is nothing left to take.
    pub(super) fn help(&self, crew: &Crew) {
        let mut state = self.state.lock();
        loop {
            if let Some(task) = state.take(self.workers.count()) {
                self.call_another(state, crew);
                self.work_off(task);
                state = self.state.lock();
                continue;
            }
            if !state.must_wait(self.workers.count()) {
                return;
            }
            state = self.wait_for_items(state);
        }
    }

    /// The caller's part: one chunk, if there are items.
    pub(super) fn help_once(&self) -> bool {
        let task = self.state.lock().take(self.workers.count());
        task.map(|task| self.work_off(task)).is_some()
    }

    /// Adds pulled items; `dry` if they were the last ones.
    pub(super) fn push(&self, items: Vec<T>, dry: bool, crew: &Crew) {
        let mut state = self.state.lock();
        state.waiting += items.len();
        if !items.is_empty() {
            state.ready.push_back(items.into_iter());
        }
        state.dry |= dry;
        if dry && state.asleep > 0 {
            drop(state);
            self.work.notify_all();
            return;
        }
        // A job of one item is the caller's.
        if dry && state.taken == 0 && state.waiting == 1 {
            return;
        }
        self.call_another(state, crew);
    }

    /// If items are left, wakes a helper for them, or asks for one.
    pub(super) fn call_another(&self, state: MutexGuard<'_, State<T, S::Out, P>>, crew: &Crew) {
        if state.waiting == 0 || state.shut {
            return;
        }
        let asleep = state.asleep > 0;
        let enough = state.feed.hands >= self.workers.count();
        drop(state);
        if asleep {
            self.work.notify_one();
        } else if !enough {
            crew.ask();
        }
    }

    fn wait_for_items<'s>(
        &'s self,
        mut state: MutexGuard<'s, State<T, S::Out, P>>,
    ) -> MutexGuard<'s, State<T, S::Out, P>> {
        let backoff = Backoff::new();
        while !backoff.is_completed() {
            drop(state);
            backoff.snooze();
            state = self.state.lock();
            if !state.must_wait(self.workers.count()) {
                return state;
            }
        }
        while state.must_wait(self.workers.count()) {
            state.asleep += 1;
            state = self.work.wait(state);
            state.asleep -= 1;
        }
        state
    }

    /// Does a chunk and fills its place (invariant 2).
    pub(super) fn work_off(&self, task: Task<T>) {
        let Task { mut items, first, place, pace } = task;
        let started = pace.start();
        let count = items.len();
        let mut results = Each::new(Vec::with_capacity(count));
        let (mut over, mut aborted) = (false, false);
        let worked = caught(|| {
            for (index, item) in (first..).zip(items.by_ref()) {
                // ORDERING: Relaxed; a stale value means one item too many,
                // and who must know for sure looks under the lock.
                if index >= self.cut.load(Ordering::Relaxed) {
                    over = true;
                    return;
                }
                match self.step.step(index, item) {
                    Flow::Go(result) => results.push(result),
                    Flow::Last(result) => {
                        results.push(result);
                        over = true;
                        return;
                    }
                    Flow::Abort => {
                        aborted = true;
                        return;
                    }
                }
            }
        });
        let end = match worked {
            Err(payload) => Some(End::Panicked(payload)),
            Ok(()) => (over || aborted).then_some(End::Over),
        };
        let ended_at = first + results.len();
        let mut state = self.state.lock();
        state.at_work -= 1;
        let took = started.map(crate::swap::time::since);
        if let Some(took) = took {
            state.pace.record(count, took);
            state.feed.measure(count, took);
        }
        if end.is_some() {
            state.shut = true;
            if aborted {
                state.aborted = true;
                self.cut.store(0, Ordering::Relaxed);
            } else if ended_at < self.cut.load(Ordering::Relaxed) {
                self.cut.store(ended_at, Ordering::Relaxed);
            }
        }
        let at = place - state.received;
        state.chunks[at] = Some(Chunk { results, end });
        let wake = state.caller_waits && (at == 0 || aborted);
        drop(state);
        if wake {
            self.head.notify_one();
        }
        // What was not done is dropped last, when the caller knows how the
        // chunk ended.
        let _ = guard::each(items);
    }

    /// The caller did `count` items, begun at `started`, past the queue, which
    /// was empty.
    pub(super) fn pass_by(&self, count: usize, started: Option<Instant>) {
        let mut state = self.state.lock();
        state.taken += count;
        state.pace.end(count, started);
    }

    /// Takes the front chunk if it is finished, and looks around.
    pub(super) fn look(&self) -> View<S::Out> {
        let mut state = self.state.lock();
        let mut chunk = None;
        if let Some(Some(_)) = state.chunks.front() {
            chunk = state.chunks.pop_front().flatten();
            state.received += 1;
        }
        View {
            chunk,
            ready: state.waiting,
            pace: state.pace,
            shut: state.shut,
            aborted: state.aborted,
        }
    }

    /// Waits until the front chunk is finished; `false` if there is none.
    pub(super) fn wait_for_head(&self) -> bool {
        let backoff = Backoff::new();
        let mut state = self.state.lock();
        while state.head_is_open() && !backoff.is_completed() {
            drop(state);
            backoff.snooze();
            state = self.state.lock();
        }
        while state.head_is_open() {
            state.caller_waits = true;
            state = self.head.wait(state);
            state.caller_waits = false;
        }
        !state.chunks.is_empty()
    }

    /// Nothing more is wanted: helpers leave after the item they are at.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.shut = true;
        self.cut.store(0, Ordering::Relaxed);
        let (asleep, full) = (state.asleep > 0, state.feed.puller_waits);
        drop(state);
        if asleep {
            self.work.notify_all();
        }
        if full {
            self.room.notify_one();
        }
    }
}

/// What was not done, and what was not wanted.
impl<T, R, P> Drop for State<T, R, P> {
    fn drop(&mut self) {
        let _ = guard::each(self.single.drain(..));
        let _ = guard::each(self.ready.drain(..).flatten());
    }
}

impl<T, R, P> State<T, R, P> {
    /// Takes the next chunk of items, if there is one, and opens its place.
    pub(super) fn take(&mut self, workers: usize) -> Option<Task<T>> {
        if self.shut || self.at_work >= workers {
            return None;
        }
        // Only at the end is what waits all there is to divide.
        let left = if self.dry { self.waiting } else { self.widest };
        let share = self.pace.share(left, workers);
        let items = match self.ready.front_mut() {
            Some(batch) if batch.len() > share => {
                batch.by_ref().take(share).collect::<Vec<_>>().into_iter()
            }
            Some(_) => self.ready.pop_front()?,
            None if self.single.is_empty() => return None,
            None => {
                let count = share.min(self.single.len());
                self.single.drain(..count).collect::<Vec<_>>().into_iter()
            }
        };
        self.waiting -= items.len();
        Some(self.open(items))
    }

    /// Opens the place for the results of `items`, the next ones in order.
    pub(super) fn open(&mut self, items: vec::IntoIter<T>) -> Task<T> {
        let first = self.taken;
        self.taken += items.len();
        self.at_work += 1;
        let place = self.received + self.chunks.len();
        self.chunks.push_back(None);
        Task { items, first, place, pace: self.pace }
    }

    /// A helper finds nothing to take, but may yet.
    fn must_wait(&self, workers: usize) -> bool {
        !self.shut && if self.waiting == 0 { !self.dry } else { self.at_work >= workers }
    }

    fn head_is_open(&self) -> bool {
        !self.aborted && matches!(self.chunks.front(), Some(None))
    }
}
