//! The caller's side of an ordered map: pulls the source, works when there is
//! nothing better to do, hands out results in input order.

use super::crew::Crew;
use super::pace::Pace;
use super::stream::{End, Flow, Job, LARGEST_CHUNK, Step};
use super::workers::Workers;
use crate::guard::{self, Each, Payload, caught};
use std::fmt;
use std::num::NonZeroUsize;
use std::vec;

/// The hook of [`Threads::progress`](super::Threads::progress).
pub(super) type Hook<'h> = &'h (dyn Fn(usize, Option<usize>) + Sync);

/// The window when none is given, in items.
pub(super) const WIDEST: usize = 65_536;

/// A caller alone looks at the clock once in so many items.
const CLOCKED: usize = 64;

/// The results of a [`stream`](super::Threads::stream), lazily and in input
/// order.
///
/// Dropping it stops the work: items that have not been started never will
/// be. After the last result, and after a panic, it yields nothing more.
///
/// # Panics
///
/// `next` panics with the payload of the closure's panic when it comes to the
/// index at which the closure panicked, after all results before it. A panic
/// of the source comes after the results of all items that were pulled.
#[must_use = "results are computed as they are asked for"]
pub struct Results<'r, R> {
    current: vec::IntoIter<R>,
    driver: &'r mut (dyn Drive<R> + 'r),
}

/// What [`Results`] needs of a [`Driver`], whose type names the source and the
/// closure: one dynamic call a chunk.
pub(super) trait Drive<R> {
    /// The next result, if it is to be had without more ado; `None` says
    /// nothing.
    fn one(&mut self) -> Option<R> {
        None
    }
    fn refill(&mut self) -> Refill<R>;
    fn stop(&mut self);
}

pub(super) enum Refill<R> {
    /// The next results, at least one.
    More(Each<R>),
    /// The next result.
    One(R),
    /// The item after the last result panicked.
    Panicked(Payload),
    Done,
}

impl<'r, R> Results<'r, R> {
    pub(super) fn new(driver: &'r mut (dyn Drive<R> + 'r)) -> Self {
        Self { current: Vec::new().into_iter(), driver }
    }

    /// The next result, or what the next item panicked with.
    #[inline]
    pub(super) fn entry(&mut self) -> Option<Result<R, Payload>> {
        match self.current.next() {
            Some(result) => Some(Ok(result)),
            None => self.entry_after_refill(),
        }
    }

    #[inline(never)]
    fn entry_after_refill(&mut self) -> Option<Result<R, Payload>> {
        match self.driver.refill() {
            Refill::More(results) => {
                self.current = results.into_vec().into_iter();
                self.current.next().map(Ok)
            }
            Refill::One(result) => Some(Ok(result)),
            Refill::Panicked(payload) => Some(Err(payload)),
            Refill::Done => None,
        }
    }
}

impl<R> Iterator for Results<'_, R> {
    type Item = R;

    #[inline]
    fn next(&mut self) -> Option<R> {
        if let Some(result) = self.current.next() {
            return Some(result);
        }
        if let Some(result) = self.driver.one() {
            return Some(result);
        }
        match self.entry_after_refill()? {
            Ok(result) => Some(result),
            Err(payload) => payload.resume(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.current.len(), None)
    }
}

impl<R> std::iter::FusedIterator for Results<'_, R> {}

impl<R> Drop for Results<'_, R> {
    fn drop(&mut self) {
        self.driver.stop();
        // What was not asked for.
        let _ = guard::each(&mut self.current);
    }
}

impl<R> fmt::Debug for Results<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").field("at_hand", &self.current.len()).finish_non_exhaustive()
    }
}

/// How far the caller may pull ahead, how fast, and whom it tells.
#[derive(Clone, Copy)]
pub(super) struct Limits<'h> {
    pub(super) workers: Workers,
    /// Hard bound on items pulled and not yet handed out.
    pub(super) window: Option<NonZeroUsize>,
    pub(super) chunk: Option<NonZeroUsize>,
    /// Without a window: the least that may be pulled ahead.
    pub(super) ahead: usize,
    pub(super) hook: Option<Hook<'h>>,
}

impl Limits<'_> {
    /// Items that may be pulled and not handed out while a chunk has `pace`.
    /// Without a window that is sixteen chunks a worker: slow items stay few,
    /// quick ones come in numbers that are worth a lock.
    pub(super) fn depth(&self, pace: usize) -> usize {
        match self.window {
            Some(window) => window.get(),
            None => {
                let chunks = self.workers.count().saturating_mul(16);
                pace.saturating_mul(chunks).clamp(self.ahead.min(WIDEST), WIDEST)
            }
        }
    }
}

/// The state behind [`Results`].
pub(super) struct Driver<'s, I: Iterator, S: Step<I::Item>> {
    job: &'s Job<I::Item, S>,
    crew: &'s Crew,
    limits: Limits<'s>,
    /// `None` once it has ended or panicked.
    source: Option<I>,
    source_panic: Option<Payload>,
    total: Option<usize>,
    /// Decided once: the number of cores may become known in the middle.
    alone: bool,
    pull: Pace,
    /// Items that the source yielded.
    pulled: usize,
    /// Results that were handed to [`Results`].
    done: usize,
    end: Option<End>,
    over: bool,
}

impl<'s, I: Iterator, S: Step<I::Item>> Driver<'s, I, S> {
    pub(super) fn new(
        job: &'s Job<I::Item, S>,
        crew: &'s Crew,
        limits: Limits<'s>,
        source: I,
    ) -> Self {
        let mut driver = Self {
            job,
            crew,
            limits,
            source: Some(source),
            source_panic: None,
            total: None,
            alone: limits.workers.count() == 1,
            pull: Pace::new(limits.chunk, LARGEST_CHUNK),
            pulled: 0,
            done: 0,
            end: None,
            over: false,
        };
        // It has its place: a hint that panics drops it there.
        let hint = driver.source.as_ref().map(Iterator::size_hint);
        driver.total = hint.and_then(|(least, most)| most.filter(|most| *most == least));
        driver
    }

    /// Drops the source. What it panicked with before was not asked for.
    pub(super) fn close(mut self) -> Result<(), Payload> {
        caught(|| self.source = None)
    }

    /// Pulls one batch, if the window has room for it beside the `in_hand` results
    /// that are about to be handed out. `false` if nothing was to be pulled.
    fn pull(&mut self, pace: usize, in_hand: usize) -> bool {
        let outstanding = self.pulled - self.done + in_hand;
        let depth = self.limits.depth(pace);
        let room = depth.saturating_sub(outstanding);
        let wanted = self.pull.batch(room, depth);
        let Some(source) = self.source.as_mut().filter(|_| wanted > 0) else {
            return false;
        };
        let started = self.pull.start();
        let mut batch = Vec::with_capacity(wanted.min(LARGEST_CHUNK));
        let pulled = caught(|| {
            for _ in 0..wanted {
                match source.next() {
                    Some(item) => batch.push(item),
                    None => return true,
                }
            }
            // It says that this was the last: then it is known now and not
            // only at the next pull. But a hint is a hint, and may be wrong.
            if wanted < room && source.size_hint().1 == Some(0) {
                match source.next() {
                    Some(item) => batch.push(item),
                    None => return true,
                }
            }
            false
        });
        let count = batch.len();
        self.pulled += count;
        self.pull.end(count, started);
        let dry = match pulled {
            Ok(dry) => dry,
            Err(payload) => {
                self.source_panic = Some(payload);
                true
            }
        };
        self.job.push(batch, dry, self.crew);
        if dry {
            self.end_source();
        }
        true
    }

    /// Drops the source. A panic in that is one of the source, and its first
    /// counts.
    fn end_source(&mut self) {
        if let Err(payload) = caught(|| self.source = None) {
            self.source_panic.get_or_insert(payload);
        }
    }

    /// The next results without helpers, past the queue, which is empty: pulls
    /// and does as many items as make a chunk.
    fn alone(&mut self, pace: Pace) -> Refill<S::Out> {
        let Some(source) = self.source.as_mut() else {
            return self.finish();
        };
        let wanted = pace.size().min(self.limits.depth(pace.size()));
        let started = pace.start();
        let mut results = Each::new(Vec::with_capacity(wanted.min(LARGEST_CHUNK)));
        let mut end = None;
        let mut at_work = false;
        let worked = caught(|| {
            while results.len() < wanted {
                let Some(item) = source.next() else { return true };
                at_work = true;
                match self.job.step().step(self.done + results.len(), item) {
                    Flow::Go(result) => results.push(result),
                    Flow::Last(result) => {
                        results.push(result);
                        end = Some(End::Over);
                        return true;
                    }
                    Flow::Abort => {
                        end = Some(End::Over);
                        return true;
                    }
                }
                at_work = false;
                if results.len() % CLOCKED == 0 && Pace::is_overdue(started) {
                    return false;
                }
            }
            false
        });
        if self.alone {
            self.pull.end(results.len(), started);
        } else {
            self.pulled += results.len();
            self.job.pass_by(results.len(), started);
        }
        match worked {
            Ok(dry) if !dry => {}
            Ok(_) => self.end_source(),
            Err(payload) if at_work => end = Some(End::Panicked(payload)),
            Err(payload) => {
                self.source_panic = Some(payload);
                self.end_source();
            }
        }
        self.end = end;
        if results.is_empty() {
            return self.finish();
        }
        self.hand_out(results.len());
        Refill::More(results)
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
        self.over = true;
        self.job.stop();
        match self.end.take() {
            Some(End::Panicked(payload)) => Refill::Panicked(payload),
            Some(End::Over) => Refill::Done,
            None => match self.source_panic.take() {
                Some(payload) => payload.resume(),
                None => Refill::Done,
            },
        }
    }
}

impl<I: Iterator, S: Step<I::Item>> Drive<S::Out> for Driver<'_, I, S> {
    fn refill(&mut self) -> Refill<S::Out> {
        if self.over {
            return Refill::Done;
        }
        if self.end.is_some() {
            return self.finish();
        }
        if self.alone {
            return self.alone(self.pull);
        }
        loop {
            let view = self.job.look();
            if view.aborted {
                self.stop();
                return Refill::Done;
            }
            // Not worth another core: what is under way is the last of it.
            let quick = !view.shut && view.pace.is_at_its_most();
            if let Some(chunk) = view.chunk {
                let count = chunk.results.len();
                self.end = chunk.end;
                self.hand_out(count);
                let few = view.pace.size().saturating_mul(self.limits.workers.count());
                if !view.shut && !quick && view.ready < few {
                    self.pull(view.pace.size(), count);
                }
                if count > 0 {
                    return Refill::More(chunk.results);
                }
                if self.end.is_some() {
                    return self.finish();
                }
                continue;
            }
            if quick && self.pulled == self.done {
                return self.alone(view.pace);
            }
            if !view.shut && !quick && self.pull(view.pace.size(), 0) {
                continue;
            }
            if !self.job.help_once() && !self.job.wait_for_head() {
                return self.finish();
            }
        }
    }

    fn stop(&mut self) {
        self.over = true;
        self.job.stop();
    }
}

/// Stops the work even if the [`Results`] were forgotten.
impl<I: Iterator, S: Step<I::Item>> Drop for Driver<'_, I, S> {
    fn drop(&mut self) {
        self.job.stop();
        guard::surface(caught(|| self.source = None));
    }
}
