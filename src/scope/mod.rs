//! Tasks that do not outlive their scope, and cleanup that runs.
//!
//! A [`scope`] runs a body and the tasks that the body spawns. However it ends, by
//! return, error, panic, cancellation or drop, its tasks are stopped and joined
//! first, and then its cleanups run, the last registered first.
//!
//! ```
//! use selvedge::{outcome::Outcome, scope::scope};
//!
//! # #[tokio::main] async fn main() {
//! let exit = scope::<&str>()
//!     .on_exit("delete the temporary files", async { Ok(()) })
//!     .run(|scope| async move {
//!         scope.spawn(std::future::pending()); // stopped by its sibling's error
//!         scope.spawn(async { Err("disk full") });
//!         std::future::pending::<Result<(), _>>().await
//!     })
//!     .await;
//! assert_eq!(exit.outcome, Outcome::Err("disk full"));
//! assert_eq!(exit.cleanup[0].name, "delete the temporary files");
//! assert!(exit.cleanup[0].outcome.is_ok());
//! # }
//! ```
//!
//! # Which form
//!
//! | wanted | use |
//! |---|---|
//! | tasks of any kind that end with their owner | [`Scope::spawn`] |
//! | values of many futures | a [gather](crate::gather), inside of the scope or alone |
//! | cleanup that waits for something | [`Builder::on_exit`], [`Scope::on_exit`] |
//! | cleanup that does not wait | `Drop` |
//! | a stop from outside | [`Builder::token`] |
//! | time to finish before being dropped | [`Builder::grace`] |
//!
//! # What is promised
//!
//! * **Joined, then cleaned up.** The first cleanup starts when the body is dropped
//!   and no child is alive. Each cleanup runs once, with a deadline of its own
//!   ([`cleanup_within`](Builder::cleanup_within), five seconds by default).
//! * **The first failure** of a child cancels the scope and is its outcome.
//! * **Cancellation is never swallowed.** A scope whose token was cancelled before
//!   its body ended has the outcome `Cancelled`, whatever the body returned (or the
//!   failure of the child that caused it).
//! * **Nested.** A scope or gather that began inside has ended before the scope
//!   goes on, even if its future was dropped.
//! * **A panic** of a body, a child, a cleanup, or of one's destructor, is an
//!   outcome.
//!
//! Not promised: that a scope ends. A child that never returns from a poll holds up
//! the join. No cleanup runs after the runtime was shut down, nor for a future that
//! was given to `mem::forget`.
//!
//! # Cancel safety
//!
//! Dropping the future of [`Builder::run`] drops the body immediately. Joining and
//! cleaning up go on in a task, for which the enclosing scope waits; without an
//! enclosing scope the caller does not learn when they end.
//!
//! ---
//!
//! # Algorithm
//!
//! Structured concurrency (Smith's nurseries, 2018) over a
//! [`Token`]. A scope runs a body in place and
//! children as tasks. When it ends it goes through one sequence, in a task of
//! its own so that dropping the caller cannot cut it short:
//!
//! | step | what happens | skipped if |
//! |---|---|---|
//! | request | the scope's token is cancelled | all went well |
//! | grace | children may end by themselves | all went well, or the grace is zero |
//! | abort | children are dropped at their next await | they have ended |
//! | join | wait until the last child is gone | |
//! | cleanup | the last registered first, each with a deadline of its own | |
//!
//! # Invariants
//!
//! 1. *Before the body*: what was registered on the [`Builder`] is there when
//!    the body is first polled. What the body registers later is there from
//!    then on.
//! 2. *Once*: a cleanup is taken out of the list, under the lock, by the one
//!    task that runs it.
//! 3. *Joined, then cleaned up*: the first cleanup starts when the body is
//!    dropped and no child is alive.
//! 4. *Cancel is never swallowed*: a scope whose token was cancelled before
//!    its body ended has the outcome `Cancelled`, whatever the body returned
//!    (or the failure of the child that caused it).
//! 5. *Nested*: a scope that was begun inside of another (in its body, a child
//!    or a cleanup) has ended before that one goes on, whatever became of its
//!    caller: the end of a dropped scope is a *guest* of the enclosing one.
//! 6. *Destructors*: a body, a child or a cleanup whose destructor panics has
//!    the outcome `Panicked`, unless it had failed before. It stops nothing
//!    else.
//!
//! # Nested scopes
//!
//! A scope waits in two places for the scopes that were dropped inside of it:
//! in its join, for those of its body and its children, and after a cleanup,
//! for those of that cleanup. Graces and deadlines are not clipped: each
//! cleanup has the allowance that it was registered with. So a cancelled scope
//! ends after at most its own grace, then the longest of the inner scopes'
//! ends (each of which is the grace and the cleanups of that scope), then its
//! own cleanups, each with the ends of the scopes inside of it.
//!
//! The enclosing scope is the one in which the future of [`Builder::run`] was
//! first polled. It is known to the tasks of [`Scope::spawn`] and to the items
//! of a gather, whose end is a guest in the same way. A task that was spawned
//! on the runtime directly is not inside of any scope.
//!
//! # Model bounds
//!
//! One body, one child, one cleanup; see `loom-tests/models/scope.rs`, and
//! `cancel_points.rs` beside it for a cancel and a drop at every poll.

pub(crate) mod guests;
mod run;

use crate::cancel::Token;
use crate::guard::{self, Each};
use crate::outcome::Outcome;
use crate::rt::{Abort, Handle};
use crate::shown::Few;
use crate::swap::{Arc, Mutex};
use crate::timeout::{self, inherit};
use guests::{Guests, inside};
use run::{Handover, Running, run_body};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a scope is given before it starts.
#[must_use = "a scope does nothing until it is run"]
pub struct Builder<E> {
    token: Token,
    grace: Duration,
    cleanup_within: Duration,
    cleanups: Each<Cleanup<E>>,
}

struct Cleanup<E> {
    name: &'static str,
    within: Duration,
    future: BoxFuture<Result<(), E>>,
}

/// How one cleanup ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned<E> {
    /// The name that it was registered under.
    pub name: &'static str,
    /// `TimedOut` if it was dropped at its deadline.
    pub outcome: Outcome<(), E>,
}

/// How a scope ended.
#[derive(Clone, PartialEq, Eq)]
#[must_use = "it may have failed"]
pub struct Exit<T, E> {
    /// Of the body, or of the first child that failed.
    pub outcome: Outcome<T, E>,
    /// In the order in which they ran.
    pub cleanup: Vec<Cleaned<E>>,
    /// `false` if the runtime was shut down in the middle: then what is
    /// missing in `cleanup` did not end.
    pub drained: bool,
}

/// The inside of a running scope. Clones are the same scope.
pub struct Scope<E> {
    inner: Arc<Inner<E>>,
}

struct Inner<E> {
    token: Token,
    grace: Duration,
    cleanup_within: Duration,
    runtime: Handle,
    state: Mutex<State<E>>,
    guests: Arc<Guests>,
}

struct State<E> {
    cleanups: Each<Cleanup<E>>,
    /// Children by number, for as long as they live: with a handle once they
    /// have one.
    children: BTreeMap<u64, Option<Abort>>,
    spawned: u64,
    failed: Option<Outcome<Infallible, E>>,
    /// No more children are taken; and if they are being dropped.
    closed: bool,
    aborting: bool,
    /// No more cleanups are taken.
    cleaning: bool,
    join: Option<Waker>,
}

/// A scope that has not started: `scope().on_exit(…).run(…)`.
///
/// ```
/// use selvedge::scope::scope;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let exit = scope::<&str>()
///     .on_exit("close", async { Ok(()) })
///     .run(|scope| async move {
///         scope.spawn(async { Ok::<_, &str>(()) });
///         Ok(7)
///     })
///     .await;
/// assert_eq!(exit.outcome.ok(), Some(7));
/// assert!(exit.cleanup[0].outcome.is_ok());
/// # });
/// ```
pub fn scope<E: Send + 'static>() -> Builder<E> {
    Builder {
        token: Token::new(),
        grace: Duration::ZERO,
        cleanup_within: Duration::from_secs(5),
        cleanups: Each::new(Vec::new()),
    }
}

impl<E: Send + 'static> Builder<E> {
    /// Cancelling `token` cancels the scope. The scope cancels a child of it.
    pub fn token(mut self, token: &Token) -> Self {
        self.token = token.child();
        self
    }

    /// Once it is cancelled, body and children get so long to end by
    /// themselves before they are dropped. Zero unless told.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The deadline of each cleanup that is registered after this. Five
    /// seconds unless told.
    pub fn cleanup_within(mut self, allowance: Duration) -> Self {
        self.cleanup_within = allowance;
        self
    }

    /// Registers a cleanup: it runs when the scope ends, in whatever way.
    pub fn on_exit<F>(mut self, name: &'static str, cleanup: F) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let within = self.cleanup_within;
        self.cleanups.push(Cleanup { name, within, future: Box::pin(cleanup) });
        self
    }

    /// Runs `body`, then the sequence of the module's table.
    ///
    /// # Panics
    ///
    /// When polled outside of a runtime. A panic of the body, a child or a
    /// cleanup is an outcome.
    ///
    /// # Cancel safety
    ///
    /// Dropping it cancels the scope; children are stopped and cleanups run
    /// in the background.
    pub async fn run<T, F, B>(self, body: F) -> Exit<T, E>
    where
        F: FnOnce(Scope<E>) -> B,
        B: Future<Output = Result<T, E>>,
    {
        let state = State {
            cleanups: self.cleanups,
            children: BTreeMap::new(),
            spawned: 0,
            failed: None,
            closed: false,
            aborting: false,
            cleaning: false,
            join: None,
        };
        let inner = Arc::new(Inner {
            token: self.token,
            grace: self.grace,
            cleanup_within: self.cleanup_within,
            runtime: Handle::current(),
            state: Mutex::new(state),
            guests: Arc::default(),
        });
        let mut handover = Handover { inner: Some(Arc::clone(&inner)), outer: guests::current() };
        let outcome = run_body(&inner, body).await;
        if !outcome.is_ok() {
            inner.token.cancel_because("the body of the scope did not succeed");
        }
        let drained = match handover.drain() {
            Some(draining) => draining.await,
            None => None,
        };
        let (cleanup, drained) =
            drained.map_or((Vec::new(), false), |cleanup| (cleanup.into_vec(), true));
        let failed = inner.state.lock().failed.take();
        let outcome = match (outcome, failed) {
            // The cause of the cancellation says more than it.
            (outcome @ (Outcome::Ok(_) | Outcome::Cancelled(_)), Some(failed)) => {
                let _ = guard::dropped(outcome);
                failed.widen()
            }
            (Outcome::Ok(value), None) => match inner.token.check() {
                Err(by) => guard::and_dropped(Outcome::Cancelled(by), guard::dropped(value)),
                Ok(()) => Outcome::Ok(value),
            },
            (outcome, surplus) => {
                let _ = guard::dropped(surplus);
                outcome
            }
        };
        Exit { outcome, cleanup, drained }
    }
}

impl<E> Inner<E> {
    /// Ready when no child and no guest is left; then no child is taken any
    /// more.
    fn poll_join(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            // Cloned, and dropped, unlocked: that is foreign code.
            let waker = context.waker().clone();
            let mut state = self.state.lock();
            if !state.children.is_empty() {
                let before = state.join.replace(waker);
                drop(state);
                let _ = guard::dropped(before);
                return Poll::Pending;
            }
            // What a child left behind came before the child was gone.
            if self.guests.are_gone() {
                state.closed = true;
                drop(state);
                let _ = guard::dropped(waker);
                return Poll::Ready(());
            }
            drop(state);
            let _ = guard::dropped(waker);
            if self.guests.poll_gone(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl<E> Drop for State<E> {
    fn drop(&mut self) {
        let _ = guard::dropped(self.failed.take());
    }
}

/// A child's place. However it ends, it is taken out.
struct Child<E> {
    inner: Arc<Inner<E>>,
    key: u64,
}

impl<E> Child<E> {
    /// The first failure is the scope's.
    fn fail(&self, failed: Outcome<Infallible, E>) {
        let mut state = self.inner.state.lock();
        let surplus = match state.failed {
            None => state.failed.replace(failed),
            Some(_) => Some(failed),
        };
        drop(state);
        let _ = guard::dropped(surplus);
        self.inner.token.cancel_because("a child of the scope failed");
    }
}

impl<E> Drop for Child<E> {
    fn drop(&mut self) {
        let mut state = self.inner.state.lock();
        let abort = state.children.remove(&self.key);
        let join = if state.children.is_empty() { state.join.take() } else { None };
        drop(state);
        join.into_iter().for_each(guard::wake);
        drop(abort);
    }
}

impl<E: Send + 'static> Scope<E> {
    /// Runs `child` as a task of the scope. Its first failure (an error or a
    /// panic, in a poll or in its destructor) cancels the scope and is its
    /// outcome. `false` if the scope has ended: the child is dropped.
    ///
    /// The child can read the deadline that the caller can read
    /// ([`timeout::current`]), since it does not outlive the scope; the scope
    /// does not stop it then.
    ///
    /// # Panics
    ///
    /// With what the destructor of a child that was not taken panics with.
    pub fn spawn<F>(&self, child: F) -> bool
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let key = {
            let mut state = self.inner.state.lock();
            if state.closed {
                return false;
            }
            state.spawned += 1;
            let key = state.spawned;
            state.children.insert(key, None);
            key
        };
        let place = Child { inner: Arc::clone(&self.inner), key };
        let child = inside(Some(Arc::clone(&self.inner.guests)), Running::new(place, child));
        let task = self.inner.runtime.spawn(inherit(timeout::current(), child));
        let abort = task.abort_handle();
        drop(task);
        let mut state = self.inner.state.lock();
        // Whoever aborted the children did not know of this one.
        let late = state.aborting;
        // Unless it has ended already.
        if let Some(slot) = state.children.get_mut(&key) {
            *slot = Some(abort.clone());
        }
        drop(state);
        if late {
            abort.abort();
        }
        true
    }

    /// Registers a cleanup, for what the body has just acquired. `false` if
    /// the cleanups have all run: it is dropped.
    ///
    /// # Panics
    ///
    /// With what the destructor of a cleanup that was not taken panics with.
    pub fn on_exit<F>(&self, name: &'static str, cleanup: F) -> bool
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let within = self.inner.cleanup_within;
        let cleanup = Cleanup { name, within, future: Box::pin(cleanup) };
        let mut state = self.inner.state.lock();
        if !state.cleaning {
            state.cleanups.push(cleanup);
            return true;
        }
        false
    }

    /// The scope's token: to look at, to wait for, to make children of.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.inner.token
    }

    /// Cancels the scope, from inside or outside of its body.
    pub fn cancel_because(&self, cause: &str) -> bool {
        self.inner.token.cancel_because(cause)
    }
}

impl<E> Clone for Scope<E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T: fmt::Debug, E: fmt::Debug> fmt::Debug for Exit<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exit")
            .field("outcome", &self.outcome)
            .field("cleanup", &Few::<_, 5>(&self.cleanup))
            .field("drained", &self.drained)
            .finish()
    }
}

impl<E> fmt::Debug for Scope<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("token", &self.inner.token).finish_non_exhaustive()
    }
}

impl<E> fmt::Debug for Builder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("grace", &self.grace)
            .field("cleanups", &self.cleanups.len())
            .finish_non_exhaustive()
    }
}
