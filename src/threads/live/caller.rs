//! The caller's side of the lazy form: receives results, and pulls and works
//! where that is faster.
//!
//! Where items are quick the caller keeps the source and does one item after
//! the other, each when it is asked for: at no time does it owe a result while
//! it pulls. That way has one dynamic call an item, no lock, no clock but once
//! in [`CLOCKED`] items, and catches no panic: one that comes up there goes
//! where it belongs, to the consumer.

use super::super::crew::Crew;
use super::super::pace::Pace;
use super::super::results::{Drive, Limits, Refill};
use super::super::stream::{Chunk, End, Flow, Job, State, Step};
use super::{MEASURED, Turn};
use crate::guard::{self, Surfacing, caught};
use crate::swap::{MutexGuard, time};
use std::mem;
use std::time::Instant;

/// So many quick items are done between two looks at the clock.
const CLOCKED: usize = 256;

/// The state behind the [`Results`](super::Results) of a source that a helper
/// pulls.
pub(in super::super) struct Live<'s, I: Iterator<Item: Send> + Send, S: Step<I::Item>> {
    job: &'s Job<I::Item, S, I>,
    step: &'s S,
    crew: &'s Crew,
    limits: Limits<'s>,
    total: Option<usize>,
    /// Decided once: the number of cores may become known in the middle.
    alone: bool,
    /// A puller was asked for.
    asked: bool,
    /// The source, while the caller keeps it.
    kept: Option<I>,
    /// The items done with the source kept, and since when, that the job has
    /// not been told of: those from this index on.
    stretch: (usize, Option<Instant>),
    /// Below this index, items may be done by [`Drive::one`]: the source is
    /// kept, and neither the clock nor the hook is due.
    until: usize,
    /// Results that were handed to `Results`.
    done: usize,
    end: Option<End>,
    over: bool,
}

impl<'s, I: Iterator<Item: Send> + Send, S: Step<I::Item>> Live<'s, I, S> {
    pub(in super::super) fn new(
        job: &'s Job<I::Item, S, I>,
        crew: &'s Crew,
        limits: Limits<'s>,
        total: Option<usize>,
    ) -> Self {
        Self {
            job,
            step: job.step(),
            crew,
            limits,
            total,
            alone: limits.workers.count() == 1,
            asked: false,
            kept: None,
            stretch: (0, None),
            until: 0,
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

    /// Keeps the source: the caller pulls and works from now on.
    fn keep(&mut self, source: I) {
        self.kept = Some(source);
        self.stretch = (self.done, (!self.alone).then(time::now));
        self.until = self.done.saturating_add(if self.alone { usize::MAX } else { MEASURED });
    }

    /// Whether the caller is still to keep the source; asked once in a while.
    fn keeps_on(&mut self) -> bool {
        if self.done < self.until {
            return true;
        }
        if Pace::is_overdue(self.stretch.1) {
            let source = self.kept.take();
            self.settle(source);
            return false;
        }
        self.settle_count();
        self.stretch.1 = Some(time::now());
        self.until = self.done + CLOCKED;
        true
    }

    /// The kept source has ended.
    fn ended(&mut self) {
        let source = self.kept.take();
        self.settle(None);
        drop(self.job.run_dry(source, None));
    }

    /// Pulls an item and does it, with the source kept. Inlined, it is all that
    /// a quick item costs beside two calls.
    #[inline]
    fn do_one(&mut self) -> Option<S::Out> {
        let pulling = Pulling(self);
        let item = pulling.0.kept.as_mut().and_then(Iterator::next);
        mem::forget(pulling);
        let Some(item) = item else {
            self.ended();
            return None;
        };
        let working = Working(self);
        let flow = working.0.step.step(working.0.done, item);
        mem::forget(working);
        match flow {
            Flow::Go(result) => {
                self.done += 1;
                Some(result)
            }
            Flow::Last(result) => {
                self.done += 1;
                self.end_at(End::Over);
                Some(result)
            }
            Flow::Abort => {
                self.end_at(End::Over);
                None
            }
        }
    }

    /// Nothing follows what has been done.
    fn end_at(&mut self, end: End) {
        self.until = 0;
        self.end = Some(end);
    }

    /// Tells the job of the items that were done with the source kept.
    fn settle_count(&mut self) -> MutexGuard<'s, State<I::Item, S::Out, I>> {
        let count = self.done - mem::replace(&mut self.stretch.0, self.done);
        let mut state = self.job.state.lock();
        state.feed.pulled += count;
        state.taken += count;
        state
    }

    /// Ends a stretch: the source goes back to its seat, for the puller.
    fn settle(&mut self, source: Option<I>) {
        self.until = 0;
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
        self.tell();
    }

    fn tell(&self) {
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

/// The caller at its source. Dropped only where that panics: the panic is on its
/// way to the consumer, to whom nothing is owed.
struct Pulling<'l, 's, I: Iterator<Item: Send> + Send, S: Step<I::Item>>(&'l mut Live<'s, I, S>);

impl<I: Iterator<Item: Send> + Send, S: Step<I::Item>> Drop for Pulling<'_, '_, I, S> {
    fn drop(&mut self) {
        self.0.stop();
        let source = self.0.kept.take();
        // It has panicked once.
        let _ = guard::dropped(source);
    }
}

/// The caller at an item, as [`Pulling`].
struct Working<'l, 's, I: Iterator<Item: Send> + Send, S: Step<I::Item>>(&'l mut Live<'s, I, S>);

impl<I: Iterator<Item: Send> + Send, S: Step<I::Item>> Drop for Working<'_, '_, I, S> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl<I: Iterator<Item: Send> + Send, S: Step<I::Item>> Drive<S::Out> for Live<'_, I, S> {
    fn one(&mut self) -> Option<S::Out> {
        let quick = self.done < self.until && self.limits.hook.is_none();
        if quick { self.do_one() } else { None }
    }

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
            if self.kept.is_some() {
                if self.keeps_on()
                    && let Some(result) = self.do_one()
                {
                    let result = Surfacing::new(result);
                    self.tell();
                    return Refill::One(result.into_inner());
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
                Turn::Pull(source, quick) if quick || self.alone => self.keep(source),
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
        self.until = 0;
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
