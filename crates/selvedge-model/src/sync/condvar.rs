//! The condition variable.

use super::MutexGuard;
use crate::engine::object::Data;
use crate::engine::{self, EXPIRED, Id, Place, Wait};
use std::panic::Location;
use std::sync::{LockResult, PoisonError};
use std::time::{Duration, Instant};

/// As [`std::sync::Condvar`]. Inside of a model it does not wake for no
/// reason, `notify_one` may pick any waiter, and a timeout passes as the
/// model's time says.
pub struct Condvar {
    id: Id,
    real: std::sync::Condvar,
}

/// As [`std::sync::WaitTimeoutResult`].
#[derive(Debug, PartialEq, Eq, Copy, Clone)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// As in std.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    /// As in std.
    #[track_caller]
    pub const fn new() -> Self {
        Self { id: Id::new(), real: std::sync::Condvar::new() }
    }

    fn shadow(&self) -> usize {
        self.id.index("Condvar", || Data::Condvar { waiting: Vec::new(), next: 0 })
    }

    /// Gives the lock up and waits; whether the deadline passed.
    fn wait_inside<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        lasts: Option<Duration>,
        at: Place,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        let condvar = self.shadow();
        let op = if lasts.is_some() { "wait_timeout" } else { "wait" };
        engine::touch(op, condvar, at);
        let deadline = lasts.and_then(engine::ends);
        engine::done(at, Some(condvar), || match lasts {
            None => "wait(): unlocks".to_owned(),
            Some(lasts) => format!("wait_timeout({lasts:?}): unlocks"),
        });
        let (mutex, lock) = guard.open();
        let lock = lock.unwrap_or_else(|| mutex.shadow());
        let ticket = engine::object(condvar, |data| match data {
            Data::Condvar { waiting, next } => {
                *next += 1;
                waiting.push((*next, false));
                *next
            }
            _ => unreachable!("a condition variable keeps its kind"),
        });
        let wait = Wait::Notified { condvar, ticket, lock };
        let mut late = false;
        if engine::step(op, Some(condvar), wait, deadline, at) == EXPIRED {
            late = true;
            engine::step("lock", Some(lock), Wait::Write(lock), None, at);
        }
        engine::object(condvar, |data| {
            if let Data::Condvar { waiting, .. } = data {
                // Called between the deadline and the lock: it was called.
                let called = waiting.iter().any(|(t, called)| *t == ticket && *called);
                late &= !called;
                waiting.retain(|(t, _)| *t != ticket);
            }
        });
        engine::done(at, Some(condvar), || {
            (if late { "waited: timed out, locks" } else { "waited: notified, locks" }).to_owned()
        });
        match MutexGuard::retake(mutex, lock, at) {
            Ok(guard) => Ok((guard, late)),
            Err(poison) => Err(PoisonError::new((poison.into_inner(), late))),
        }
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// If a thread panicked while it had the lock.
    #[track_caller]
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let at = Location::caller();
        if engine::inside() {
            return match self.wait_inside(guard, None, at) {
                Ok((guard, _)) => Ok(guard),
                Err(poison) => Err(PoisonError::new(poison.into_inner().0)),
            };
        }
        let (real, lock) = guard.into_real();
        MutexGuard::from_real(self.real.wait(real), lock, at)
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// If a thread panicked while it had the lock.
    #[track_caller]
    pub fn wait_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// If a thread panicked while it had the lock.
    #[track_caller]
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        duration: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let at = Location::caller();
        if engine::inside() {
            return match self.wait_inside(guard, Some(duration), at) {
                Ok((guard, late)) => Ok((guard, WaitTimeoutResult(late))),
                Err(poison) => {
                    let (guard, late) = poison.into_inner();
                    Err(PoisonError::new((guard, WaitTimeoutResult(late))))
                }
            };
        }
        let (real, lock) = guard.into_real();
        engine::clocked();
        let (real, late, poisoned) = match self.real.wait_timeout(real, duration) {
            Ok((real, late)) => (real, late, false),
            Err(poison) => {
                let (real, late) = poison.into_inner();
                (real, late, true)
            }
        };
        let late = WaitTimeoutResult(late.timed_out());
        let real = if poisoned { Err(PoisonError::new(real)) } else { Ok(real) };
        match MutexGuard::from_real(real, lock, at) {
            Ok(guard) => Ok((guard, late)),
            Err(poison) => Err(PoisonError::new((poison.into_inner(), late))),
        }
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// If a thread panicked while it had the lock.
    #[track_caller]
    pub fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        duration: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let now = || if engine::inside() { Ok(engine::now()) } else { Err(Instant::now()) };
        let start = now();
        loop {
            if !condition(&mut guard) {
                return Ok((guard, WaitTimeoutResult(false)));
            }
            let gone = match (start, now()) {
                (Ok(start), Ok(now)) => now.saturating_sub(start),
                (Err(start), Err(now)) => now.saturating_duration_since(start),
                _ => Duration::ZERO,
            };
            let Some(left) = duration.checked_sub(gone).filter(|left| !left.is_zero()) else {
                return Ok((guard, WaitTimeoutResult(true)));
            };
            guard = self.wait_timeout(guard, left)?.0;
        }
    }

    /// As in std.
    #[track_caller]
    pub fn notify_one(&self) {
        if !engine::inside() {
            return self.real.notify_one();
        }
        let at = Location::caller();
        let condvar = self.shadow();
        let pick = engine::step("notify_one", Some(condvar), Wait::Pick(condvar), None, at);
        let called = engine::told(condvar, |data| match data {
            Data::Condvar { waiting, .. } => {
                let waiter = waiting.iter_mut().filter(|(_, called)| !called).nth(pick);
                let called = waiter.map(|(_, called)| *called = true).is_some();
                (called, called)
            }
            _ => (false, true),
        });
        engine::done(at, Some(condvar), || {
            (if called { "notify_one()" } else { "notify_one(): nobody waits" }).to_owned()
        });
    }

    /// As in std.
    #[track_caller]
    pub fn notify_all(&self) {
        if !engine::inside() {
            return self.real.notify_all();
        }
        let at = Location::caller();
        let condvar = self.shadow();
        engine::touch("notify_all", condvar, at);
        let called = engine::told(condvar, |data| match data {
            Data::Condvar { waiting, .. } => {
                let waiting = waiting.iter_mut().filter(|(_, called)| !called);
                let called = waiting.map(|(_, called)| *called = true).count();
                (called, called > 0)
            }
            _ => (0, true),
        });
        engine::done(at, Some(condvar), || match called {
            0 => "notify_all(): nobody waits".to_owned(),
            n => format!("notify_all(): {n}"),
        });
    }
}

impl Default for Condvar {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Condvar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
