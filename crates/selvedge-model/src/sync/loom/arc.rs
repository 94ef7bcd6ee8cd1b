//! What the blocks of selvedge take from loom beside std's names: a counted
//! pointer whose counts are modelled, a cell whose accesses are, and a future
//! that is polled to its end.

use crate::loom_engine::{Id, Op, begins, call, made, quiet};
use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::pin::pin;
use std::sync::OnceLock;

/// loom's counted pointer: a leak fails the model, and what its references did
/// happened before it is dropped.
pub struct Arc<T: ?Sized>(Option<::loom::sync::Arc<T>>);

impl<T> Arc<T> {
    /// As in std.
    #[track_caller]
    pub fn new(value: T) -> Self {
        Self(Some(call(|| ::loom::sync::Arc::new(value))))
    }
}

impl<T: ?Sized> Arc<T> {
    fn inner(&self) -> &::loom::sync::Arc<T> {
        self.0.as_ref().expect("it is there until it is dropped")
    }

    /// As in std.
    #[must_use]
    pub fn as_ptr(this: &Self) -> *const T {
        &raw const **this
    }

    /// As in std.
    #[must_use]
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        ::loom::sync::Arc::ptr_eq(this.inner(), other.inner())
    }
}

impl<T: ?Sized> Clone for Arc<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        Self(Some(call(|| self.inner().clone())))
    }
}

impl<T: ?Sized> Drop for Arc<T> {
    fn drop(&mut self) {
        let inner = self.0.take();
        call(|| drop(inner));
    }
}

impl<T: ?Sized> Deref for Arc<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.inner()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Arc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Default> Default for Arc<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Arc<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// loom's cell: two accesses of which one writes, and neither happened before
/// the other, fail the model.
#[derive(Debug)]
pub struct UnsafeCell<T>(::loom::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    /// A new cell.
    #[track_caller]
    pub fn new(value: T) -> Self {
        Self(call(|| ::loom::cell::UnsafeCell::new(value)))
    }

    /// Reads through a shared pointer, valid during the call.
    #[track_caller]
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        call(|| self.0.with(f))
    }

    /// Writes through an exclusive pointer, valid during the call.
    #[track_caller]
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        call(|| self.0.with_mut(f))
    }

    /// The value itself.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: Default> Default for UnsafeCell<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// Polls `future` to its end on this thread.
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    // loom drops its own when it panics, and a destructor must not run then.
    let mut future = pin!(future);
    let what = Op::new("await", Id::NONE, Location::caller());
    quiet(what, || ::loom::future::block_on(future.as_mut()))
}

/// What a thread parks on: loom's `unpark` may wake a thread out of a lock.
/// Made when somebody first needs it.
#[derive(Debug, Default)]
pub(crate) struct Token(OnceLock<(Id, ::loom::sync::Notify)>);

impl Token {
    #[track_caller]
    fn get(&self) -> &(Id, ::loom::sync::Notify) {
        let at = Location::caller();
        self.0.get_or_init(|| (made("token", at), call(::loom::sync::Notify::new)))
    }

    #[track_caller]
    pub(crate) fn give(&self) {
        let (id, notify) = self.get();
        quiet(Op::new("unpark", *id, Location::caller()), || notify.notify());
    }

    /// Waits for the token. loom tries a wake-up for no reason as well.
    #[track_caller]
    pub(crate) fn take(&self) {
        let (id, notify) = self.get();
        let what = Op::new("park", *id, Location::caller());
        begins(what);
        quiet(what, || notify.wait());
    }
}
