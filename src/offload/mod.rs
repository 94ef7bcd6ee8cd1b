//! Blocking work off the event loop, on a bounded pool of threads.
//!
//! # Algorithm
//!
//! A [`Semaphore`] with a permit for each worker and each place in the
//! backlog, and a queue under a mutex. Submitting waits for a permit; the
//! permit is held until the closure has really ended, so work that nobody
//! waits for any more still counts (as in anyio). Threads are started as they
//! are needed and stay.
//!
//! # States of a job
//!
//! | state | holds a permit | dropping its [`Job`] |
//! |---|---|---|
//! | waiting to be submitted | no | it is never run |
//! | queued | yes | cancels it: it is never run |
//! | running | yes | cancels its token; it is *abandoned* until it ends |
//! | ended | no | drops the outcome |
//!
//! # Invariants
//!
//! 1. *Bound*: running <= workers, and running + queued <= permits.
//! 2. *The permit outlives the closure*, and is back before the outcome is
//!    there: whoever has awaited a job can submit the next.
//! 3. *One outcome*: a job that is dropped with its queue ends as `Cancelled`.
//!
//! # Progress
//!
//! Submitting and awaiting never block a thread. A closure that never ends
//! keeps its worker for ever; nothing can interrupt it. It does not hold up
//! the end of the process, or of the runtime.
//!
//! # Clock
//!
//! While a task waits for a job, or for room, tokio's paused clock stands
//! still, as it does for tokio's own blocking pool. So a closure must not wait
//! for the clock of the task that waits for it.
//!
//! # Cancellation
//!
//! Dropping a [`Job`] cancels the token that the closure sees in [`Work`].
//!
//! # Model bounds
//!
//! One worker, two jobs; see `loom-tests/models/offload.rs`.

use crate::cancel::Token;
use crate::outcome::{Cancelled, Outcome, Panic, TimedOut};
use crate::rt::{self, Hold, Turn};
use crate::semaphore::{OwnedPermit, Semaphore, TryAcquireError};
use crate::sync::{Arc, Condvar, Mutex, thread};
use crate::timeout::{Deadline, deadline::exactly};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

/// A pool of threads for closures that block or compute.
///
/// Dropping it closes it: what is queued is cancelled, what runs runs on.
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    room: Arc<Semaphore>,
    workers: usize,
    inline: bool,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Box<dyn FnOnce() + Send>>,
    threads: usize,
    idle: usize,
    running: usize,
    abandoned: usize,
    abandoned_ever: u64,
    closed: bool,
}

/// What a pool is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Closures that run now.
    pub running: usize,
    /// Closures that wait for a thread.
    pub queued: usize,
    /// Those of the running that nobody waits for any more.
    pub abandoned: usize,
    /// How many have ever been abandoned.
    pub abandoned_ever: u64,
}

/// Why a closure was not taken; it is given back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SubmitError<F> {
    /// Every worker and every place in the backlog is taken.
    Full(F),
    /// The pool is closed.
    Closed(F),
}

/// What a closure sees of its job.
#[derive(Debug)]
pub struct Work {
    token: Token,
    deadline: Option<Deadline>,
}

impl Work {
    /// Cancelled when nobody waits for the closure any more.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The deadline that the closure was submitted with.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Whether to stop: nobody waits, or the deadline has passed. Reads the
    /// clock if there is a deadline.
    #[must_use]
    pub fn should_stop(&self) -> bool {
        self.token.is_cancelled() || self.deadline.is_some_and(|deadline| deadline.has_passed())
    }
}

/// A submitted closure; its future is its outcome.
#[must_use = "dropping it cancels the closure"]
pub struct Job<T> {
    slot: Arc<Slot<T>>,
    token: Token,
    /// The closure itself, on a pool that runs in place.
    inline: Option<Box<dyn FnOnce() + Send>>,
    turn: Turn,
}

struct Slot<T> {
    pool: Arc<Shared>,
    state: Mutex<SlotState<T>>,
}

struct SlotState<T> {
    outcome: Option<Outcome<T, Infallible>>,
    waker: Option<Waker>,
    /// On the clock of the waiter, until there is an outcome.
    hold: Option<Hold>,
    running: bool,
    abandoned: bool,
}

impl Pool {
    /// A pool of at most `workers` threads, that takes `backlog` closures
    /// beyond those that run.
    #[must_use]
    pub fn new(workers: NonZeroUsize, backlog: usize) -> Self {
        Self::with(workers.get(), backlog, false)
    }

    /// As many threads as there are cores, and as long a backlog.
    #[must_use]
    pub fn sized_to_cores() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self::with(cores, cores, false)
    }

    /// No threads: a closure runs in the first poll of its [`Job`]. For tests
    /// on a paused clock, which threads do not hold still.
    #[must_use]
    pub fn inline() -> Self {
        Self::with(usize::MAX >> 1, 0, true)
    }

    fn with(workers: usize, backlog: usize, inline: bool) -> Self {
        let room = Arc::new(Semaphore::new(workers.saturating_add(backlog)));
        let state = Mutex::new(State::default());
        Self { shared: Arc::new(Shared { room, workers, inline, state, work: Condvar::new() }) }
    }

    /// Waits for room, in order, and submits `f`.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops `f`.
    pub async fn submit<T, F>(&self, f: F) -> Result<Job<T>, SubmitError<F>>
    where
        F: FnOnce(&Work) -> T + Send + 'static,
        T: Send + 'static,
    {
        self.submit_by(None, f).await
    }

    /// [`submit`](Self::submit) with a deadline: if that has passed before `f`
    /// starts, the job is `TimedOut` and `f` is never run. While `f` runs, it
    /// can read the deadline ([`Work::deadline`]).
    ///
    /// To hand on the deadline that the caller is under, pass
    /// [`timeout::current()`](crate::timeout::current).
    ///
    /// # Errors
    ///
    /// [`SubmitError::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops `f`.
    ///
    /// ```
    /// use selvedge::{nz, offload::Pool, outcome::Outcome, timeout::Deadline};
    /// use std::time::Duration;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let pool = Pool::new(nz!(1), 0);
    /// let passed = Deadline::after(Duration::ZERO);
    /// let job = pool.submit_by(passed, |_| "late").await.ok().unwrap();
    /// assert!(matches!(job.await, Outcome::TimedOut(_)));
    /// # });
    /// ```
    pub async fn submit_by<T, F>(
        &self,
        deadline: impl Into<Option<Deadline>>,
        f: F,
    ) -> Result<Job<T>, SubmitError<F>>
    where
        F: FnOnce(&Work) -> T + Send + 'static,
        T: Send + 'static,
    {
        let deadline = deadline.into();
        match rt::holding_the_clock(Semaphore::acquire_owned(&self.shared.room, 1)).await {
            Ok(permit) => self.start(permit, deadline, f),
            Err(_) => Err(SubmitError::Closed(f)),
        }
    }

    /// Submits `f` if there is room now and nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`SubmitError`].
    pub fn try_submit<T, F>(&self, f: F) -> Result<Job<T>, SubmitError<F>>
    where
        F: FnOnce(&Work) -> T + Send + 'static,
        T: Send + 'static,
    {
        match Semaphore::try_acquire_owned(&self.shared.room, 1) {
            Ok(permit) => self.start(permit, None, f),
            Err(TryAcquireError::NoPermits) => Err(SubmitError::Full(f)),
            Err(TryAcquireError::Closed) => Err(SubmitError::Closed(f)),
        }
    }

    /// Submits `f` and waits for its outcome; `Cancelled` if the pool is
    /// closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping it cancels the token of `f`, which runs on if it has started.
    pub async fn run<T, F>(&self, f: F) -> Outcome<T, Infallible>
    where
        F: FnOnce(&Work) -> T + Send + 'static,
        T: Send + 'static,
    {
        self.run_by(None, f).await
    }

    /// [`run`](Self::run) with a deadline, as [`submit_by`](Self::submit_by).
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn run_by<T, F>(
        &self,
        deadline: impl Into<Option<Deadline>>,
        f: F,
    ) -> Outcome<T, Infallible>
    where
        F: FnOnce(&Work) -> T + Send + 'static,
        T: Send + 'static,
    {
        match self.submit_by(deadline, f).await {
            Ok(job) => job.await,
            Err(_) => Outcome::Cancelled(closed()),
        }
    }

    /// Takes no more work. What is queued is cancelled, what runs runs on.
    pub fn close(&self) {
        self.shared.room.close();
        let queue = {
            let mut state = self.shared.state.lock();
            state.closed = true;
            std::mem::take(&mut state.queue)
        };
        self.shared.work.notify_all();
        // Unlocked: dropping a closure runs what it holds.
        drop(queue);
    }

    /// What it is doing now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let state = self.shared.state.lock();
        Stats {
            running: state.running,
            queued: state.queue.len(),
            abandoned: state.abandoned,
            abandoned_ever: state.abandoned_ever,
        }
    }

    fn start<T, F>(
        &self,
        permit: OwnedPermit,
        deadline: Option<Deadline>,
        f: F,
    ) -> Result<Job<T>, SubmitError<F>>
    where
        F: FnOnce(&Work) -> T + Send + 'static,
        T: Send + 'static,
    {
        let state =
            SlotState { outcome: None, waker: None, hold: None, running: false, abandoned: false };
        let slot = Arc::new(Slot { pool: Arc::clone(&self.shared), state: Mutex::new(state) });
        let token = Token::new();
        let work = Work { token: token.clone(), deadline };
        let promise = Promise { slot: Some(Arc::clone(&slot)), permit: Some(permit) };
        let task: Box<dyn FnOnce() + Send> = Box::new(move || promise.keep(&work, f));
        let mut job = Job { slot, token, inline: None, turn: Turn::new() };
        if self.shared.inline {
            job.inline = Some(task);
        } else {
            self.shared.push(task);
        }
        Ok(job)
    }
}

fn closed() -> Cancelled {
    Cancelled::because("the pool was closed")
}

impl Shared {
    fn push(self: &Arc<Self>, task: Box<dyn FnOnce() + Send>) {
        let (notify, grow) = {
            let mut state = self.state.lock();
            if state.closed {
                drop(state);
                // Its promise says that it was cancelled.
                drop(task);
                return;
            }
            state.queue.push_back(task);
            let grow = state.idle < state.queue.len() && state.threads < self.workers;
            state.threads += usize::from(grow);
            (state.idle > 0, grow)
        };
        if grow {
            let shared = Arc::clone(self);
            let name = "selvedge-offload".to_owned();
            if thread::Builder::new().name(name).spawn(move || shared.serve()).is_err() {
                let mut state = self.state.lock();
                state.threads -= 1;
                // Others will come to it; if there are none, nobody will.
                let stuck = if state.threads == 0 { state.queue.pop_back() } else { None };
                drop(state);
                drop(stuck);
            }
        }
        if notify {
            self.work.notify_one();
        }
    }

    /// A worker's life.
    fn serve(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(task) = state.queue.pop_front() {
                drop(state);
                // What panics here is the end of a value that nobody wanted.
                let _ = catch_unwind(AssertUnwindSafe(task));
                state = self.state.lock();
            } else if state.closed {
                state.threads -= 1;
                return;
            } else {
                state.idle += 1;
                state = self.work.wait(state);
                state.idle -= 1;
            }
        }
    }
}

/// What a task owes its job: an outcome, whatever becomes of it, and the
/// permit, before that.
struct Promise<T> {
    slot: Option<Arc<Slot<T>>>,
    permit: Option<OwnedPermit>,
}

impl<T> Promise<T> {
    fn keep<F: FnOnce(&Work) -> T>(mut self, work: &Work, f: F) {
        let slot = self.slot.as_ref().expect("kept once");
        if let Err(cancelled) = work.token.check() {
            drop(f);
            return self.publish(Outcome::Cancelled(cancelled));
        }
        if let Some(deadline) = work.deadline
            && deadline.has_passed()
        {
            drop(f);
            let timed_out = TimedOut::new(deadline.name(), deadline.allowance());
            return self.publish(Outcome::TimedOut(timed_out));
        }
        // Counted in one step with the job's own state, so that a job that is
        // dropped meanwhile is abandoned or not, and the count knows.
        {
            let mut state = slot.state.lock();
            state.running = true;
            slot.pool.state.lock().running += 1;
        }
        let result = catch_unwind(AssertUnwindSafe(|| exactly(work.deadline, || f(work))));
        {
            let mut state = slot.state.lock();
            state.running = false;
            let mut pool = slot.pool.state.lock();
            pool.running -= 1;
            pool.abandoned -= usize::from(state.abandoned);
        }
        self.publish(match result {
            Ok(value) => Outcome::Ok(value),
            Err(payload) => Outcome::Panicked(Panic::from_payload(&*payload)),
        });
    }

    fn publish(&mut self, outcome: Outcome<T, Infallible>) {
        let Some(slot) = self.slot.take() else { return };
        // Invariant 2.
        drop(self.permit.take());
        let (waker, hold) = {
            let mut state = slot.state.lock();
            state.outcome = Some(outcome);
            (state.waker.take(), state.hold.take())
        };
        waker.into_iter().for_each(Waker::wake);
        // The clock may move once the waiter knows.
        drop(hold);
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.publish(Outcome::Cancelled(closed()));
    }
}

impl<T> Job<T> {
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
        let mut turn = std::mem::take(&mut self.turn);
        let polled = turn.poll(context, |context| self.poll_now(context));
        self.turn = turn;
        polled
    }
}

impl<T> Job<T> {
    fn poll_now(&mut self, context: &mut Context<'_>) -> Poll<Outcome<T, Infallible>> {
        if let Some(task) = self.inline.take() {
            task();
        }
        let first = {
            let mut state = self.slot.state.lock();
            if let Some(outcome) = state.outcome.take() {
                return Poll::Ready(outcome);
            }
            state.waker.is_none()
        };
        // Unlocked: both are foreign code.
        let waker = context.waker().clone();
        let hold = if first { rt::hold_clock() } else { None };
        let mut state = self.slot.state.lock();
        if let Some(outcome) = state.outcome.take() {
            drop(state);
            return Poll::Ready(outcome);
        }
        let before = state.waker.replace(waker);
        if hold.is_some() {
            state.hold = hold;
        }
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        self.token.cancel_because("nobody waits for it any more");
        let mut state = self.slot.state.lock();
        let _hold = state.hold.take();
        if state.running {
            state.abandoned = true;
            let mut pool = self.slot.pool.state.lock();
            pool.abandoned += 1;
            pool.abandoned_ever += 1;
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

/// Runs `f` on a pool of the process's own, sized to the cores, and waits for
/// its outcome.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let sum = selvedge::offload::to_thread(|_| (1..=10_u64).sum::<u64>()).await;
/// assert_eq!(sum.ok(), Some(55));
/// # });
/// ```
///
/// # Cancel safety
///
/// As [`Pool::run`].
pub async fn to_thread<T, F>(f: F) -> Outcome<T, Infallible>
where
    F: FnOnce(&Work) -> T + Send + 'static,
    T: Send + 'static,
{
    to_thread_by(None, f).await
}

/// [`to_thread`] with a deadline, as [`Pool::submit_by`].
///
/// # Cancel safety
///
/// As [`Pool::run`].
pub async fn to_thread_by<T, F>(
    deadline: impl Into<Option<Deadline>>,
    f: F,
) -> Outcome<T, Infallible>
where
    F: FnOnce(&Work) -> T + Send + 'static,
    T: Send + 'static,
{
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(Pool::sized_to_cores).run_by(deadline, f).await
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("token", &self.token).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<F> fmt::Display for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the pool is full",
            Self::Closed(_) => "the pool is closed",
        })
    }
}

impl<F> std::error::Error for SubmitError<F> {}
