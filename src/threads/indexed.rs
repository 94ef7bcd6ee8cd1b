//! The ordered map over something indexed: workers claim ranges of indices
//! from a cursor and write results straight to their places.
//!
//! # Algorithm
//!
//! Guided self-scheduling (Polychronopoulos and Kuck, 1987) with a measured
//! bound: a claim is as long as takes about [`GOAL`](super::pace::GOAL), and
//! never more than a fixed share of what is left, so that the workers end
//! together even if the last items are the slow ones.
//!
//! # Invariants
//!
//! 1. Claimed ranges are disjoint and in index order, so when an item panics
//!    all items before it have been claimed and will be finished: the panic of
//!    the lowest index does not depend on the schedule.
//! 2. A place is written only by the worker that claimed it, at most once, and
//!    is listed in `written` once it is.
//! 3. The output is handed out only if every place was written.
#![allow(unsafe_code, reason = "threads write to disjoint parts of one output")]

use super::crew::Crew;
use super::pace::Pace;
use super::results::Limits;
use crate::guard::{Each, Payload, caught};
use crate::swap::Mutex;
use crate::swap::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::mem::MaybeUninit;
use std::ops::Range;

/// A map over `0..len`; see the module.
pub(super) struct Indexed<'s, R, F> {
    /// The results of a range of indices, in order.
    block: F,
    limits: Limits<'s>,
    len: usize,
    out: *mut MaybeUninit<R>,
    cursor: AtomicUsize,
    /// Something panicked: claim nothing more.
    stop: AtomicBool,
    /// Items done, for the progress hook.
    done: AtomicUsize,
    ended: Mutex<Ended>,
}

// SAFETY: workers share `block` by reference (`F: Sync`), send results
// (`R: Send`) to places that only they write (invariant 2), and the hook is
// `Sync`.
unsafe impl<R: Send, F: Sync> Sync for Indexed<'_, R, F> {}

#[derive(Default)]
struct Ended {
    written: Vec<Range<usize>>,
    panic: Option<(usize, Payload)>,
}

/// Places to fill in order, from the first.
struct Row<'o, R> {
    places: &'o mut [MaybeUninit<R>],
    filled: usize,
}

impl<R> Row<'_, R> {
    #[inline]
    fn fill(&mut self, results: impl Iterator<Item = R>) {
        for (place, result) in self.places.iter_mut().zip(results) {
            place.write(result);
            self.filled += 1;
        }
    }
}

impl<'s, R, F, B> Indexed<'s, R, F>
where
    R: Send,
    F: Fn(Range<usize>) -> B + Sync,
    B: Iterator<Item = R>,
{
    /// Maps `0..len` into a vector. `block` must return exactly as many
    /// results as its range has indices, or this panics.
    pub(super) fn run(
        pool: &super::Pool,
        limits: Limits<'s>,
        len: usize,
        block: F,
    ) -> Result<Vec<R>, (usize, Payload)> {
        let mut out: Vec<R> = Vec::new();
        if let Err(error) = out.try_reserve_exact(len) {
            panic!("no memory for {len} results: {error}");
        }
        let job = Self {
            block,
            limits,
            len,
            out: out.spare_capacity_mut().as_mut_ptr(),
            cursor: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            done: AtomicUsize::new(0),
            ended: Mutex::new(Ended::default()),
        };
        let helpers = len.saturating_sub(1);
        let outcome = caught(|| {
            pool.crew(limits.workers, helpers, 0, &|crew: &Crew| job.work(crew, None), |crew| {
                if helpers > 0 {
                    crew.ask();
                }
                job.work(crew, limits.hook);
            });
        });
        let Indexed { ended, .. } = job;
        let Ended { written, panic } = ended.into_inner();
        let filled: usize = written.iter().map(ExactSizeIterator::len).sum();
        if filled == len && outcome.is_ok() {
            // SAFETY: `len` places were reserved, and every one was written
            // (invariants 2 and 3); no worker is left.
            unsafe { out.set_len(len) };
            let out = Each::new(out);
            if let Some(hook) = limits.hook {
                hook(len, Some(len));
            }
            return Ok(out.into_vec());
        }
        for range in written {
            for place in &mut out.spare_capacity_mut()[range] {
                // One result whose drop panics must not keep the others alive;
                // what surfaces is why there is no output.
                // SAFETY: it was written (invariant 2) and is dropped once:
                // ranges are disjoint, and the vector's length stays zero.
                let _ = caught(|| unsafe { place.assume_init_drop() });
            }
        }
        match (outcome, panic) {
            (Err(payload), _) => payload.resume(),
            (Ok(()), Some(panic)) => Err(panic),
            (Ok(()), None) => unreachable!("a block returned fewer results than indices"),
        }
    }

    fn work(&self, crew: &Crew, hook: Option<super::results::Hook<'_>>) {
        let mut pace = Pace::new(self.limits.chunk, usize::MAX);
        let mut written: Vec<Range<usize>> = Vec::new();
        let mut panic = None;
        let mut hook_panic = None;
        let mut first = true;
        while let Some(range) = self.claim(pace) {
            if std::mem::take(&mut first) && range.end < self.len {
                crew.ask();
            }
            let started = pace.start();
            // SAFETY: `out` has `len` places that live until the job is over,
            // and the range is this worker's alone (invariants 1 and 2).
            let places =
                unsafe { std::slice::from_raw_parts_mut(self.out.add(range.start), range.len()) };
            let mut row = Row { places, filled: 0 };
            let worked = caught(|| row.fill((self.block)(range.clone())));
            let filled = range.start..range.start + row.filled;
            pace.end(filled.len(), started);
            match written.last_mut() {
                Some(last) if last.end == filled.start => last.end = filled.end,
                _ => written.push(filled.clone()),
            }
            if let Err(payload) = worked {
                self.stop.store(true, Ordering::Relaxed);
                panic = Some((filled.end, payload));
                break;
            }
            if self.limits.hook.is_some() {
                // ORDERING: Relaxed; a count for show.
                let done = self.done.fetch_add(filled.len(), Ordering::Relaxed) + filled.len();
                if let Some(hook) = hook.filter(|_| done < self.len)
                    && let Err(payload) = caught(|| hook(done, Some(self.len)))
                {
                    self.stop.store(true, Ordering::Relaxed);
                    hook_panic = Some(payload);
                    break;
                }
            }
        }
        let mut ended = self.ended.lock();
        ended.written.append(&mut written);
        let surplus = match (&ended.panic, panic) {
            (Some((lowest, _)), Some(mine)) if *lowest < mine.0 => Some(mine),
            (_, Some(mine)) => ended.panic.replace(mine),
            (_, None) => None,
        };
        drop(ended);
        drop(surplus);
        if let Some(payload) = hook_panic {
            payload.resume();
        }
    }

    /// Takes the next range, if anything is left and nothing panicked.
    fn claim(&self, pace: Pace) -> Option<Range<usize>> {
        // ORDERING: Relaxed throughout; a claim publishes nothing. Results
        // reach the caller through the crew's lock when helpers leave.
        let mut at = self.cursor.load(Ordering::Relaxed);
        while at < self.len && !self.stop.load(Ordering::Relaxed) {
            let end = at + pace.share(self.len - at, self.limits.workers.count());
            match self.cursor.compare_exchange_weak(at, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(at..end),
                Err(now) => at = now,
            }
        }
        None
    }
}
