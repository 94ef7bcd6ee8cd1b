//! Timers finer than tokio's, whose grain is a millisecond.
//!
//! One thread, started by the first of them, sleeps until the next is due. It
//! is some 0.1 ms late where nothing else is to be done. Where tokio's clock
//! is not the system's (a test has paused it), tokio's own timers are used:
//! only they move with it.

use super::Instant;
use crate::guard;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant as StdInstant;

/// A timer that can be set again.
#[derive(Debug, Default)]
pub struct Alarm {
    set: Set,
}

#[derive(Debug, Default)]
enum Set {
    #[default]
    Not,
    Here(&'static Timers, Key),
    Tokio(Pin<Box<tokio::time::Sleep>>),
}

/// When, and which of those.
type Key = (StdInstant, u64);

impl Alarm {
    /// One that is not set.
    #[must_use]
    pub const fn new() -> Self {
        Self { set: Set::Not }
    }

    /// Ready once it is `at`. Until then it is set for that, and for the
    /// caller, whatever it was set for before.
    ///
    /// # Panics
    ///
    /// Outside of a runtime, if no thread can be started.
    pub fn poll(&mut self, at: Instant, context: &mut Context<'_>) -> Poll<()> {
        let before = StdInstant::now();
        let now = Instant::now().into_std();
        if now >= at.into_std() {
            self.set = Set::Not;
            return Poll::Ready(());
        }
        if before <= now && now <= StdInstant::now() {
            let old = match &self.set {
                Set::Here(timers, key) => Some((*timers, *key)),
                _ => None,
            };
            let timers = Timers::of_this_process();
            let old = old.filter(|(of, _)| std::ptr::eq(*of, timers)).map(|(_, key)| key);
            if let Some(key) = timers.set(at.into_std(), old, context.waker()) {
                if old != Some(key) {
                    self.set = Set::Here(timers, key);
                }
                return Poll::Pending;
            }
        }
        if let Set::Tokio(sleep) = &mut self.set {
            if sleep.deadline() != at {
                sleep.as_mut().reset(at);
            }
        } else {
            self.set = Set::Tokio(Box::pin(tokio::time::sleep_until(at)));
        }
        let Set::Tokio(sleep) = &mut self.set else { unreachable!("set above") };
        sleep.as_mut().poll(context)
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        if let Self::Here(timers, key) = self {
            // In a forked child nobody tends the parent's timers, and one of
            // its threads may have held the lock: their wakers stay there.
            if timers.process != std::process::id() {
                return;
            }
            let waker = timers.lock().entries.remove(key);
            // Unlocked: it may be the last of its task.
            let _ = guard::dropped(waker);
        }
    }
}

/// The timers of one process. A forked child gets its own: it has no thread
/// but the one that forked.
#[derive(Debug)]
struct Timers {
    process: u32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Key, Waker>,
    next: u64,
    started: bool,
}

/// Those of the process that asked last. They are never freed.
static CURRENT: AtomicPtr<Timers> = AtomicPtr::new(std::ptr::null_mut());

impl Timers {
    #[allow(unsafe_code, reason = "a pointer that is never freed is read")]
    fn of_this_process() -> &'static Self {
        let process = std::process::id();
        // ORDERING: Acquire, with the Release below: the timers are made.
        // NOT CAUGHT: a static that outlives an execution is in no model.
        let mut current = CURRENT.load(Ordering::Acquire);
        loop {
            // SAFETY: null, or leaked below and never freed.
            if let Some(timers) = unsafe { current.as_ref() }
                && timers.process == process
            {
                return timers;
            }
            let (state, changed) = (Mutex::default(), Condvar::new());
            let new: *mut Self = Box::leak(Box::new(Self { process, state, changed }));
            // ORDERING: Release, with the Acquire above and of a failure here.
            // NOT CAUGHT: as above.
            match CURRENT.compare_exchange(current, new, Ordering::Release, Ordering::Acquire) {
                Ok(_) => current = new,
                Err(other) => {
                    // SAFETY: leaked above, and seen by no other thread.
                    drop(unsafe { Box::from_raw(new) });
                    current = other;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timers {
    /// Sets a timer; `None` if there is no thread for it. `old` is kept if it is
    /// set for the same time, and otherwise left to the caller.
    fn set(&'static self, at: StdInstant, old: Option<Key>, waker: &Waker) -> Option<Key> {
        // Cloned, and dropped, unlocked: that is foreign code.
        let mut waker = waker.clone();
        let mut timers = self.lock();
        if let Some(key) = old.filter(|key| key.0 == at)
            && let Some(set) = timers.entries.get_mut(&key)
        {
            std::mem::swap(set, &mut waker);
            drop(timers);
            return Some(key);
        }
        if !timers.started {
            let thread = std::thread::Builder::new().name("selvedge-timer".to_owned());
            thread.spawn(|| self.run()).ok()?;
            timers.started = true;
        }
        let key = (at, timers.next);
        timers.next += 1;
        let first = timers.entries.first_key_value().is_none_or(|(first, _)| at < first.0);
        timers.entries.insert(key, waker);
        drop(timers);
        if first {
            self.changed.notify_one();
        }
        Some(key)
    }

    /// The thread.
    fn run(&self) {
        let mut timers = self.lock();
        loop {
            let Some(first) = timers.entries.first_entry() else {
                timers = self.changed.wait(timers).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = first.key().0.saturating_duration_since(StdInstant::now());
            if left.is_zero() {
                let waker = first.remove();
                drop(timers);
                guard::wake(waker);
                timers = self.lock();
            } else {
                let waited = self.changed.wait_timeout(timers, left);
                timers = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}
