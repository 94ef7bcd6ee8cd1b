//! Under loom: a clock that a model moves, and no tasks.

use super::Instant;
use crate::swap::{self, Mutex, Parked};
use crate::wait::Waiter;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;

/// The clock of this execution, and who waits for it.
#[derive(Default)]
struct Clock {
    moved: Duration,
    next: u64,
    waiting: Vec<(u64, Instant, Waiter)>,
}

impl Clock {
    fn now(&self) -> Instant {
        // When all executions of this process begin.
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(|| Instant::from_std(std::time::Instant::now())) + self.moved
    }

    fn remove(&mut self, id: u64) -> Option<Waiter> {
        let at = self.waiting.iter().position(|(other, ..)| *other == id)?;
        Some(self.waiting.swap_remove(at).2)
    }

    fn add(&mut self, at: Instant, waiter: Waiter) -> u64 {
        self.next += 1;
        self.waiting.push((self.next, at, waiter));
        self.next
    }
}

selvedge_model::private::loom::lazy_static! {
    static ref CLOCK: Mutex<Clock> = Mutex::default();
}

/// The time on the modelled clock.
pub fn now() -> Instant {
    CLOCK.lock().now()
}

/// Moves the clock on, and wakes those whose time has come.
pub fn pass(time: Duration) {
    let woken: Vec<_> = {
        let mut clock = CLOCK.lock();
        clock.moved += time;
        let now = clock.now();
        let (due, rest) =
            std::mem::take(&mut clock.waiting).into_iter().partition(|(_, at, _)| *at <= now);
        clock.waiting = rest;
        due
    };
    woken.into_iter().for_each(|(.., waiter): (u64, Instant, Waiter)| waiter.wake());
}

/// See the tokio backend.
#[derive(Debug, Default)]
pub struct Alarm {
    set: Option<u64>,
}

impl Alarm {
    /// See the tokio backend.
    pub const fn new() -> Self {
        Self { set: None }
    }

    /// See the tokio backend.
    pub fn poll(&mut self, at: Instant, context: &mut Context<'_>) -> Poll<()> {
        let waiter = Waiter::task(context.waker());
        let mut clock = CLOCK.lock();
        let old = self.set.take().and_then(|id| clock.remove(id));
        let pending = clock.now() < at;
        if pending {
            self.set = Some(clock.add(at, waiter));
        }
        drop(clock);
        drop(old);
        if pending { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(id) = self.set {
            let old = CLOCK.lock().remove(id);
            drop(old);
        }
    }
}

/// A timer.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Sleep {
    at: Instant,
    alarm: Alarm,
}

impl Sleep {
    pub(super) fn new(at: Instant) -> Self {
        Self { at, alarm: Alarm::new() }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        self.alarm.poll(at, context)
    }
}

/// See the tokio backend.
pub fn park_until(at: Option<Instant>) -> Parked {
    let Some(at) = at else {
        swap::thread::park();
        return Parked::Woken;
    };
    let id = {
        let mut clock = CLOCK.lock();
        if at <= clock.now() {
            return Parked::TimedOut;
        }
        clock.add(at, Waiter::this_thread())
    };
    swap::thread::park();
    let woken = CLOCK.lock().remove(id).is_some();
    if woken { Parked::Woken } else { Parked::TimedOut }
}
