//! The life of a scope: its body, its children, and the sequence at its end.

use super::guests::{Guest, Guests, inside};
use super::{BoxFuture, Child, Cleaned, Cleanup, Inner, Scope};
use crate::guard::{self, Each, Guarded, guarded};
use crate::outcome::{Cancelled, Outcome};
use crate::rt::{self, Abort};
use crate::swap::Arc;
use crate::timeout::Timer;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Polls the body until it ends, or the scope is cancelled and its grace over;
/// then drops it.
pub(super) async fn run_body<T, E, F, B>(inner: &Arc<Inner<E>>, body: F) -> Outcome<T, E>
where
    F: FnOnce(Scope<E>) -> B,
    B: Future<Output = Result<T, E>>,
{
    let scope = Scope { inner: Arc::clone(inner) };
    let body = match guarded(|| body(scope)) {
        Ok(body) => body,
        Err(panic) => return Outcome::Panicked(panic),
    };
    let mut body = pin!(Guarded::new(body));
    let mut cancelled = pin!(inner.token.cancelled());
    let mut cause = None;
    let mut grace = pin!(None);
    let ended = poll_fn(|context| {
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
        match body.as_mut().poll(context) {
            Poll::Ready(Err(panic)) => Poll::Ready(Outcome::Panicked(panic)),
            // Invariant 4.
            Poll::Ready(Ok(result)) => Poll::Ready(match cause.take() {
                Some(by) => guard::and_dropped(Outcome::Cancelled(by), guard::dropped(result)),
                None => result.into(),
            }),
            Poll::Pending => {
                let over = grace.as_mut().as_pin_mut().map(|grace| grace.poll(context));
                match (over, &cause) {
                    (Some(Poll::Ready(())), Some(by)) => {
                        Poll::Ready(Outcome::Cancelled(by.clone()))
                    }
                    _ => Poll::Pending,
                }
            }
        }
    });
    let ended = inside(Some(Arc::clone(&inner.guests)), ended).await;
    guard::and_dropped(ended, body.as_mut().clear())
}

/// Hands the end of the scope to a task, if `run` is dropped.
pub(super) struct Handover<E: Send + 'static> {
    pub(super) inner: Option<Arc<Inner<E>>>,
    /// Of the scope that this one is inside of.
    pub(super) outer: Option<Arc<Guests>>,
}

impl<E: Send + 'static> Handover<E> {
    /// The end of the scope, which the enclosing scope waits for whatever
    /// becomes of the caller (invariant 5).
    pub(super) fn drain(&mut self) -> Option<rt::Task<Each<Cleaned<E>>>> {
        let inner = self.inner.take()?;
        let guest = self.outer.as_ref().map(Guests::enter);
        let runtime = inner.runtime.clone();
        Some(runtime.spawn(drain(inner, guest)))
    }
}

impl<E: Send + 'static> Drop for Handover<E> {
    fn drop(&mut self) {
        if let Some(inner) = &self.inner {
            inner.token.cancel_with(&Cancelled::because("the scope was dropped"));
            drop(self.drain());
        }
    }
}

/// Request, grace, abort, join, cleanup.
async fn drain<E: Send + 'static>(inner: Arc<Inner<E>>, guest: Option<Guest>) -> Each<Cleaned<E>> {
    {
        let mut cancelled = pin!(inner.token.cancelled());
        // All went well so far: children have all the time they want.
        poll_fn(|context| {
            let joined = inner.poll_join(context);
            if joined.is_ready() { joined } else { cancelled.poll_now(context).map(drop) }
        })
        .await;
    }
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

    let mut cleaned = Each::new(Vec::new());
    loop {
        let next = {
            let mut state = inner.state.lock();
            let next = state.cleanups.pop();
            state.cleaning |= next.is_none();
            next
        };
        let Some(Cleanup { name, within, future }) = next else { break };
        let outcome = clean_up(&inner, within, future).await;
        cleaned.push(Cleaned { name, outcome });
    }
    // The enclosing scope goes on when nothing of this one is left.
    drop(inner);
    drop(guest);
    cleaned
}

/// Runs one cleanup, and waits for what it leaves behind.
async fn clean_up<E: Send + 'static>(
    inner: &Arc<Inner<E>>,
    within: Duration,
    future: BoxFuture<Result<(), E>>,
) -> Outcome<(), E> {
    let mut future = pin!(Guarded::new(future));
    let mut timer = pin!(Timer::relative(within));
    let polled = poll_fn(|context| {
        let work = |context: &mut Context<'_>| future.as_mut().poll(context);
        timer.as_mut().poll(context, work).map(|ended| match ended {
            Ok(Ok(result)) => result.into(),
            Ok(Err(panic)) => Outcome::Panicked(panic),
            Err(elapsed) => Outcome::TimedOut(elapsed.into()),
        })
    });
    let outcome = inside(Some(Arc::clone(&inner.guests)), polled).await;
    let outcome = guard::and_dropped(outcome, future.as_mut().clear());
    poll_fn(|context| inner.guests.poll_gone(context)).await;
    outcome
}

pin_project_lite::pin_project! {
    /// A child, whose failure is the scope's: in a poll, or when it is dropped.
    pub(super) struct Running<E, F> {
        #[pin]
        child: Guarded<F>,
        place: Child<E>,
    }

    impl<E, F> PinnedDrop for Running<E, F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // Before it leaves its place, which the join waits for.
            if let Err(panic) = this.child.clear() {
                this.place.fail(Outcome::Panicked(panic));
            }
        }
    }
}

impl<E, F> Running<E, F> {
    pub(super) fn new(place: Child<E>, child: F) -> Self {
        Self { child: Guarded::new(child), place }
    }
}

impl<E, F: Future<Output = Result<(), E>>> Future for Running<E, F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let outcome = match ready!(this.child.as_mut().poll(context)) {
            Ok(result) => result.into(),
            Err(panic) => Outcome::Panicked(panic),
        };
        let outcome = guard::and_dropped(outcome, this.child.clear());
        if let Err(failed) = outcome.into_result() {
            this.place.fail(failed);
        }
        Poll::Ready(())
    }
}
