//! Scoped threads: loom has none, so these are its plain ones, joined before
//! the scope ends.

use super::{Builder, JoinHandle, Result, Thread};
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// A thread that nobody has joined yet.
type Unjoined = Arc<Mutex<Option<JoinHandle<()>>>>;

/// As [`std::thread::Scope`].
#[derive(Debug)]
pub struct Scope<'scope, 'env: 'scope> {
    threads: Mutex<Vec<Unjoined>>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

fn take<T>(of: &Mutex<Option<T>>) -> Option<T> {
    of.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// As [`std::thread::scope`].
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope { threads: Mutex::default(), scope: PhantomData, env: PhantomData };
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    loop {
        let next = scope.threads.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(thread) = next else {
            break;
        };
        if let Some(thread) = take(&thread) {
            let _ = thread.join();
        }
    }
    result.unwrap_or_else(|payload| resume_unwind(payload))
}

impl<'scope> Scope<'scope, '_> {
    /// As in std.
    #[track_caller]
    #[allow(unsafe_code)]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let slot = Arc::new(Mutex::new(None));
        let into = Arc::clone(&slot);
        let run = move || {
            let value = f();
            *into.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        };
        let run: Box<dyn FnOnce() + Send + 'scope> = Box::new(run);
        // SAFETY: `scope` joins the thread before it returns or unwinds. If the
        // execution fails, neither it nor the thread runs again or is unwound.
        let run: Box<dyn FnOnce() + Send + 'static> = unsafe { std::mem::transmute(run) };
        let spawned = Builder::new().spawn(run).expect("loom starts threads");
        let thread = spawned.thread().clone();
        let unjoined = Arc::new(Mutex::new(Some(spawned)));
        let threads = &self.threads;
        threads.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&unjoined));
        ScopedJoinHandle { slot, unjoined, thread, scope: PhantomData }
    }
}

/// As [`std::thread::ScopedJoinHandle`].
pub struct ScopedJoinHandle<'scope, T> {
    slot: Arc<Mutex<Option<T>>>,
    unjoined: Unjoined,
    thread: Thread,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// As in std; a thread that panics ends the model.
    ///
    /// # Errors
    ///
    /// Never.
    #[track_caller]
    pub fn join(self) -> Result<T> {
        let thread = take(&self.unjoined).expect("the scope joins when nobody else can");
        thread.join()?;
        Ok(take(&self.slot).expect("a thread that has ended left its result"))
    }

    /// As in std.
    #[must_use]
    pub fn thread(&self) -> &Thread {
        &self.thread
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScopedJoinHandle { .. }")
    }
}
