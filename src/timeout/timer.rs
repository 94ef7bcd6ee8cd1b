//! A deadline and its timer, around a poll of something else.

use super::deadline::{Allowance, Deadline, UNNAMED, begin, current, under_unbegun, within};
use super::{Elapsed, Overrun};
use crate::rt::{self, Sleep};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// When it passes.
#[derive(Debug, Clone, Copy)]
enum When {
    Unbegun(Allowance),
    At(Deadline),
}

type Hook = Box<dyn Fn(Overrun) + Send + Sync>;

pin_project_lite::pin_project! {
    pub(crate) struct Timer {
        when: When,
        // Grace lies beyond the deadline that the task is under.
        inherits: bool,
        hook: Option<Hook>,
        // Set to the earliest of all deadlines, which `when` then is.
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl Timer {
    pub(crate) fn relative(duration: Duration) -> Self {
        let when = When::Unbegun(Allowance { name: UNNAMED, duration });
        Self { when, inherits: true, hook: None, sleep: None }
    }

    pub(super) fn absolute(deadline: Deadline) -> Self {
        Self { when: When::At(deadline), inherits: true, hook: None, sleep: None }
    }

    /// A timer for after a deadline: the ones that enclose it have passed, or
    /// are about to, and do not shorten it.
    pub(crate) fn grace(duration: Duration) -> Self {
        Self { inherits: false, ..Self::relative(duration) }
    }

    pub(crate) fn name(&mut self, name: &'static str) {
        self.when = match self.when {
            When::Unbegun(allowance) => When::Unbegun(Allowance { name, ..allowance }),
            When::At(deadline) => When::At(deadline.named(name)),
        };
    }

    pub(super) fn on_overrun(&mut self, hook: Hook) {
        self.hook = Some(hook);
    }

    /// Polls `work` under the deadline; if it is pending, the timer.
    #[inline]
    pub(crate) fn poll<R>(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        work: impl FnOnce(&mut Context<'_>) -> Poll<R>,
    ) -> Poll<Result<R, Elapsed>> {
        let mut this = self.project();
        let mut now = None;
        let polled = match (&this.hook, *this.when) {
            (None, When::At(deadline)) => within(Some(deadline), || work(context)),
            (None, When::Unbegun(allowance)) => under_unbegun(allowance, || {
                let polled = work(context);
                if polled.is_pending() {
                    // Inside, so that those around it begin with it
                    // (invariant 3).
                    let at = begin();
                    now = Some(at);
                    *this.when = When::At(allowance.begun(at));
                }
                polled
            }),
            (Some(hook), when) => {
                let before = rt::now();
                let deadline = match when {
                    When::Unbegun(allowance) => allowance.begun(before),
                    When::At(deadline) => deadline,
                };
                *this.when = When::At(deadline);
                let polled = within(Some(deadline), || work(context));
                let by = rt::now().saturating_duration_since(deadline.instant());
                if before <= deadline.instant() && !by.is_zero() {
                    hook(Overrun { deadline, by, ready: polled.is_ready() });
                }
                polled
            }
        };
        if let Poll::Ready(value) = polled {
            return Poll::Ready(Ok(value));
        }
        let When::At(own) = *this.when else { unreachable!("begun when pending") };
        if this.sleep.is_none() {
            // What is outside has begun as well by now.
            let inherited = current().filter(|_| *this.inherits);
            let first = inherited.map_or(own, |outer| outer.min(own));
            *this.when = When::At(first);
            if first.instant() <= now.unwrap_or_else(rt::now) {
                return Poll::Ready(Err(passed(first)));
            }
            this.sleep.set(Some(rt::sleep_until(first.instant())));
        }
        ready!(this.sleep.as_pin_mut().expect("armed above").poll(context));
        let When::At(first) = *this.when else { unreachable!("armed") };
        Poll::Ready(Err(passed(first)))
    }
}

#[cold]
fn passed(deadline: Deadline) -> Elapsed {
    Elapsed { deadline, late_by: rt::now().saturating_duration_since(deadline.instant()) }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("when", &self.when).finish_non_exhaustive()
    }
}
