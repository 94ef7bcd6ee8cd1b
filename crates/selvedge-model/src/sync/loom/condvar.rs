//! The condition variable. Its time-outs are never up: loom's time stands still.

use super::MutexGuard;
use crate::loom_engine::{Id, Op, begins, made, quiet, released, taken};
use std::fmt;
use std::panic::Location;
use std::sync::LockResult;
use std::time::Duration;

/// As [`std::sync::Condvar`].
pub struct Condvar {
    id: Id,
    inner: ::loom::sync::Condvar,
}

/// As [`std::sync::WaitTimeoutResult`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitTimeoutResult(());

impl WaitTimeoutResult {
    /// Never.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        false
    }
}

impl Condvar {
    /// As in std, but not `const`.
    #[track_caller]
    pub fn new() -> Self {
        Self { id: made("Condvar", Location::caller()), inner: ::loom::sync::Condvar::new() }
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// Never: loom poisons no lock.
    #[track_caller]
    pub fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let at = Location::caller();
        let inner = guard.inner.take().expect("the guard has its lock");
        released(guard.id);
        begins(Op::new("wait", self.id, at));
        let inner = quiet(Op::new("wait", self.id, at), || self.inner.wait(inner));
        taken(guard.id, at);
        guard.inner = Some(inner.expect("loom's locks are not poisoned"));
        Ok(guard)
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// Never: loom poisons no lock.
    #[track_caller]
    pub fn wait_while<'a, T, F: FnMut(&mut T) -> bool>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: F,
    ) -> LockResult<MutexGuard<'a, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// Waits: the time is never up.
    ///
    /// # Errors
    ///
    /// Never: loom poisons no lock.
    #[track_caller]
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let guard = self.wait(guard).expect("loom's locks are not poisoned");
        Ok((guard, WaitTimeoutResult(())))
    }

    /// Waits while the condition holds: the time is never up.
    ///
    /// # Errors
    ///
    /// Never: loom poisons no lock.
    #[track_caller]
    pub fn wait_timeout_while<'a, T, F: FnMut(&mut T) -> bool>(
        &self,
        guard: MutexGuard<'a, T>,
        _: Duration,
        condition: F,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let guard = self.wait_while(guard, condition).expect("loom's locks are not poisoned");
        Ok((guard, WaitTimeoutResult(())))
    }

    /// As in std.
    #[track_caller]
    pub fn notify_one(&self) {
        quiet(Op::new("notify_one", self.id, Location::caller()), || self.inner.notify_one());
    }

    /// As in std.
    #[track_caller]
    pub fn notify_all(&self) {
        quiet(Op::new("notify_all", self.id, Location::caller()), || self.inner.notify_all());
    }
}

impl Default for Condvar {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condvar { .. }")
    }
}
