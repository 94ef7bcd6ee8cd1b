//! A deadline and its timer, around a poll of something else.

use super::deadline::{Deadline, within};
use super::{Elapsed, Overrun};
use crate::rt::{self, Sleep};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// When it passes.
#[derive(Debug, Clone, Copy)]
enum When {
    /// So long after the first poll.
    After {
        name: Option<&'static str>,
        allowance: Duration,
    },
    At(Deadline),
}

type Hook = Box<dyn Fn(Overrun) + Send + Sync>;

pin_project_lite::pin_project! {
    pub(crate) struct Timer {
        when: When,
        hook: Option<Hook>,
        // Never set for a deadline that never passes.
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl Timer {
    pub(crate) fn relative(allowance: Duration) -> Self {
        Self { when: When::After { name: None, allowance }, hook: None, sleep: None }
    }

    pub(super) fn absolute(deadline: Deadline) -> Self {
        Self { when: When::At(deadline), hook: None, sleep: None }
    }

    pub(crate) fn name(&mut self, name: &'static str) {
        self.when = match self.when {
            When::After { allowance, .. } => When::After { name: Some(name), allowance },
            When::At(deadline) => When::At(deadline.named(name)),
        };
    }

    pub(super) fn on_overrun(&mut self, hook: Hook) {
        self.hook = Some(hook);
    }

    /// Polls `work` with the deadline to read; if it is pending, the timer.
    #[inline]
    pub(crate) fn poll<R>(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        work: impl FnOnce(&mut Context<'_>) -> Poll<R>,
    ) -> Poll<Result<R, Elapsed>> {
        let mut this = self.project();
        let deadline = this.when.begin();
        let polled = match &this.hook {
            None => within(Some(deadline), || work(context)),
            Some(hook) => watched(hook, deadline, || work(context)),
        };
        if let Poll::Ready(value) = polled {
            return Poll::Ready(Ok(value));
        }
        let Some(at) = deadline.instant() else { return Poll::Pending };
        if this.sleep.is_none() {
            if at <= rt::now() {
                return Poll::Ready(Err(passed(deadline)));
            }
            this.sleep.set(Some(rt::sleep_until(at)));
        }
        ready!(this.sleep.as_pin_mut().expect("armed above").poll(context));
        Poll::Ready(Err(passed(deadline)))
    }
}

impl When {
    /// The deadline. The clock begins with the first call.
    #[inline]
    fn begin(&mut self) -> Deadline {
        match *self {
            Self::At(deadline) => deadline,
            Self::After { name, allowance } => {
                let unnamed = Deadline::after(allowance);
                let deadline = name.map_or(unnamed, |name| unnamed.named(name));
                *self = Self::At(deadline);
                deadline
            }
        }
    }
}

/// A poll that is reported to `hook` if it overruns the deadline.
fn watched<R>(hook: &Hook, deadline: Deadline, work: impl FnOnce() -> Poll<R>) -> Poll<R> {
    let before = rt::now();
    let polled = within(Some(deadline), work);
    if let Some(at) = deadline.instant() {
        let by = rt::now().saturating_duration_since(at);
        if before <= at && !by.is_zero() {
            hook(Overrun { deadline, by, ready: polled.is_ready() });
        }
    }
    polled
}

#[cold]
fn passed(deadline: Deadline) -> Elapsed {
    let late_by = deadline.instant().map(|at| rt::now().saturating_duration_since(at));
    Elapsed { deadline, late_by: late_by.unwrap_or_default() }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("when", &self.when).finish_non_exhaustive()
    }
}
