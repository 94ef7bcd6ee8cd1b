//! The waiting end of a submitted closure.

use super::task::{Promise, Refusal, Task};
use super::workers::Shared;
use crate::cancel::Token;
use crate::guard;
use crate::outcome::{Cancelled, Crash, Outcome};
use crate::rt::{self, Hold, Turn};
use crate::semaphore::OwnedPermit;
use crate::swap::{Arc, Mutex};
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A submitted closure; its future is its outcome.
///
/// # Panics
///
/// When it is polled after it was ready.
///
/// # Cancel safety
///
/// Dropping it cancels the closure's token. A closure that has not started
/// never will; one that runs runs on, and its outcome is lost.
#[must_use = "dropping it cancels the closure"]
pub struct Job<T> {
    slot: Arc<Slot<T>>,
    token: Token,
    run: Run,
    turn: Turn,
}

/// Who may run the closure.
enum Run {
    /// A thread of the pool, or the job itself when it is polled on one.
    Queued(Option<u64>),
    /// The first poll of the job.
    Polled(Box<dyn Task>),
    /// The outcome was handed out.
    Ended,
}

/// Where a closure and its job meet.
pub(super) struct Slot<T> {
    pool: Arc<Shared>,
    state: Mutex<State<T>>,
}

struct State<T> {
    outcome: Option<Outcome<T, Infallible>>,
    waker: Option<Waker>,
    /// On the clock of the waiter, until there is an outcome.
    hold: Option<Hold>,
    running: bool,
    /// Its job was dropped,
    unwanted: bool,
    /// while it ran.
    abandoned: bool,
}

impl<T> Slot<T> {
    /// The closure starts. Counted in one step with the job's own state, so
    /// that a job that is dropped meanwhile is abandoned or not, and the
    /// count knows.
    pub(super) fn begin(&self) {
        let mut state = self.state.lock();
        state.running = true;
        self.pool.begin();
    }

    /// The closure has ended.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.running = false;
        self.pool.end(state.abandoned);
    }

    /// The outcome is there.
    pub(super) fn publish(&self, outcome: Outcome<T, Infallible>) {
        let (waker, hold, unwanted) = {
            let mut state = self.state.lock();
            let unwanted =
                if state.unwanted { Some(outcome) } else { state.outcome.replace(outcome) };
            (state.waker.take(), state.hold.take(), unwanted)
        };
        waker.into_iter().for_each(guard::wake);
        // The clock may move once the waiter knows.
        drop(hold);
        // Nobody is left to report it to.
        let _ = guard::dropped(unwanted);
    }
}

impl<T> Drop for State<T> {
    fn drop(&mut self) {
        // The closure's thread or its job, whichever is last: neither may
        // unwind for the other.
        let _ = guard::dropped(self.waker.take());
        let _ = guard::dropped(self.outcome.take());
    }
}

impl<T> Job<T> {
    pub(super) fn new(pool: &Arc<Shared>, token: &Token) -> Self {
        let state = State {
            outcome: None,
            waker: None,
            hold: None,
            running: false,
            unwanted: false,
            abandoned: false,
        };
        let slot = Arc::new(Slot { pool: Arc::clone(pool), state: Mutex::new(state) });
        Self { slot, token: token.clone(), run: Run::Queued(None), turn: Turn::new() }
    }

    pub(super) fn promise(&self, permit: Option<OwnedPermit>) -> Promise<T> {
        Promise::new(Arc::clone(&self.slot), permit)
    }

    pub(super) fn is_queued_as(&mut self, number: Option<u64>) {
        self.run = Run::Queued(number);
    }

    pub(super) fn run_when_polled(&mut self, task: Box<dyn Task>) {
        self.run = Run::Polled(task);
    }

    /// The token that the closure sees: cancelling it asks it to stop.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }
}

// Nothing in it is pinned.
impl<T> Unpin for Job<T> {}

impl<T> Future for Job<T> {
    type Output = Outcome<T, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!matches!(self.run, Run::Ended), "`Job` polled after completion");
        if let Some(crash) = self.left_behind() {
            self.run = Run::Ended;
            return Poll::Ready(Outcome::Crashed(crash));
        }
        let mut turn = std::mem::take(&mut self.turn);
        let polled = turn.poll(context, |context| self.poll_now(context));
        self.turn = turn;
        polled
    }
}

impl<T> Job<T> {
    /// It is in the hands of a thread that is not in this process.
    fn left_behind(&self) -> Option<Crash> {
        match self.run {
            Run::Queued(_) => self.slot.pool.left_behind(),
            Run::Polled(_) | Run::Ended => None,
        }
    }

    fn poll_now(&mut self, context: &mut Context<'_>) -> Poll<Outcome<T, Infallible>> {
        let this = self;
        if let Run::Polled(_) = this.run
            && let Run::Polled(task) = std::mem::replace(&mut this.run, Run::Queued(None))
        {
            task.run();
        }
        if let Run::Queued(number @ Some(_)) = &mut this.run
            && this.slot.pool.is_here()
            && let Some(task) = number.take().and_then(|number| this.slot.pool.take(number))
        {
            task.run();
        }
        let first = {
            let mut state = this.slot.state.lock();
            if let Some(outcome) = state.outcome.take() {
                this.run = Run::Ended;
                return Poll::Ready(outcome);
            }
            state.waker.is_none()
        };
        // Unlocked: both are foreign code.
        let waker = context.waker().clone();
        let hold = if first { rt::hold_clock() } else { None };
        let mut state = this.slot.state.lock();
        if let Some(outcome) = state.outcome.take() {
            drop(state);
            this.run = Run::Ended;
            return Poll::Ready(outcome);
        }
        let before = state.waker.replace(waker);
        if hold.is_some() {
            state.hold = hold;
        }
        drop(state);
        let _ = guard::dropped(before);
        Poll::Pending
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        if self.slot.pool.left_behind().is_some() && !matches!(self.run, Run::Polled(_)) {
            return;
        }
        let dropped = Cancelled::because("nobody waits for it any more");
        self.token.cancel_with(&dropped);
        if let Run::Polled(task) = std::mem::replace(&mut self.run, Run::Ended) {
            task.refuse(Refusal::Cancelled(dropped));
        }
        let (outcome, hold) = {
            let mut state = self.slot.state.lock();
            state.unwanted = true;
            if state.running {
                state.abandoned = true;
                self.slot.pool.abandon();
            }
            (state.outcome.take(), state.hold.take())
        };
        drop(hold);
        // It is its caller's: a panic surfaces here, in whoever dropped the job.
        guard::surface(guard::caught(|| drop(outcome)));
    }
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("token", &self.token).finish_non_exhaustive()
    }
}
