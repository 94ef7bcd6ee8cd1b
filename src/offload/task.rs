//! A closure on its way to a thread, and what it owes its job.

use super::Work;
use super::job::Slot;
use crate::guard::{self, guarded};
use crate::outcome::{Cancelled, Crash, Outcome, TimedOut};
use crate::semaphore::OwnedPermit;
use crate::swap::Arc;
use crate::timeout::{Deadline, deadline::exactly};
use std::convert::Infallible;

/// A closure without its type. Neither of the two panics.
pub(super) trait Task: Send {
    /// Runs it, unless nobody wants it any more.
    fn run(self: Box<Self>);

    /// Drops it unrun.
    fn refuse(self: Box<Self>, why: Refusal);
}

/// Why a closure is not run.
pub(super) enum Refusal {
    Closed(Cancelled),
    Cancelled(Cancelled),
    TimedOut(TimedOut),
    NoThread(Crash),
}

/// What a task owes its job: an outcome, and the permit, before that.
pub(super) struct Promise<T> {
    slot: Arc<Slot<T>>,
    permit: Option<OwnedPermit>,
}

impl<T> Promise<T> {
    pub(super) fn new(slot: Arc<Slot<T>>, permit: Option<OwnedPermit>) -> Self {
        Self { slot, permit }
    }

    fn keep(self, outcome: Outcome<T, Infallible>) {
        // Invariant 2.
        drop(self.permit);
        self.slot.publish(outcome);
    }
}

/// The closure with all it needs.
pub(super) struct Closure<T, F> {
    f: F,
    work: Work,
    promise: Promise<T>,
}

impl<T, F> Closure<T, F> {
    pub(super) fn new(f: F, work: Work, promise: Promise<T>) -> Self {
        Self { f, work, promise }
    }

    fn why_not(&self) -> Option<Refusal> {
        if let Err(cancelled) = self.work.token.check() {
            return Some(Refusal::Cancelled(cancelled));
        }
        let passed = self.work.deadline.filter(Deadline::has_passed)?;
        Some(Refusal::TimedOut(TimedOut::new(passed.name(), passed.allowance())))
    }
}

impl<T, F> Task for Closure<T, F>
where
    F: FnOnce(&Work) -> T + Send,
    T: Send,
{
    fn run(self: Box<Self>) {
        if let Some(why) = self.why_not() {
            return self.refuse(why);
        }
        let Self { f, work, promise } = *self;
        promise.slot.begin();
        let ended = guarded(|| exactly(work.deadline, || f(&work)));
        promise.slot.end();
        promise.keep(match ended {
            Ok(value) => Outcome::Ok(value),
            Err(panic) => Outcome::Panicked(panic),
        });
    }

    fn refuse(self: Box<Self>, why: Refusal) {
        let Self { f, promise, .. } = *self;
        let outcome = match why {
            Refusal::Closed(cancelled) | Refusal::Cancelled(cancelled) => {
                Outcome::Cancelled(cancelled)
            }
            Refusal::TimedOut(timed_out) => Outcome::TimedOut(timed_out),
            Refusal::NoThread(crash) => Outcome::Crashed(crash),
        };
        promise.keep(guard::and_dropped(outcome, guard::dropped(f)));
    }
}
