//! Blocking work off the event loop, on a bounded pool of threads.
//!
//! [`to_thread`] runs a closure that computes or blocks on a thread, and awaits its
//! outcome. A [`Pool`] of your own has its own number of threads and of places to
//! wait in; callers beyond that wait their turn.
//!
//! ```
//! use selvedge::{nz, offload::{Pool, SubmitError, to_thread}};
//!
//! # #[tokio::main] async fn main() {
//! let digest = to_thread(|_| b"selvedge".iter().map(|&byte| u32::from(byte)).sum::<u32>()).await;
//! assert_eq!(digest.ok(), Some(847));
//!
//! // At most one closure runs, none waits, and the closure hears of a stop.
//! let pool = Pool::new(nz!(1), 0);
//! let endless = pool.try_submit(|work| while !work.should_stop() { std::thread::yield_now() });
//! assert!(matches!(pool.try_submit(|_| ()), Err(SubmitError::Full(_))));
//! drop(endless); // nobody waits any more: `should_stop` is true from now on
//! assert!(pool.run(|_| ()).await.is_ok()); // waits for the thread
//! # }
//! ```
//!
//! # Which form
//!
//! | wanted | use |
//! |---|---|
//! | the outcome, on a pool of the process's own | [`to_thread`] |
//! | a bound of your own | [`Pool::run`] |
//! | to start now and await later | [`Pool::submit`] |
//! | to refuse when there is no room | [`Pool::try_submit`] |
//! | a deadline | [`to_thread_by`], [`Pool::run_by`], [`Pool::submit_by`] |
//! | a map over many items | [`threads`](crate::threads) |
//! | work that can be killed | [`process`](crate::process) |
//!
//! # What is promised
//!
//! * **Bound.** No more closures run than there are threads, and no more wait than
//!   the backlog has places, abandoned ones included. Callers get places first
//!   come, first served.
//! * **One outcome.** A closure's panic is its outcome.
//! * **Nothing blocks.** Submitting and awaiting never block a thread.
//!
//! Not promised: that a closure ends. Nothing can interrupt one; it does not hold up
//! the end of the process, or of the runtime.
//!
//! # Cancel safety
//!
//! Dropping a [`Job`] cancels the token that the closure sees in [`Work`]. A closure
//! that is queued then never runs; one that runs is *abandoned*, and keeps its
//! thread until it ends.
//!
//! # The clock
//!
//! While a task waits for a job, or for room, tokio's paused clock stands still, as
//! it does for tokio's own blocking pool. So a closure must not wait for the clock of
//! the task that waits for it.
//!
//! ---
//!
//! # Algorithm
//!
//! A [`Semaphore`] with a permit for each worker and each place in the
//! backlog, and a queue under a mutex. Submitting waits for a permit; the
//! permit is held until the closure has really ended, so work whose caller has
//! gone still counts (as in anyio). Threads are started as they
//! are needed and stay.
//!
//! # Work inside of work
//!
//! A closure that blocks on another closure of the same pool (`to_thread`
//! inside of `to_thread`) could wait for a thread that is waiting as well. So
//! on a thread of the pool itself nothing waits for another thread of it:
//!
//! * a [`Job`] that is polled there while it is still queued runs in place, in
//!   that poll;
//! * [`Pool::submit`] runs its closure in place if there is no room, before it
//!   returns.
//!
//! A closure that runs in place shares the thread of the one around it. What
//! this cannot see: a closure that waits on another thread or runtime for work
//! of its own pool, and two pools whose closures wait for each other. Those
//! deadlock, as two locks would.
//!
//! # No thread can be started
//!
//! If the system starts no thread and the pool has none, each closure that is
//! queued ends as [`Crash::NoThread`], with the system's error. The next one
//! that is submitted tries again.
//!
//! # Fork
//!
//! A pool works in a forked child, with threads of its own from the first
//! closure on; one that was closed before stays closed. What the parent had
//! queued is the parent's: there its jobs go on, and in the child a [`Job`] of it
//! ends as [`Crash::NoThread`], and dropping it, or the pool, does nothing to the
//! parent's. A pool that is [`inline`](Pool::inline) has no threads to lose.
//!
//! # States of a job
//!
//! | state | holds a permit | dropping its [`Job`] |
//! |---|---|---|
//! | waiting to be submitted | no | it is never run |
//! | queued | yes | cancels it: it is never run, and dropped in its turn |
//! | running | yes | cancels its token; it is *abandoned* until it ends |
//! | ended | no | drops the outcome |
//!
//! # Invariants
//!
//! 1. *Bound*: threads <= workers, and running + queued <= permits, but for
//!    closures that run in place of the one around them.
//! 2. *The permit outlives the closure*, and is back before the outcome is
//!    there: a caller that has awaited a job can submit the next.
//! 3. *One outcome*: a job whose queue is closed ends as `Cancelled`. Where a
//!    destructor panics (of a closure that is not run, of a payload) it ends as
//!    `Panicked`.
//!
//! # Model bounds
//!
//! One worker, two jobs; see `loom-tests/models/offload.rs`.

mod job;
mod task;
mod workers;

pub use job::Job;

use crate::cancel::Token;
use crate::fork::PerProcess;
use crate::guard;
#[cfg(doc)]
use crate::outcome::Crash;
use crate::outcome::{Cancelled, Outcome};
use crate::rt;
use crate::semaphore::{OwnedPermit, Semaphore, TryAcquireError};
use crate::swap::{Arc, thread};
use crate::timeout::Deadline;
use std::convert::Infallible;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use task::{Closure, Task};
use workers::Shared;

/// A pool of threads for closures that block or compute.
///
/// Dropping it closes it: what is queued is cancelled, what runs runs on.
pub struct Pool {
    shared: PerProcess<Arc<Shared>>,
    workers: usize,
    backlog: usize,
    inline: bool,
    /// For a child that is forked later.
    closed: AtomicBool,
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
    /// in which nothing is to happen at the same time.
    #[must_use]
    pub fn inline() -> Self {
        Self::with(usize::MAX >> 1, 0, true)
    }

    fn with(workers: usize, backlog: usize, inline: bool) -> Self {
        let (shared, closed) = (PerProcess::new(), AtomicBool::new(false));
        let pool = Self { shared, workers, backlog, inline, closed };
        let _ = pool.shared();
        pool
    }

    /// The queue and the threads of this process.
    fn shared(&self) -> &Arc<Shared> {
        self.shared.get(|| {
            let shared = Arc::new(Shared::new(self.workers, self.backlog));
            // ORDERING: Relaxed: it was set before the fork, or whoever sets it
            // closes these as well.
            if self.closed.load(Ordering::Relaxed) {
                shared.close();
            }
            shared
        })
    }

    /// Waits for room, in order, and submits `f`.
    ///
    /// On a thread of the pool itself it does not wait: if there is no room,
    /// `f` runs in place before this returns.
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
        let shared = self.shared();
        if shared.is_here() {
            return match Semaphore::try_acquire_owned(&shared.room, 1) {
                Ok(permit) => Ok(self.start(permit, deadline, f)),
                Err(TryAcquireError::NoPermits) => {
                    let (job, task) = self.prepare(None, deadline, f);
                    task.run();
                    Ok(job)
                }
                Err(TryAcquireError::Closed) => Err(SubmitError::Closed(f)),
            };
        }
        match rt::holding_the_clock(Semaphore::acquire_owned(&shared.room, 1)).await {
            Ok(permit) => Ok(self.start(permit, deadline, f)),
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
        match Semaphore::try_acquire_owned(&self.shared().room, 1) {
            Ok(permit) => Ok(self.start(permit, None, f)),
            Err(TryAcquireError::NoPermits) => Err(SubmitError::Full(f)),
            Err(TryAcquireError::Closed) => Err(SubmitError::Closed(f)),
        }
    }

    /// Submits `f` and waits for its outcome; `Cancelled` if the pool is
    /// closed, `Crashed` if there is no thread to be had.
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
            Err(refused) => {
                guard::and_dropped(Outcome::Cancelled(closed()), guard::dropped(refused))
            }
        }
    }

    /// Takes no more work. What is queued is cancelled, what runs runs on.
    pub fn close(&self) {
        // ORDERING: Relaxed: see `shared`.
        self.closed.store(true, Ordering::Relaxed);
        self.shared().close();
    }

    /// What it is doing now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared().stats()
    }

    fn start<T, F>(&self, permit: OwnedPermit, deadline: Option<Deadline>, f: F) -> Job<T>
    where
        F: FnOnce(&Work) -> T + Send + 'static,
        T: Send + 'static,
    {
        let (mut job, task) = self.prepare(Some(permit), deadline, f);
        if self.inline {
            job.run_when_polled(task);
        } else {
            job.is_queued_as(self.shared().push(task));
        }
        job
    }

    fn prepare<T, F>(
        &self,
        permit: Option<OwnedPermit>,
        deadline: Option<Deadline>,
        f: F,
    ) -> (Job<T>, Box<dyn Task>)
    where
        F: FnOnce(&Work) -> T + Send + 'static,
        T: Send + 'static,
    {
        let work = Work { token: Token::new(), deadline };
        let job = Job::new(self.shared(), &work.token);
        let task = Box::new(Closure::new(f, work, job.promise(permit)));
        (job, task)
    }
}

fn closed() -> Cancelled {
    Cancelled::because("the pool was closed")
}

impl Drop for Pool {
    fn drop(&mut self) {
        // In a forked child the parent's are left alone.
        if let Some(shared) = self.shared.made() {
            shared.close();
        }
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
    static POOL: PerProcess<Pool> = PerProcess::new();
    POOL.get(Pool::sized_to_cores).run_by(deadline, f).await
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish_non_exhaustive()
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
