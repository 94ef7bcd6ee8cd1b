//! Timers: tokio's outside of a model, choices of it inside.

use super::{Instant, MissedTickBehavior};
use crate::engine::{self, Place};
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// The errors.
pub mod error {
    /// As [`tokio::time::error::Elapsed`].
    #[derive(Debug, PartialEq, Eq)]
    pub struct Elapsed(pub(super) ());

    impl std::fmt::Display for Elapsed {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("deadline has elapsed")
        }
    }

    impl std::error::Error for Elapsed {}
}

/// Farther than anything waits.
const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);

/// As [`tokio::time::Sleep`], but `Unpin`.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    until: Instant,
    real: Option<Pin<Box<tokio::time::Sleep>>>,
    timer: Option<u64>,
    at: Place,
}

/// As [`tokio::time::sleep`].
#[track_caller]
pub fn sleep(duration: Duration) -> Sleep {
    let now = Instant::now();
    sleep_until(now.checked_add(duration).unwrap_or_else(|| now + FAR))
}

/// As [`tokio::time::sleep_until`].
#[track_caller]
pub fn sleep_until(until: Instant) -> Sleep {
    Sleep { until, real: None, timer: None, at: Location::caller() }
}

impl Sleep {
    /// As in tokio.
    pub fn deadline(&self) -> Instant {
        self.until
    }

    /// As in tokio.
    pub fn is_elapsed(&self) -> bool {
        match &self.real {
            Some(real) => real.is_elapsed(),
            None => Instant::now() >= self.until,
        }
    }

    /// As in tokio.
    pub fn reset(mut self: Pin<&mut Self>, until: Instant) {
        self.until = until;
        if let Some(real) = &mut self.real {
            real.as_mut().reset(until.0);
        }
        self.unset();
    }

    fn unset(&mut self) {
        if let Some(timer) = self.timer.take() {
            engine::timer_drop(timer);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if !engine::inside() {
            let until = this.until.0;
            let real = this.real.get_or_insert_with(|| {
                engine::clocked();
                Box::pin(tokio::time::sleep_until(until))
            });
            return real.as_mut().poll(context);
        }
        this.unset();
        if Instant::now() >= this.until {
            return Poll::Ready(());
        }
        let (until, waker) = (this.until.modelled(), context.waker().clone());
        this.timer = Some(engine::timer_set(until, waker, this.at));
        engine::awaits("sleep", this.at);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.unset();
    }
}

/// As [`tokio::time::Timeout`].
#[must_use = "futures do nothing unless polled"]
pub struct Timeout<F> {
    future: Pin<Box<F>>,
    sleep: Sleep,
}

impl<F> std::fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timeout").field("sleep", &self.sleep).finish_non_exhaustive()
    }
}

/// As [`tokio::time::timeout`].
#[track_caller]
pub fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Timeout<F::IntoFuture> {
    Timeout { future: Box::pin(future.into_future()), sleep: sleep(duration) }
}

/// As [`tokio::time::timeout_at`].
#[track_caller]
pub fn timeout_at<F: IntoFuture>(until: Instant, future: F) -> Timeout<F::IntoFuture> {
    Timeout { future: Box::pin(future.into_future()), sleep: sleep_until(until) }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, error::Elapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut self.sleep).poll(context).map(|()| Err(error::Elapsed(())))
    }
}

/// As [`tokio::time::Interval`].
#[derive(Debug)]
pub struct Interval {
    period: Duration,
    missed: MissedTickBehavior,
    sleep: Sleep,
}

/// As [`tokio::time::interval`].
///
/// # Panics
///
/// If the period is zero.
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// As [`tokio::time::interval_at`].
///
/// # Panics
///
/// If the period is zero.
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(!period.is_zero(), "`period` must be non-zero.");
    Interval { period, missed: MissedTickBehavior::Burst, sleep: sleep_until(start) }
}

impl Interval {
    /// As in tokio.
    pub async fn tick(&mut self) -> Instant {
        std::future::poll_fn(|context| self.poll_tick(context)).await
    }

    /// As in tokio.
    pub fn poll_tick(&mut self, context: &mut Context<'_>) -> Poll<Instant> {
        ready!(Pin::new(&mut self.sleep).poll(context));
        let (due, now) = (self.sleep.until, Instant::now());
        let next = due + self.period;
        let next = match self.missed {
            _ if next > now => next,
            MissedTickBehavior::Burst => next,
            MissedTickBehavior::Delay => now + self.period,
            MissedTickBehavior::Skip => {
                let over = (now - due).as_nanos() % self.period.as_nanos();
                now + self.period - Duration::from_nanos(over as u64)
            }
        };
        Pin::new(&mut self.sleep).reset(next);
        Poll::Ready(due)
    }

    /// As in tokio.
    pub fn reset(&mut self) {
        let next = Instant::now() + self.period;
        Pin::new(&mut self.sleep).reset(next);
    }

    /// As in tokio.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// As in tokio.
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed
    }

    /// As in tokio.
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }
}
