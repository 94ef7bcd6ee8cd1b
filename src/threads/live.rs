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

use super::crew::Crew;
use super::pace::Pace;
use super::results::{Drive, Limits, Refill};
use super::stream::{Chunk, End, Flow, Job, State, Step, Task};
use crate::guard::{Payload, Surfacing, caught};
use crate::sync::{MutexGuard, time};
use std::mem;
use std::time::{Duration, Instant};

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
        let backoff = crate::sync::hint::Backoff::new();
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

/// The state behind the [`Results`](super::Results) of a source that a helper
/// pulls.
pub(super) struct Live<'s, I: Iterator<Item: Send> + Send, S: Step<I::Item>> {
    job: &'s Job<I::Item, S, I>,
    crew: &'s Crew,
    limits: Limits<'s>,
    total: Option<usize>,
    /// Decided once: the number of cores may become known in the middle.
    alone: bool,
    /// A puller was asked for.
    asked: bool,
    /// The source, while the caller keeps it.
    kept: Option<I>,
    /// Items done since the source was taken, and since when.
    stretch: (usize, Option<Instant>),
    /// Results that were handed to `Results`.
    done: usize,
    end: Option<End>,
    over: bool,
}

impl<'s, I: Iterator<Item: Send> + Send, S: Step<I::Item>> Live<'s, I, S> {
    pub(super) fn new(
        job: &'s Job<I::Item, S, I>,
        crew: &'s Crew,
        limits: Limits<'s>,
        total: Option<usize>,
    ) -> Self {
        Self {
            job,
            crew,
            limits,
            total,
            alone: limits.workers.count() == 1,
            asked: false,
            kept: None,
            stretch: (0, None),
            done: 0,
            end: None,
            over: false,
        }
    }

    /// Pulls an item and shares out what comes behind it: the item has its
    /// place, and the source is back in its seat, before the item is done.
    fn pull_one(&mut self, mut source: I) {
        let pulled = caught(|| source.next());
        let task = match pulled {
            Ok(Some(item)) => {
                let mut state = self.job.state.lock();
                state.feed.pulled += 1;
                let task = state.open(vec![item].into_iter());
                state.feed.seat = Some(source);
                self.job.wake_puller(&state);
                task
            }
            Ok(None) => return drop(self.job.run_dry(Some(source), None)),
            Err(payload) => return drop(self.job.run_dry(Some(source), Some(payload))),
        };
        self.job.work_off(task);
    }

    /// Pulls an item and does it, with the source kept.
    fn do_one(&mut self, mut source: I) -> Option<Refill<S::Out>> {
        let mut at_work = false;
        let worked = caught(|| {
            let item = source.next()?;
            at_work = true;
            Some(self.job.step().step(self.done, item))
        });
        let result = match worked {
            Ok(None) => {
                self.settle(None);
                drop(self.job.run_dry(Some(source), None));
                return None;
            }
            Err(payload) if !at_work => {
                self.settle(None);
                drop(self.job.run_dry(Some(source), Some(payload)));
                return None;
            }
            Ok(Some(Flow::Go(result))) => Some(result),
            Ok(Some(Flow::Last(result))) => {
                self.end = Some(End::Over);
                Some(result)
            }
            Ok(Some(Flow::Abort)) => {
                self.end = Some(End::Over);
                None
            }
            Err(payload) => {
                self.end = Some(End::Panicked(payload));
                None
            }
        };
        self.kept = Some(source);
        self.stretch.0 += 1;
        if !self.alone && self.stretch.0.is_multiple_of(MEASURED) {
            if Pace::is_overdue(self.stretch.1) {
                let kept = self.kept.take();
                self.settle(kept);
            } else if self.stretch.0.is_multiple_of(MEASURED * 4) {
                self.settle_count();
                self.stretch = (0, Some(time::now()));
            }
        }
        let result = Surfacing::new(result?);
        self.hand_out(1);
        Some(Refill::One(result.into_inner()))
    }

    /// Accounts for the items that were done with the source kept.
    fn settle_count(&mut self) -> MutexGuard<'s, State<I::Item, S::Out, I>> {
        let count = mem::take(&mut self.stretch.0);
        let mut state = self.job.state.lock();
        state.feed.pulled += count;
        state.taken += count;
        state
    }

    /// Ends a stretch: the source goes back to its seat, for the puller.
    fn settle(&mut self, source: Option<I>) {
        let mut state = self.settle_count();
        state.feed.quick = false;
        if source.is_some() {
            state.feed.seat = source;
            self.job.wake_puller(&state);
        }
    }

    /// Counts results that are handed out, and tells.
    fn hand_out(&mut self, count: usize) {
        self.done += count;
        if let Some(hook) = self.limits.hook {
            hook(self.done, self.total.filter(|total| self.done <= *total));
        }
    }

    /// Nothing follows but perhaps a panic.
    fn finish(&mut self) -> Refill<S::Out> {
        self.stop();
        match self.end.take() {
            Some(End::Panicked(payload)) => Refill::Panicked(payload),
            Some(End::Over) => Refill::Done,
            None => {
                let payload = self.job.state.lock().feed.panic.take();
                match payload {
                    Some(payload) => payload.resume(),
                    None => Refill::Done,
                }
            }
        }
    }
}

impl<I: Iterator<Item: Send> + Send, S: Step<I::Item>> Drive<S::Out> for Live<'_, I, S> {
    fn refill(&mut self) -> Refill<S::Out> {
        if self.over {
            return Refill::Done;
        }
        if !self.asked && !self.alone {
            self.asked = true;
            self.crew.ask();
        }
        loop {
            if self.end.is_some() {
                return self.finish();
            }
            if let Some(source) = self.kept.take() {
                if let Some(refill) = self.do_one(source) {
                    return refill;
                }
                continue;
            }
            match self.job.turn(self.done, self.limits) {
                Turn::Over => return self.finish(),
                Turn::Do(task) => {
                    self.job.work_off(task);
                    // A helper may have found all places taken.
                    self.job.call_another(self.job.state.lock(), self.crew);
                }
                Turn::Pull(source, quick) if quick || self.alone => {
                    self.kept = Some(source);
                    self.stretch = (0, (!self.alone).then(time::now));
                }
                Turn::Pull(source, _) => {
                    self.pull_one(source);
                    self.job.call_another(self.job.state.lock(), self.crew);
                }
                Turn::HandOut(Chunk { results, end }) => {
                    self.end = end;
                    let count = results.len();
                    self.hand_out(count);
                    if count > 0 {
                        return Refill::More(results);
                    }
                }
            }
        }
    }

    fn stop(&mut self) {
        self.over = true;
        self.job.stop();
    }
}

/// Stops the work even if the results were forgotten.
impl<I: Iterator<Item: Send> + Send, S: Step<I::Item>> Drop for Live<'_, I, S> {
    fn drop(&mut self) {
        self.job.stop();
        if self.kept.is_some() {
            self.job.state.lock().feed.seat = self.kept.take();
        }
    }
}
