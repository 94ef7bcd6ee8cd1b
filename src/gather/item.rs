//! One item of a gather: its future, guarded.

use crate::outcome::{IntoOutcome, Outcome, Panic};
use crate::timeout::Timer;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

pub(super) type ValueOf<F> = <<F as Future>::Output as IntoOutcome>::Value;
pub(super) type ErrorOf<F> = <<F as Future>::Output as IntoOutcome>::Error;
pub(super) type OutcomeOf<F> = Outcome<ValueOf<F>, ErrorOf<F>>;

pin_project_lite::pin_project! {
    /// A future whose panic and timeout are outcomes.
    pub(super) struct Item<F> {
        #[pin]
        future: F,
        // Boxed: without one an item is as large as its future.
        timer: Option<Pin<Box<Timer>>>,
    }
}

impl<F: Future> Item<F> {
    #[inline]
    pub(super) fn new(future: F, each: Option<Duration>) -> Self {
        let timer = each.map(|each| {
            let mut timer = Timer::relative(each);
            timer.name("item");
            Box::pin(timer)
        });
        Self { future, timer }
    }
}

impl<F: Future<Output: IntoOutcome>> Future for Item<F> {
    type Output = OutcomeOf<F>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // What a panic leaves broken is the future, which is not polled again.
        let polled = catch_unwind(AssertUnwindSafe(|| match this.timer {
            None => this.future.poll(context).map(IntoOutcome::into_outcome),
            Some(timer) => {
                let polled = timer.as_mut().poll(context, |context| this.future.poll(context));
                polled.map(|ended| match ended {
                    Ok(output) => output.into_outcome(),
                    Err(elapsed) => Outcome::TimedOut(elapsed.into()),
                })
            }
        }));
        polled.unwrap_or_else(|payload| {
            Poll::Ready(Outcome::Panicked(Panic::from_payload(&*payload)))
        })
    }
}
