//! Tasks that do not outlive their scope, and cleanup that runs.
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
//!
//! # Progress
//!
//! A child or a cleanup that never returns from a poll holds up the join: the
//! promise is that nothing runs on after the scope, not that it ends.
//!
//! # Cancellation
//!
//! Dropping the future of [`Builder::run`] drops the body there and then, and
//! hands the rest of the sequence to a task that nobody awaits: it runs, but
//! the caller does not learn when. What nobody can promise: cleanup after the
//! runtime was shut down, and cleanup of a future given to `mem::forget`.
//!
//! # Model bounds
//!
//! One body, one child, one cleanup; see `loom-tests/models/scope.rs`, and
//! `cancel_points.rs` beside it for a cancel and a drop at every poll.

use crate::cancel::Token;
use crate::outcome::{Cancelled, Outcome, Panic};
use crate::rt::{self, Abort, Handle};
use crate::shown::Few;
use crate::sync::{Arc, Mutex};
use crate::timeout::{self, Timer, inherit};
use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a scope is given before it starts.
#[must_use = "a scope does nothing until it is run"]
pub struct Builder<E> {
    token: Token,
    grace: Duration,
    cleanup_within: Duration,
    cleanups: Vec<Cleanup<E>>,
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
}

struct State<E> {
    cleanups: Vec<Cleanup<E>>,
    /// Children by number, for as long as they live: with a handle once they
    /// have one.
    children: BTreeMap<u64, Option<Abort>>,
    spawned: u64,
    failed: Option<Outcome<std::convert::Infallible, E>>,
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
        cleanups: Vec::new(),
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
        });
        let mut handover = Handover(Some(Arc::clone(&inner)));
        let outcome = run_body(&inner, body).await;
        if !outcome.is_ok() {
            inner.token.cancel_because("the body of the scope did not succeed");
        }
        let draining = inner.runtime.spawn(drain(Arc::clone(&inner)));
        handover.0 = None;
        let drained = draining.await;
        let (cleanup, drained) = drained.map_or((Vec::new(), false), |cleanup| (cleanup, true));
        let failed = inner.state.lock().failed.take();
        let outcome = match (outcome, failed) {
            // The cause of the cancellation says more than it.
            (Outcome::Ok(_) | Outcome::Cancelled(_), Some(failed)) => failed.widen(),
            (Outcome::Ok(value), None) => match inner.token.check() {
                Err(cancelled) => Outcome::Cancelled(cancelled),
                Ok(()) => Outcome::Ok(value),
            },
            (outcome, _) => outcome,
        };
        Exit { outcome, cleanup, drained }
    }
}

/// Polls the body until it ends, or the scope is cancelled and its grace over.
async fn run_body<T, E, F, B>(inner: &Arc<Inner<E>>, body: F) -> Outcome<T, E>
where
    F: FnOnce(Scope<E>) -> B,
    B: Future<Output = Result<T, E>>,
{
    let scope = Scope { inner: Arc::clone(inner) };
    let body = match catch_unwind(AssertUnwindSafe(|| body(scope))) {
        Ok(body) => body,
        Err(payload) => return Outcome::Panicked(Panic::from_payload(&*payload)),
    };
    let mut body = pin!(body);
    let mut cancelled = pin!(inner.token.cancelled());
    let mut cause = None;
    let mut grace = pin!(None);
    poll_fn(|context| {
        if cause.is_none()
            && let Poll::Ready(by) = cancelled.poll_now(context)
        {
            cause = Some(by);
            grace.set(Some(rt::sleep(inner.grace)));
        }
        if let Some(by) = &cause
            && inner.grace.is_zero()
        {
            return Poll::Ready(Outcome::Cancelled(by.clone()));
        }
        match catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(context))) {
            Err(payload) => Poll::Ready(Outcome::Panicked(Panic::from_payload(&*payload))),
            // Invariant 4.
            Ok(Poll::Ready(result)) => Poll::Ready(match cause.take() {
                Some(by) => Outcome::Cancelled(by),
                None => result.into(),
            }),
            Ok(Poll::Pending) => {
                let over = grace.as_mut().as_pin_mut().map(|grace| grace.poll(context));
                match (over, &cause) {
                    (Some(Poll::Ready(())), Some(by)) => {
                        Poll::Ready(Outcome::Cancelled(by.clone()))
                    }
                    _ => Poll::Pending,
                }
            }
        }
    })
    .await
}

/// Hands the end of the scope to a task, if `run` is dropped.
struct Handover<E: Send + 'static>(Option<Arc<Inner<E>>>);

impl<E: Send + 'static> Drop for Handover<E> {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take() {
            inner.token.cancel_with(&Cancelled::because("the scope was dropped"));
            let runtime = inner.runtime.clone();
            drop(runtime.spawn(drain(inner)));
        }
    }
}

/// Request, grace, abort, join, cleanup.
async fn drain<E: Send + 'static>(inner: Arc<Inner<E>>) -> Vec<Cleaned<E>> {
    let mut cancelled = pin!(inner.token.cancelled());
    // All went well so far: children have all the time they want.
    poll_fn(|context| {
        let joined = inner.poll_join(context);
        if joined.is_ready() { joined } else { cancelled.poll_now(context).map(drop) }
    })
    .await;
    let mut grace = pin!(rt::sleep(inner.grace));
    poll_fn(|context| {
        let joined = inner.poll_join(context);
        if joined.is_ready() || inner.grace.is_zero() {
            return Poll::Ready(());
        }
        grace.as_mut().poll(context)
    })
    .await;
    let aborts: Vec<Abort> = {
        let mut state = inner.state.lock();
        (state.closed, state.aborting) = (true, true);
        state.children.values().flatten().cloned().collect()
    };
    aborts.iter().for_each(Abort::abort);
    poll_fn(|context| inner.poll_join(context)).await;

    let mut cleaned = Vec::new();
    loop {
        let next = {
            let mut state = inner.state.lock();
            let next = state.cleanups.pop();
            state.cleaning |= next.is_none();
            next
        };
        let Some(Cleanup { name, within, mut future }) = next else { return cleaned };
        let mut timer = pin!(Timer::relative(within));
        let outcome = poll_fn(|context| {
            let polled = catch_unwind(AssertUnwindSafe(|| {
                timer.as_mut().poll(context, |context| future.as_mut().poll(context))
            }));
            match polled {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(Ok(result))) => Poll::Ready(result.into()),
                Ok(Poll::Ready(Err(elapsed))) => Poll::Ready(Outcome::TimedOut(elapsed.into())),
                Err(payload) => Poll::Ready(Outcome::Panicked(Panic::from_payload(&*payload))),
            }
        })
        .await;
        cleaned.push(Cleaned { name, outcome });
    }
}

impl<E> Inner<E> {
    /// Ready when no child is alive; then none is taken any more.
    fn poll_join(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.children.is_empty() {
            state.closed = true;
            return Poll::Ready(());
        }
        state.join = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A child's place. However it ends, it is taken out.
struct Child<E> {
    inner: Arc<Inner<E>>,
    key: u64,
}

impl<E> Drop for Child<E> {
    fn drop(&mut self) {
        let mut state = self.inner.state.lock();
        let abort = state.children.remove(&self.key);
        let join = if state.children.is_empty() { state.join.take() } else { None };
        drop(state);
        join.into_iter().for_each(Waker::wake);
        drop(abort);
    }
}

impl<E: Send + 'static> Scope<E> {
    /// Runs `child` as a task of the scope. Its first failure (an error or a
    /// panic) cancels the scope and is its outcome. `false` if the scope has
    /// ended: the child is dropped.
    ///
    /// The child can read the deadline that the caller can read
    /// ([`timeout::current`]), since it does not outlive the scope; the scope
    /// does not stop it then.
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
        let task = self.inner.runtime.spawn(inherit(timeout::current(), run_child(place, child)));
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

async fn run_child<E, F>(place: Child<E>, child: F)
where
    F: Future<Output = Result<(), E>>,
{
    let outcome = {
        let mut child = pin!(child);
        poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| child.as_mut().poll(context))) {
            Ok(polled) => polled.map(Outcome::from),
            Err(payload) => Poll::Ready(Outcome::Panicked(Panic::from_payload(&*payload))),
        })
        .await
    };
    if let Err(failed) = outcome.into_result() {
        place.inner.state.lock().failed.get_or_insert(failed);
        place.inner.token.cancel_because("a child of the scope failed");
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
