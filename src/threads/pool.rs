//! Helper threads, kept warm between jobs.
//!
//! A helper that has nothing to do registers itself as idle and parks. An
//! invitation goes into a queue and wakes the helper that went idle last; if
//! none is idle a thread is spawned, up to a cap. No caller ever waits for an
//! invitation to be answered, so a pool that is full or a spawn that fails
//! costs speed and nothing else.
//!
//! # Invariants
//!
//! 1. *No invitation is overlooked*: under one lock, a helper goes idle only
//!    when the queue is empty, and whoever queues an invitation takes one
//!    idle helper off the list and wakes it, or spawns one, or has seen that
//!    every helper is busy, each of which looks again before it goes idle.
//! 2. A helper is on the idle list only while it is parked or about to park;
//!    whoever takes it off wakes it. A helper that wakes and is still on the
//!    list was woken by its deadline or for no reason.
//! 3. The queue holds invitations of open calls only: a caller withdraws what
//!    is left of its own before it returns.

use super::crew::Call;
use super::workers::learn_cores;
use crate::fork::PerProcess;
use crate::swap::thread::{self, Thread};
use crate::swap::{Arc, Condvar, Mutex, Parked, time};
use std::collections::VecDeque;
use std::time::Duration;

/// The most helpers that the process-wide pool keeps or makes.
pub(super) const MOST_HELPERS: usize = 1024;

/// How long an idle helper of the process-wide pool is kept.
const KEEP: Duration = Duration::from_secs(10);

/// A set of helper threads. There is one for the whole process; the models
/// make their own.
#[doc(hidden)]
#[derive(Debug)]
pub struct Pool(Arc<Quarters>);

/// What the helpers and the callers of a pool share.
#[derive(Debug)]
pub(super) struct Quarters {
    most: usize,
    keep: Option<Duration>,
    state: Mutex<State>,
    gone: Condvar,
}

#[derive(Debug)]
struct State {
    invitations: VecDeque<Arc<Call>>,
    idle: Vec<Idle>,
    live: usize,
    next_id: u64,
    closing: bool,
}

#[derive(Debug)]
struct Idle {
    id: u64,
    thread: Thread,
}

impl Pool {
    /// A pool of at most `most` helpers. An idle one ends after `keep`
    /// (`None`: with the pool).
    #[must_use]
    pub fn new(most: usize, keep: Option<Duration>) -> Self {
        Self(Arc::new(Quarters {
            most,
            keep,
            state: Mutex::new(State {
                invitations: VecDeque::new(),
                idle: Vec::new(),
                live: 0,
                next_id: 0,
                closing: false,
            }),
            gone: Condvar::new(),
        }))
    }

    /// The pool of this process: a forked child has its own.
    pub(super) fn of_process() -> &'static Self {
        static POOL: PerProcess<Pool> = PerProcess::new();
        POOL.get(|| Self::new(MOST_HELPERS, Some(KEEP)))
    }

    pub(super) fn quarters(&self) -> &Arc<Quarters> {
        &self.0
    }

    /// Helper threads alive, idle ones too.
    #[must_use]
    pub fn helpers(&self) -> usize {
        self.0.state.lock().live
    }
}

/// Ends the helpers and waits until they are gone.
impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.closing = true;
        for helper in std::mem::take(&mut state.idle) {
            helper.thread.unpark();
        }
        while state.live > 0 {
            state = self.0.gone.wait(state);
        }
    }
}

impl Quarters {
    /// Invites one helper to `call`.
    pub(super) fn ask(this: &Arc<Self>, call: &Arc<Call>) {
        let mut state = this.state.lock();
        state.invitations.push_back(Arc::clone(call));
        if let Some(helper) = state.idle.pop() {
            drop(state);
            helper.thread.unpark();
            return;
        }
        if state.live == this.most {
            return;
        }
        state.live += 1;
        drop(state);
        let quarters = Arc::clone(this);
        let spawned = thread::Builder::new()
            .name("selvedge-helper".to_owned())
            .spawn(move || Self::live(&quarters));
        if spawned.is_err() {
            this.state.lock().live -= 1;
        }
    }

    /// Takes back what is left of the invitations to `call`.
    pub(super) fn withdraw(&self, call: &Arc<Call>) {
        self.state.lock().invitations.retain(|other| !Arc::ptr_eq(other, call));
    }

    /// The life of a helper.
    fn live(this: &Arc<Self>) {
        learn_cores();
        while let Some(call) = this.next_call() {
            Call::answer(&call, this);
        }
        this.gone.notify_all();
    }

    /// Waits for an invitation; `None` if this helper should end, and then it
    /// is no longer counted as alive.
    fn next_call(&self) -> Option<Arc<Call>> {
        let mut state = self.state.lock();
        loop {
            if let Some(call) = state.invitations.pop_front() {
                return Some(call);
            }
            if state.closing {
                state.live -= 1;
                return None;
            }
            let id = state.next_id;
            state.next_id += 1;
            state.idle.push(Idle { id, thread: thread::current() });
            let deadline = self.keep.map(|keep| time::now() + keep);
            loop {
                drop(state);
                let parked = thread::park_until(deadline);
                state = self.state.lock();
                let Some(at) = state.idle.iter().position(|idle| idle.id == id) else {
                    break;
                };
                if parked == Parked::TimedOut {
                    state.idle.remove(at);
                    state.live -= 1;
                    return None;
                }
            }
        }
    }
}
