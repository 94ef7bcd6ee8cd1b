//! What is done once: inside of a model, once an execution.

use crate::engine::object::{Data, Erased};
use crate::engine::{self, Id, Place, Wait};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};

/// The state of something that runs once.
fn shadow(id: &Id, kind: &'static str, done: bool) -> usize {
    id.index(kind, || Data::Once { runs: None, done, poisoned: false, value: None })
}

fn state(index: usize) -> (bool, bool) {
    engine::object(index, |data| match data {
        Data::Once { done, poisoned, .. } => (*done, *poisoned),
        _ => unreachable!("what is done once keeps its kind"),
    })
}

/// Waits until nobody runs it, and runs it unless it is done. The result, if
/// it ran.
fn run<R>(
    index: usize,
    op: &'static str,
    at: Place,
    force: bool,
    f: impl FnOnce(bool) -> Result<(R, Option<Erased>), R>,
) -> Option<R> {
    engine::step(op, Some(index), Wait::Idle(index), None, at);
    let (done, poisoned) = state(index);
    if done {
        engine::done(at, Some(index), || format!("{op}: was done"));
        return None;
    }
    assert!(force || !poisoned, "Once instance has previously been poisoned");
    let me = engine::me();
    engine::done(at, Some(index), || format!("{op}: runs"));
    engine::object(index, |data| {
        if let Data::Once { runs, .. } = data {
            *runs = Some((me, at));
        }
    });
    let result = catch_unwind(AssertUnwindSafe(|| f(poisoned)));
    // Others may come here while it runs, and after it, before the next step.
    engine::touch(op, index, at);
    let (put, panicked) = match &result {
        Ok(Ok(_)) => (true, false),
        Ok(Err(_)) => (false, false),
        Err(_) => (false, true),
    };
    let (answer, new) = match result {
        Ok(Ok((answer, value))) => (Ok(answer), value),
        Ok(Err(answer)) => (Ok(answer), None),
        Err(payload) => (Err(payload), None),
    };
    engine::object(index, |data| {
        if let Data::Once { runs, done, poisoned, value } = data {
            *runs = None;
            *done = put;
            *poisoned = panicked && op.starts_with("call_once");
            if new.is_some() {
                *value = new;
            }
        }
    });
    engine::done(at, Some(index), || format!("{op}: ran"));
    match answer {
        Ok(answer) => Some(answer),
        Err(payload) => resume_unwind(payload),
    }
}

/// As [`std::sync::Once`].
pub struct Once {
    id: Id,
    real: std::sync::Once,
}

/// As [`std::sync::OnceState`].
#[derive(Debug)]
pub struct OnceState(bool);

impl OnceState {
    /// As in std.
    pub fn is_poisoned(&self) -> bool {
        self.0
    }
}

impl Once {
    /// As in std.
    #[track_caller]
    #[allow(clippy::new_without_default, reason = "std's has none")]
    pub const fn new() -> Self {
        Self { id: Id::new(), real: std::sync::Once::new() }
    }

    /// As in std.
    ///
    /// # Panics
    ///
    /// If an earlier closure panicked.
    #[track_caller]
    pub fn call_once(&self, f: impl FnOnce()) {
        if !engine::inside() {
            return self.real.call_once(f);
        }
        let index = shadow(&self.id, "Once", self.real.is_completed());
        let at = Location::caller();
        run(index, "call_once", at, false, |_| {
            f();
            Ok(((), None))
        });
    }

    /// As in std.
    #[track_caller]
    pub fn call_once_force(&self, f: impl FnOnce(&OnceState)) {
        if !engine::inside() {
            return self.real.call_once_force(|state| f(&OnceState(state.is_poisoned())));
        }
        let index = shadow(&self.id, "Once", self.real.is_completed());
        let at = Location::caller();
        run(index, "call_once_force", at, true, |poisoned| {
            f(&OnceState(poisoned));
            Ok(((), None))
        });
    }

    /// As in std.
    #[track_caller]
    pub fn is_completed(&self) -> bool {
        if !engine::inside() {
            return self.real.is_completed();
        }
        let index = shadow(&self.id, "Once", self.real.is_completed());
        let at = Location::caller();
        engine::touch("is_completed", index, at);
        let (done, _) = state(index);
        engine::done(at, Some(index), || format!("is_completed() -> {done}"));
        done
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}

/// As [`std::sync::OnceLock`]. One that a model sets is unset again in the
/// next execution, and its value is dropped at the end of this one.
pub struct OnceLock<T> {
    id: Id,
    real: std::sync::OnceLock<T>,
    // The value of the shadow.
    owns: PhantomData<T>,
}

// SAFETY: as std's `OnceLock`, which this is; the shadow's value is reached on
// the model's one thread only.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for OnceLock<T> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// As in std.
    #[track_caller]
    pub const fn new() -> Self {
        Self { id: Id::new(), real: std::sync::OnceLock::new(), owns: PhantomData }
    }

    fn shadow(&self) -> usize {
        shadow(&self.id, "OnceLock", self.real.get().is_some())
    }

    /// The value, without a step.
    #[allow(unsafe_code)]
    fn peek(&self) -> Option<&T> {
        if let Some(value) = self.real.get() {
            return Some(value);
        }
        let index = self.id.known()?;
        let value = engine::object(index, |data| match data {
            Data::Once { done: true, value: Some(value), .. } => Some(value.pointer::<T>()),
            _ => None,
        })?;
        // SAFETY: the shadow of a `OnceLock<T>` holds a `T`. It stays until
        // `self` is taken by value or mutably, or the execution ends, which it
        // does when none of its tasks run any more.
        Some(unsafe { &*value })
    }

    /// As in std.
    #[track_caller]
    pub fn get(&self) -> Option<&T> {
        if !engine::inside() {
            return self.real.get();
        }
        let (index, at) = (self.shadow(), Location::caller());
        engine::touch("get", index, at);
        let value = self.peek();
        engine::done(at, Some(index), || {
            format!("get() -> {}", if value.is_some() { "set" } else { "unset" })
        });
        value
    }

    /// As in std.
    ///
    /// # Errors
    ///
    /// The value, if there is one already.
    #[track_caller]
    pub fn set(&self, value: T) -> Result<(), T> {
        if !engine::inside() {
            return self.real.set(value);
        }
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("it runs once"));
        value.map_or(Ok(()), Err)
    }

    /// As in std.
    #[track_caller]
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        if !engine::inside() {
            return self.real.get_or_init(f);
        }
        let (index, at) = (self.shadow(), Location::caller());
        run(index, "get_or_init", at, true, |_| Ok(((), Some(Erased::new(f())))));
        self.peek().expect("it is set now")
    }

    /// As in std.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.settle();
        self.real.get_mut()
    }

    /// As in std.
    pub fn into_inner(mut self) -> Option<T> {
        self.take()
    }

    /// As in std.
    pub fn take(&mut self) -> Option<T> {
        self.settle();
        self.real.take()
    }

    /// Moves the shadow's value to where std's would be: nobody else looks.
    #[allow(unsafe_code)]
    fn settle(&mut self) {
        let Some(index) = self.id.known().filter(|_| engine::inside()) else {
            return;
        };
        let value = engine::object(index, |data| match data {
            Data::Once { value, .. } => value.take(),
            _ => None,
        });
        self.id.forget();
        if let Some(value) = value {
            // SAFETY: the shadow of a `OnceLock<T>` holds a `T`.
            let value = unsafe { value.into_inner::<T>() };
            let _ = self.real.set(value);
        }
    }
}

impl<T> Drop for OnceLock<T> {
    fn drop(&mut self) {
        self.settle();
    }
}

impl<T> Default for OnceLock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self { id: Id::new(), real: std::sync::OnceLock::from(value), owns: PhantomData }
    }
}

impl<T: Clone> Clone for OnceLock<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        self.get().map_or_else(Self::new, |value| Self::from(value.clone()))
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceLock").field(&self.peek()).finish()
    }
}

/// As [`std::sync::LazyLock`]. A `static` one is made anew in every execution
/// of a model; one whose closure captures something is made once.
pub struct LazyLock<T, F = fn() -> T> {
    cell: OnceLock<T>,
    init: Mutex<Option<F>>,
}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    /// As in std.
    #[track_caller]
    pub const fn new(f: F) -> Self {
        Self { cell: OnceLock::new(), init: Mutex::new(Some(f)) }
    }

    /// As in std.
    ///
    /// # Panics
    ///
    /// If the closure panicked before.
    #[track_caller]
    pub fn force(this: &Self) -> &T {
        if !engine::inside() {
            return this.cell.real.get_or_init(|| this.make());
        }
        this.cell.get_or_init(|| this.make())
    }

    /// Calls the closure: a copy, where it holds nothing that a call uses up.
    #[allow(unsafe_code)]
    fn make(&self) -> T {
        let pointer = std::any::type_name::<F>().starts_with("fn(");
        let repeats = !std::mem::needs_drop::<F>() && (size_of::<F>() == 0 || pointer);
        let mut init = self.init.lock().unwrap_or_else(PoisonError::into_inner);
        let f = if repeats {
            // SAFETY: a function pointer, or a closure that holds nothing.
            init.as_ref().map(|f| unsafe { std::ptr::read(f) })
        } else {
            init.take()
        };
        drop(init);
        f.expect("LazyLock instance has previously been poisoned")()
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;
    #[track_caller]
    fn deref(&self) -> &T {
        Self::force(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LazyLock").field(&self.cell.peek()).finish()
    }
}
