//! Scoped threads.

use super::modelled::{Slot, Thread, body, is_finished, join, start};
use crate::engine::object::Data;
use crate::engine::{self, Id, Place, Wait};
use std::any::Any;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread as real;

/// As [`std::thread::Scope`].
#[derive(Debug)]
pub struct Scope<'scope, 'env: 'scope> {
    data: Arc<Running>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// The threads of the scope that run.
#[derive(Debug)]
struct Running {
    id: Id,
    count: AtomicUsize,
    panicked: AtomicBool,
    owner: real::Thread,
}

impl Running {
    fn shadow(&self) -> usize {
        self.id.index("scope", || Data::Scope { running: 0 })
    }

    fn change(&self, by: isize) {
        if engine::inside() {
            let shadow = self.shadow();
            engine::object(shadow, |data| {
                if let Data::Scope { running } = data {
                    *running = running.saturating_add_signed(by);
                }
            });
        } else if by > 0 {
            // ORDERING: only the count, the thread's start orders the rest.
            self.count.fetch_add(1, Ordering::Relaxed);
        } else if self.count.fetch_sub(1, Ordering::Release) == 1 {
            // ORDERING: Release, with the Acquire of `wait`: what the thread
            // did comes before the end of the scope.
            self.owner.unpark();
        }
    }
}

/// As [`std::thread::scope`].
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let at = Location::caller();
    let data = Arc::new(Running {
        id: Id::new(),
        count: AtomicUsize::new(0),
        panicked: AtomicBool::new(false),
        owner: real::current(),
    });
    let scope = Scope { data: Arc::clone(&data), scope: PhantomData, env: PhantomData };
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    if engine::inside() {
        let shadow = data.shadow();
        engine::step("end of the scope", Some(shadow), Wait::Empty(shadow), None, at);
        engine::done(at, Some(shadow), || "end of the scope".to_owned());
    } else {
        // ORDERING: see `change`.
        while data.count.load(Ordering::Acquire) != 0 {
            real::park();
        }
    }
    match result {
        Err(payload) => resume_unwind(payload),
        // ORDERING: the wait above has ordered it.
        Ok(_) if data.panicked.load(Ordering::Relaxed) => panic!("a scoped thread panicked"),
        Ok(value) => value,
    }
}

impl<'scope> Scope<'scope, '_> {
    /// As in std.
    ///
    /// # Panics
    ///
    /// If the system has no thread to give.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let at = Location::caller();
        self.start(real::Builder::new(), None, f, at).expect("failed to spawn thread")
    }

    #[allow(unsafe_code)]
    pub(super) fn start<F, T>(
        &'scope self,
        builder: real::Builder,
        name: Option<String>,
        f: F,
        at: Place,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let slot: Slot<T> = Slot::default();
        let (into, data) = (Arc::clone(&slot), Arc::clone(&self.data));
        let inside = engine::inside();
        let run = move || {
            let ended = catch_unwind(AssertUnwindSafe(|| {
                if inside {
                    body(&into, f);
                } else {
                    let result = catch_unwind(AssertUnwindSafe(f));
                    *into.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                }
            }));
            // A result that no handle takes is dropped before the scope ends;
            // a panic in it then is the scope's.
            let unjoined = Arc::into_inner(into)
                .and_then(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
            if matches!(unjoined, Some(Err(_))) {
                // ORDERING: published by `change`.
                data.panicked.store(true, Ordering::Relaxed);
            }
            drop(unjoined);
            data.change(-1);
            if let Err(payload) = ended {
                resume_unwind(payload);
            }
        };
        self.data.change(1);
        if inside {
            let boxed: Box<dyn FnOnce() + Send + 'scope> = Box::new(run);
            // SAFETY: `scope` does not return before the task has run to its
            // end, unless the execution has failed: then neither runs again.
            let boxed: Box<dyn FnOnce() + Send + 'static> = unsafe { std::mem::transmute(boxed) };
            let thread_name = name.clone();
            let task = start(name, boxed, at);
            let thread = Thread::task(task, thread_name.as_deref());
            return Ok(ScopedJoinHandle { slot, how: How::Task(task, thread), scope: PhantomData });
        }
        // SAFETY: `scope` waits until the count is back at zero.
        let spawned = unsafe { builder.spawn_unchecked(run) };
        match spawned {
            Ok(handle) => Ok(ScopedJoinHandle { slot, how: How::Real(handle), scope: PhantomData }),
            Err(error) => {
                self.data.change(-1);
                Err(error)
            }
        }
    }
}

/// As [`std::thread::ScopedJoinHandle`].
pub struct ScopedJoinHandle<'scope, T> {
    slot: Slot<T>,
    how: How,
    scope: PhantomData<&'scope ()>,
}

enum How {
    Real(real::JoinHandle<()>),
    Task(usize, Thread),
}

impl<T> ScopedJoinHandle<'_, T> {
    /// As in std.
    ///
    /// # Errors
    ///
    /// What the thread panicked with.
    #[track_caller]
    pub fn join(self) -> Result<T, Box<dyn Any + Send + 'static>> {
        match self.how {
            How::Task(task, _) => join(&self.slot, task, Location::caller()),
            How::Real(handle) => {
                handle.join()?;
                let result = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                result.expect("a thread that has ended left its result")
            }
        }
    }

    /// As in std.
    pub fn thread(&self) -> Thread {
        match &self.how {
            How::Real(handle) => Thread::from_real(handle.thread().clone()),
            How::Task(_, thread) => thread.clone(),
        }
    }

    /// As in std.
    #[track_caller]
    pub fn is_finished(&self) -> bool {
        match &self.how {
            How::Real(handle) => handle.is_finished(),
            How::Task(task, _) => is_finished(*task, Location::caller()),
        }
    }
}

impl<T> std::fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScopedJoinHandle").finish_non_exhaustive()
    }
}
