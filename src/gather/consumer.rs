//! Who waits for the lanes, one outcome at a time or for all.

use super::Interrupted;
use super::item::{ErrorOf, OutcomeOf, ValueOf};
use super::lanes::{Found, KeptOf, Shared, Stop};
use crate::cancel::{Cancellation, Token};
use crate::outcome::{Cancelled, IntoOutcome, Outcome};
use crate::rt::{self, Sleep, Turn};
use crate::swap::Arc;
use futures_core::Stream;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// The consuming end of the lanes. Dropped early, it aborts them.
pub(super) struct Consumer<S: Stream<Item: Future<Output: IntoOutcome>>> {
    shared: Arc<Shared<S>>,
    token: Option<Token>,
    cancelled: Option<Cancellation<Token>>,
    grace: Duration,
    phase: Phase,
}

enum Phase {
    Running,
    /// Told to stop; until then the items may end by themselves.
    Grace(Pin<Box<Sleep>>),
    Aborted,
    Ended,
}

impl<S: Stream<Item: Future<Output: IntoOutcome>>> Consumer<S> {
    pub(super) fn new(shared: Arc<Shared<S>>, token: Option<Token>, grace: Duration) -> Self {
        let cancelled = token.clone().map(Token::cancelled_owned);
        Self { shared, token, cancelled, grace, phase: Phase::Running }
    }

    /// Waits until every lane has ended, having stopped them if need be.
    pub(super) async fn join(&mut self) -> Option<Stop> {
        poll_fn(|context| match self.poll(context, false) {
            Poll::Ready(Found::Ended(stop)) => Poll::Ready(stop),
            _ => Poll::Pending,
        })
        .await
    }

    /// What the lanes have left.
    pub(super) fn rest(self) -> KeptOf<S> {
        self.shared.take()
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        streaming: bool,
    ) -> Poll<Found<(usize, OutcomeOf<S::Item>)>> {
        if let Some(cancelled) = &mut self.cancelled
            && let Poll::Ready(cause) = cancelled.poll_now(context)
        {
            self.cancelled = None;
            self.shared.stop(Stop::Interrupted(Interrupted::Cancelled(cause)));
        }
        match self.shared.poll(context, streaming) {
            Found::Nothing => Poll::Pending,
            Found::Stopping => {
                self.poll_stopping(context);
                Poll::Pending
            }
            Found::Ended(stop) => {
                self.phase = Phase::Ended;
                Poll::Ready(Found::Ended(stop))
            }
            Found::Item(item, stopping) => {
                if stopping {
                    // Items that end while what has ended is taken must not
                    // keep those that do not end from being stopped.
                    self.poll_stopping(context);
                }
                Poll::Ready(Found::Item(item, stopping))
            }
        }
    }

    /// Request, grace, abort; the join is the caller's waiting.
    fn poll_stopping(&mut self, context: &mut Context<'_>) {
        if let Phase::Running = self.phase {
            if let Some(token) = &self.token {
                token.cancel_because("the gather stopped early");
            }
            let until = rt::now().checked_add(self.grace);
            self.phase = match until {
                Some(at) if !self.grace.is_zero() => Phase::Grace(Box::pin(rt::sleep_until(at))),
                Some(_) => self.abort(),
                // Grace without end.
                None => Phase::Aborted,
            };
        }
        if let Phase::Grace(sleep) = &mut self.phase
            && sleep.as_mut().poll(context).is_ready()
        {
            self.phase = self.abort();
        }
    }

    fn abort(&self) -> Phase {
        self.shared.abort();
        Phase::Aborted
    }
}

impl<S: Stream<Item: Future<Output: IntoOutcome>>> Drop for Consumer<S> {
    fn drop(&mut self) {
        if !matches!(self.phase, Phase::Ended) {
            let dropped = Cancelled::because("the gather was dropped");
            if let Some(token) = &self.token {
                token.cancel_with(&dropped);
            }
            self.shared.leave_to_the_scope();
            self.shared.stop(Stop::Interrupted(Interrupted::Cancelled(dropped)));
            self.shared.abort();
        }
    }
}

/// The stream of [`Gather::stream`](super::Gather::stream): outcomes with the
/// indices of their items, or, once and last, why there are no more.
///
/// # Cancel safety
///
/// Polling it may stop at any time. Dropping it aborts the items.
#[must_use = "dropping it aborts the items"]
pub struct GatherStream<S: Stream<Item: Future<Output: IntoOutcome>>> {
    consumer: Consumer<S>,
    ended: bool,
    turn: Turn,
}

/// What a [`GatherStream`] gives.
type Next<F> = Result<(usize, Outcome<ValueOf<F>, ErrorOf<F>>), Interrupted>;

impl<S: Stream<Item: Future<Output: IntoOutcome>>> GatherStream<S> {
    pub(super) fn new(consumer: Consumer<S>) -> Self {
        Self { consumer, ended: false, turn: Turn::new() }
    }

    /// The next outcome.
    ///
    /// # Cancel safety
    ///
    /// Safe: no outcome is lost.
    pub async fn next(&mut self) -> Option<Next<S::Item>> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

// Nothing in it is pinned but what is boxed.
impl<S: Stream<Item: Future<Output: IntoOutcome>>> Unpin for GatherStream<S> {}

impl<S: Stream<Item: Future<Output: IntoOutcome>>> Stream for GatherStream<S> {
    type Item = Next<S::Item>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Self { consumer, turn, .. } = &mut *self;
        let found = ready!(turn.poll(context, |context| consumer.poll(context, true)));
        let Found::Ended(stop) = found else {
            let Found::Item(item, _) = found else { return Poll::Pending };
            return Poll::Ready(Some(Ok(item)));
        };
        self.ended = true;
        Poll::Ready(match stop {
            Some(Stop::Interrupted(interrupted)) => Some(Err(interrupted)),
            _ => None,
        })
    }
}

impl<S: Stream<Item: Future<Output: IntoOutcome>>> fmt::Debug for GatherStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatherStream").field("ended", &self.ended).finish_non_exhaustive()
    }
}
