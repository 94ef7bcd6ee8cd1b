//! Threads: std's outside of a model, tasks of it inside.

use crate::engine::{self, EXPIRED, Kind, Place, Wait};
use std::any::Any;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread as real;
use std::time::Duration;

/// As [`std::thread::Thread`].
#[derive(Clone, Debug)]
pub struct Thread(Which);

#[derive(Clone, Debug)]
enum Which {
    Real(real::Thread),
    Task { task: usize, name: Option<Arc<str>> },
}

/// As [`std::thread::ThreadId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ThreadId(Number);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Number {
    Real(real::ThreadId),
    Task(usize),
}

impl Thread {
    pub(super) fn task(task: usize, name: Option<&str>) -> Self {
        Self(Which::Task { task, name: name.map(Arc::from) })
    }

    pub(super) fn from_real(thread: real::Thread) -> Self {
        Self(Which::Real(thread))
    }

    /// As in std.
    pub fn id(&self) -> ThreadId {
        ThreadId(match &self.0 {
            Which::Real(thread) => Number::Real(thread.id()),
            Which::Task { task, .. } => Number::Task(*task),
        })
    }

    /// As in std.
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Which::Real(thread) => thread.name(),
            Which::Task { name, .. } => name.as_deref(),
        }
    }

    /// As in std.
    #[track_caller]
    pub fn unpark(&self) {
        match &self.0 {
            Which::Real(thread) => thread.unpark(),
            Which::Task { task, .. } if engine::inside() => {
                let at = Location::caller();
                engine::step("unpark", None, Wait::Ready, None, at);
                engine::unpark(*task);
                engine::done(at, None, || format!("unpark {}", engine::lane(*task)));
            }
            // Of an execution that is over.
            Which::Task { .. } => {}
        }
    }
}

/// As [`std::thread::current`].
pub fn current() -> Thread {
    if !engine::inside() {
        return Thread(Which::Real(real::current()));
    }
    let (task, name) = engine::current();
    Thread::task(task, name.as_deref())
}

/// As [`std::thread::park`]. Inside of a model it wakes for a reason.
#[track_caller]
pub fn park() {
    if !engine::inside() {
        return real::park();
    }
    park_for(None, Location::caller());
}

/// As [`std::thread::park_timeout`].
#[track_caller]
pub fn park_timeout(duration: Duration) {
    if !engine::inside() {
        engine::clocked();
        return real::park_timeout(duration);
    }
    park_for(Some(duration), Location::caller());
}

/// Parks; whether it was the time that ended it.
pub(crate) fn park_for(lasts: Option<Duration>, at: Place) -> bool {
    let op = if lasts.is_some() { "park_timeout" } else { "park" };
    let late = engine::step(op, None, Wait::Token, lasts.and_then(engine::ends), at) == EXPIRED;
    if !late {
        engine::take_token();
    }
    engine::done(at, None, || format!("{op}() -> {}", if late { "timed out" } else { "woken" }));
    late
}

/// As [`std::thread::sleep`]. Inside of a model, until the model's time says.
#[track_caller]
pub fn sleep(duration: Duration) {
    if !engine::inside() {
        engine::clocked();
        return real::sleep(duration);
    }
    let at = Location::caller();
    engine::step("sleep", None, Wait::Never, engine::ends(duration), at);
    engine::done(at, None, || format!("sleep({duration:?})"));
}

/// As [`std::thread::yield_now`]. Inside of a model, every other thread that
/// can run does before this one goes on.
#[track_caller]
pub fn yield_now() {
    if !engine::inside() {
        return real::yield_now();
    }
    engine::step("yield", None, Wait::Yield, None, Location::caller());
}

/// As [`std::hint::spin_loop`]: inside of a model, a [`yield_now`].
#[track_caller]
pub(crate) fn spin() {
    if engine::inside() {
        engine::step("spin", None, Wait::Yield, None, Location::caller());
    } else {
        std::hint::spin_loop();
    }
}

/// As [`std::thread::panicking`].
pub fn panicking() -> bool {
    if engine::inside() { engine::unwinding() } else { real::panicking() }
}

/// As [`std::thread::available_parallelism`]; 2 inside of a model.
///
/// # Errors
///
/// As in std.
pub fn available_parallelism() -> io::Result<NonZeroUsize> {
    if engine::inside() {
        return Ok(const { NonZeroUsize::new(2).unwrap() });
    }
    real::available_parallelism()
}

/// What a thread gave, once it has ended.
pub(super) type Slot<T> = Arc<Mutex<Option<real::Result<T>>>>;

/// As [`std::thread::JoinHandle`].
pub struct JoinHandle<T>(Joins<T>);

enum Joins<T> {
    Real(real::JoinHandle<T>, Thread),
    Task(Slot<T>, Thread, usize),
}

impl<T> JoinHandle<T> {
    /// As in std.
    ///
    /// # Errors
    ///
    /// What the thread panicked with.
    #[track_caller]
    pub fn join(self) -> Result<T, Box<dyn Any + Send + 'static>> {
        match self.0 {
            Joins::Real(handle, _) => handle.join(),
            Joins::Task(slot, _, task) => join(&slot, task, Location::caller()),
        }
    }

    /// As in std.
    pub fn thread(&self) -> &Thread {
        match &self.0 {
            Joins::Real(_, thread) | Joins::Task(_, thread, _) => thread,
        }
    }

    /// As in std.
    #[track_caller]
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Joins::Real(handle, _) => handle.is_finished(),
            Joins::Task(_, _, task) => is_finished(*task, Location::caller()),
        }
    }
}

impl<T> std::fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}

pub(super) fn is_finished(task: usize, at: Place) -> bool {
    if !engine::inside() {
        return true;
    }
    engine::step("is_finished", None, Wait::Ready, None, at);
    engine::finished(task)
}

pub(super) fn join<T>(slot: &Slot<T>, task: usize, at: Place) -> real::Result<T> {
    if engine::inside() {
        engine::step("join", None, Wait::Finished(task), None, at);
        engine::done(at, None, || format!("join {}", engine::lane(task)));
    }
    let result = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    result.unwrap_or_else(|| Err(Box::new("the execution of the model ended before the thread")))
}

/// The body of a task that stands for a thread.
pub(super) fn body<T>(slot: &Slot<T>, f: impl FnOnce() -> T) {
    let result = catch_unwind(AssertUnwindSafe(f));
    let mut again = None;
    let result = match result {
        Err(payload) if !engine::panics_are_values() => {
            again = Some(payload);
            None
        }
        result => Some(result),
    };
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = result;
    if let Some(payload) = again {
        resume_unwind(payload);
    }
}

/// As [`std::thread::spawn`].
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f).expect("failed to spawn thread")
}

/// As [`std::thread::Builder`].
#[derive(Debug, Default)]
#[must_use = "must eventually spawn the thread"]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
}

impl Builder {
    /// As in std.
    pub fn new() -> Self {
        Self::default()
    }

    /// As in std.
    pub fn name(mut self, name: String) -> Self {
        self.name = Some(name);
        self
    }

    /// As in std. A model's stacks have a size of their own.
    pub fn stack_size(mut self, size: usize) -> Self {
        self.stack_size = Some(size);
        self
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// If the system has no thread to give.
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if !engine::inside() {
            let handle = self.real().spawn(f)?;
            let thread = Thread(Which::Real(handle.thread().clone()));
            return Ok(JoinHandle(Joins::Real(handle, thread)));
        }
        let slot = Slot::default();
        let into = Arc::clone(&slot);
        let thread = Thread::task(0, self.name.as_deref());
        let task = start(self.name, Box::new(move || body(&into, f)), Location::caller());
        let thread = Thread::task(task, thread.name());
        Ok(JoinHandle(Joins::Task(slot, thread, task)))
    }

    fn real(&self) -> real::Builder {
        let mut builder = real::Builder::new();
        if let Some(name) = &self.name {
            builder = builder.name(name.clone());
        }
        if let Some(size) = self.stack_size {
            builder = builder.stack_size(size);
        }
        builder
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// If the system has no thread to give.
    #[track_caller]
    pub fn spawn_scoped<'scope, 'env, F, T>(
        self,
        scope: &'scope super::Scope<'scope, 'env>,
        f: F,
    ) -> io::Result<super::ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let real = self.real();
        scope.start(real, self.name, f, Location::caller())
    }
}

/// Starts a task for a thread.
pub(super) fn start(name: Option<String>, body: Box<dyn FnOnce() + Send>, at: Place) -> usize {
    engine::step("spawn", None, Wait::Ready, None, at);
    let task = engine::spawn(Kind::Thread, name, at, body);
    engine::done(at, None, || format!("spawn {}", engine::lane(task)));
    task
}
