//! One item of a gather: its future, guarded.

use crate::guard::{self, Guarded, guarded};
use crate::outcome::{IntoOutcome, Outcome, Panic};
use crate::timeout::Timer;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

pub(super) type ValueOf<F> = <<F as Future>::Output as IntoOutcome>::Value;
pub(super) type ErrorOf<F> = <<F as Future>::Output as IntoOutcome>::Error;
pub(super) type OutcomeOf<F> = Outcome<ValueOf<F>, ErrorOf<F>>;

pin_project_lite::pin_project! {
    /// A place for a future whose panic and timeout are outcomes.
    pub(super) struct Item<F> {
        #[pin]
        future: Guarded<F>,
        // Boxed: without one an item is as large as its future.
        timer: Option<Pin<Box<Timer>>>,
    }
}

impl<F> Item<F> {
    pub(super) const fn empty() -> Self {
        Self { future: Guarded::empty(), timer: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.future.is_empty()
    }

    /// Puts a future into an empty place.
    #[inline]
    pub(super) fn put(self: Pin<&mut Self>, future: F, each: Option<Duration>) {
        let this = self.project();
        *this.timer = each.map(|each| {
            let mut timer = Timer::relative(each);
            timer.name("item");
            Box::pin(timer)
        });
        this.future.put(future);
    }

    /// Drops the future, if there is one.
    pub(super) fn clear(self: Pin<&mut Self>) -> Result<(), Panic> {
        let this = self.project();
        *this.timer = None;
        this.future.clear()
    }
}

impl<F: Future<Output: IntoOutcome>> Item<F> {
    /// Polls the future. When it has ended it is dropped before its outcome is
    /// returned: what it held is free by then.
    #[inline]
    pub(super) fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<OutcomeOf<F>> {
        let mut this = self.as_mut().project();
        let polled = match this.timer {
            None => this.future.as_mut().poll(context).map(Ok),
            Some(timer) => {
                timer.as_mut().poll(context, |context| this.future.as_mut().poll(context))
            }
        };
        let Poll::Ready(ended) = polled else { return Poll::Pending };
        let outcome = match ended {
            Ok(Ok(output)) => guarded(|| output.into_outcome()).unwrap_or_else(Outcome::Panicked),
            Ok(Err(panic)) => Outcome::Panicked(panic),
            Err(elapsed) => Outcome::TimedOut(elapsed.into()),
        };
        Poll::Ready(guard::and_dropped(outcome, self.clear()))
    }
}
