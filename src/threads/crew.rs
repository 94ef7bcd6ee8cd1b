//! One job, its caller, and the helpers that come to it.
//!
//! A job lives on its caller's stack and borrows from it. Helpers are threads
//! that outlive the call, so they reach the job through a [`Call`], which is
//! shared, owned, and keeps the only (type-erased) pointer to the job. This
//! file is where that pointer is made, used and given up.
//!
//! # States of a call
//!
//! | state | a helper that comes | the caller |
//! |---|---|---|
//! | open | goes in (`inside + 1`), works, leaves | works as well |
//! | closed, `inside > 0` | turns away | waits |
//! | closed, `inside == 0` | turns away | returns: the job may go |
//!
//! # Invariants
//!
//! 1. The job's pointer is used only by a helper that is inside.
//! 2. Once closed, nobody goes in, and a closed call never opens: the pointer
//!    is in the call while it is open and nowhere else.
//! 3. The caller leaves [`Pool::crew`] only after the call was closed and
//!    `inside` was zero, whether it returns or unwinds.
//!
//! The pointer and `inside` are under one mutex, so each change is atomic with its
//! check, and the unlock of the last helper's leaving happens before the
//! caller's return: all that helpers wrote is visible to it.
#![allow(unsafe_code, reason = "lends a job on the caller's stack to helper threads")]

use super::pool::{Pool, Quarters};
use super::workers::Workers;
use crate::guard::{self, Payload, caught};
use crate::swap::hint::Backoff;
use crate::swap::{Arc, Condvar, Mutex};
use std::fmt;

/// A borrowed `Fn(&Crew) + Sync` without its type and lifetime.
#[derive(Clone, Copy)]
struct Errand {
    job: *const (),
    run: unsafe fn(*const (), &Crew),
}

// SAFETY: the pointer is to a `Sync` value (`Errand::new` asks for it), and is
// used only while that value is borrowed (invariants 1 and 3).
unsafe impl Send for Errand {}
// SAFETY: as above.
unsafe impl Sync for Errand {}

impl Errand {
    fn new<W: Fn(&Crew) + Sync>(work: &W) -> Self {
        /// # Safety
        ///
        /// `job` points to a live `W`.
        unsafe fn run<W: Fn(&Crew)>(job: *const (), crew: &Crew) {
            // SAFETY: the caller's promise.
            let work = unsafe { &*job.cast::<W>() };
            work(crew);
        }
        Self { job: std::ptr::from_ref(work).cast(), run: run::<W> }
    }
}

struct State {
    /// There while the call is open.
    errand: Option<Errand>,
    /// Helpers that are inside.
    inside: usize,
    /// Helpers that went in, ever.
    entered: usize,
    /// Helpers that were asked, ever.
    asked: usize,
    /// What escaped from the work in a helper.
    escaped: Option<Payload>,
}

/// A caller's call for helpers; see the module.
pub(super) struct Call {
    workers: Workers,
    /// No more helpers than this, whatever the number of workers.
    most: usize,
    /// So many helpers more than workers beside the caller.
    beside: usize,
    state: Mutex<State>,
    left: Condvar,
}

impl Call {
    /// A helper comes: works if the call is open. Never unwinds.
    pub(super) fn answer(this: &Arc<Self>, quarters: &Arc<Quarters>) {
        let mut state = this.state.lock();
        let Some(errand) = state.errand else {
            return;
        };
        state.inside += 1;
        state.entered += 1;
        drop(state);
        let crew = Crew { call: Arc::clone(this), quarters: Arc::clone(quarters) };
        let worked = caught(|| {
            // SAFETY: this helper is inside, and the job outlives that
            // (invariant 3).
            unsafe { (errand.run)(errand.job, &crew) }
        });
        let mut state = this.state.lock();
        let surplus = match worked {
            Err(payload) if state.escaped.is_none() => {
                state.escaped = Some(payload);
                None
            }
            other => other.err(),
        };
        state.inside -= 1;
        let last = state.errand.is_none() && state.inside == 0;
        drop(state);
        if last {
            this.left.notify_one();
        }
        drop(surplus);
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("most", &self.most).finish_non_exhaustive()
    }
}

/// The way from a job back to its call: asking for one more helper.
#[derive(Debug)]
pub(super) struct Crew {
    call: Arc<Call>,
    quarters: Arc<Quarters>,
}

impl Crew {
    /// Asks for one more helper, unless as many were asked as are allowed.
    /// The helper may come late or never; nobody waits for it.
    pub(super) fn ask(&self) {
        {
            let mut state = self.call.state.lock();
            let most = self
                .call
                .most
                .min((self.call.workers.count() - 1).saturating_add(self.call.beside));
            if state.errand.is_none() || state.asked >= most {
                return;
            }
            state.asked += 1;
        }
        Quarters::ask(&self.quarters, &self.call);
    }
}

/// Closes the call and waits for the helpers that are inside.
struct Dismiss<'c>(&'c Crew);

impl Drop for Dismiss<'_> {
    fn drop(&mut self) {
        let call = &self.0.call;
        let mut state = call.state.lock();
        state.errand = None;
        if state.asked > state.entered {
            drop(state);
            self.0.quarters.withdraw(call);
            state = call.state.lock();
        }
        let backoff = Backoff::new();
        while state.inside > 0 && !backoff.is_completed() {
            drop(state);
            backoff.snooze();
            state = call.state.lock();
        }
        while state.inside > 0 {
            state = call.left.wait(state);
        }
    }
}

impl Pool {
    /// Runs `body` on this thread, which is one of the `workers`, while the
    /// others, at most `most`, and `beside` more, run `work` as far as they were
    /// asked to. When it returns or unwinds, no helper is in `work` and none
    /// will be.
    ///
    /// `body` must see to it that `work` ends: this waits for helpers inside.
    ///
    /// # Panics
    ///
    /// With what `body` panicked with, or else with what escaped from `work`.
    pub(super) fn crew<O>(
        &self,
        workers: Workers,
        most: usize,
        beside: usize,
        work: &(impl Fn(&Crew) + Sync),
        body: impl FnOnce(&Crew) -> O,
    ) -> O {
        let errand = Some(Errand::new(work));
        let state = State { errand, inside: 0, entered: 0, asked: 0, escaped: None };
        let (state, left) = (Mutex::new(state), Condvar::new());
        let call = Arc::new(Call { workers, most, beside, state, left });
        let crew = Crew { call, quarters: Arc::clone(self.quarters()) };
        let result = {
            let _dismiss = Dismiss(&crew);
            body(&crew)
        };
        let escaped = crew.call.state.lock().escaped.take();
        match escaped {
            Some(payload) => {
                let _ = guard::dropped(result);
                payload.resume()
            }
            None => result,
        }
    }
}
