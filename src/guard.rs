//! Foreign code, guarded: the one place through which a block calls, polls,
//! wakes and drops what its users gave it.
//!
//! A panic there is a value. That holds for destructors as well: of a future,
//! a closure, an outcome, a waker, and of the payload that a panic carries.
//!
//! # The rule
//!
//! 1. A panic in a destructor is a fault of the item whose value it was. It
//!    takes the place of a success, of a cancellation and of a timeout
//!    ([`and_dropped`]); an error or a panic that came before it stays.
//! 2. Where there is no item to report it for, the panic hook has reported
//!    it, and it goes no further. It never ends something else.
//!    Where a call was given the value, and returns, it goes on to the caller
//!    ([`Returned`]), after an error that the call has.
//! 3. Several values are dropped one by one ([`each`]). Two destructors that
//!    panic in one drop of a collection abort the process.
//!
//! What no guard can help: two destructors that panic within one value of the
//! user's own.

#![allow(dead_code, reason = "loom leaves out most of its users")]

use crate::outcome::{Outcome, Panic};
use std::any::Any;
use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::vec;

/// What a panic carries. It is dropped under guard.
pub(crate) struct Payload(Option<Box<dyn Any + Send>>);

impl Payload {
    /// Lets the panic go on.
    pub(crate) fn resume(mut self) -> ! {
        resume_unwind(self.0.take().expect("there until it is dropped"))
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        let payload = self.0.take();
        if payload.is_some()
            && let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
        {
            // Its destructor may panic as well, and so on without end.
            mem::forget(again);
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payload")
    }
}

/// Runs foreign code.
#[inline]
pub(crate) fn guarded<R>(code: impl FnOnce() -> R) -> Result<R, Panic> {
    caught(code).map_err(told)
}

/// Runs foreign code whose panic is to be resumed elsewhere.
#[inline]
pub(crate) fn caught<R>(code: impl FnOnce() -> R) -> Result<R, Payload> {
    // What a panic leaves broken is the user's, and is not used again.
    catch_unwind(AssertUnwindSafe(code)).map_err(|payload| Payload(Some(payload)))
}

/// What the payload said; it is dropped.
#[cold]
pub(crate) fn told(payload: Payload) -> Panic {
    Panic::from_payload(&**payload.0.as_ref().expect("there until it is dropped"))
}

/// Drops a value.
#[inline]
pub(crate) fn dropped<T>(value: T) -> Result<(), Panic> {
    if mem::needs_drop::<T>() { guarded(|| drop(value)) } else { Ok(()) }
}

/// Drops values one by one, whichever of them panic; the first panic.
pub(crate) fn each<I: IntoIterator>(values: I) -> Result<(), Panic> {
    let mut first = Ok(());
    for value in values {
        let this = dropped(value);
        if first.is_ok() {
            first = this;
        }
    }
    first
}

/// Lets the panic of a destructor go on to the caller, unless the thread is
/// unwinding already: two at once abort the process.
pub(crate) fn surface(dropped: Result<(), Payload>) {
    match dropped {
        Ok(()) => {}
        Err(payload) if std::thread::panicking() => drop(payload),
        Err(payload) => payload.resume(),
    }
}

/// Wakes a task.
///
/// A waker that panics is its executor's bug: it must take down neither the
/// caller, who may hold an item, nor the waking of others.
#[inline]
pub(crate) fn wake(waker: Waker) {
    let _ = caught(|| waker.wake());
}

/// The outcome of an item whose future, closure or value was then dropped:
/// rule 1.
pub(crate) fn and_dropped<T, E>(
    outcome: Outcome<T, E>,
    dropped: Result<(), Panic>,
) -> Outcome<T, E> {
    match (dropped, outcome) {
        (Ok(()), outcome) | (Err(_), outcome @ (Outcome::Err(_) | Outcome::Panicked(_))) => outcome,
        (Err(_), outcome @ Outcome::Crashed(_)) => outcome,
        (Err(panic), outcome) => {
            // The value of a success may be next. One fault is enough.
            let _ = self::dropped(outcome);
            Outcome::Panicked(panic)
        }
    }
}

/// Values that are dropped one by one: rule 3.
#[derive(Debug)]
pub(crate) struct Each<T>(Vec<T>);

impl<T> Each<T> {
    pub(crate) const fn new(values: Vec<T>) -> Self {
        Self(values)
    }

    pub(crate) fn into_vec(mut self) -> Vec<T> {
        mem::take(&mut self.0)
    }
}

impl<T> Deref for Each<T> {
    type Target = Vec<T>;
    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> DerefMut for Each<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

impl<T> Drop for Each<T> {
    fn drop(&mut self) {
        if mem::needs_drop::<T>() {
            let _ = each(mem::take(&mut self.0));
        }
    }
}

/// Items of which those that are not taken are dropped one by one.
pub(crate) struct OneByOne<T>(vec::IntoIter<T>);

impl<T> OneByOne<T> {
    pub(crate) fn new(values: Vec<T>) -> Self {
        Self(values.into_iter())
    }
}

impl<T> Iterator for OneByOne<T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.next()
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T> Drop for OneByOne<T> {
    fn drop(&mut self) {
        let _ = each(&mut self.0);
    }
}

/// A value whose destructor may panic out of the call that was given it:
/// [`surface`].
#[derive(Debug)]
pub(crate) struct Surfacing<T>(Option<T>);

impl<T> Surfacing<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Some(value))
    }

    #[inline]
    pub(crate) fn into_inner(mut self) -> T {
        self.0.take().expect("there until it is dropped")
    }

    /// Drops the value, for a caller that has something to say before its
    /// panic.
    pub(crate) fn end(mut self) -> Result<(), Payload> {
        caught(|| self.0 = None)
    }
}

impl<T> Deref for Surfacing<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl<T> DerefMut for Surfacing<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("there until it is dropped")
    }
}

impl<T> Drop for Surfacing<T> {
    fn drop(&mut self) {
        if self.0.is_some() && mem::needs_drop::<T>() {
            surface(caught(|| self.0 = None));
        }
    }
}

/// What a call returns once it has dropped what it was given, and what that
/// panicked with.
#[must_use]
pub(crate) struct Returned<O> {
    value: O,
    dropped: Result<(), Payload>,
}

impl<O> Returned<O> {
    pub(crate) const fn new(value: O) -> Self {
        Self { value, dropped: Ok(()) }
    }

    /// Something more was dropped. The first panic counts.
    pub(crate) fn after(mut self, dropped: Result<(), Payload>) -> Self {
        if self.dropped.is_ok() {
            self.dropped = dropped;
        }
        self
    }

    /// The value, unless something panicked: then that goes on.
    pub(crate) fn or_panic(self) -> O {
        match self.dropped {
            Ok(()) => self.value,
            Err(payload) => {
                let _ = self::dropped(self.value);
                payload.resume()
            }
        }
    }
}

impl<T, E> Returned<Result<T, E>> {
    /// [`or_panic`](Returned::or_panic), but for an error, which came before.
    pub(crate) fn error_or_panic(self) -> Result<T, E> {
        if self.value.is_err() { self.value } else { self.or_panic() }
    }
}

pin_project_lite::pin_project! {
    /// A place for a user's future, which is polled and dropped under guard.
    #[derive(Debug)]
    pub(crate) struct Guarded<F> {
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Guarded<F> {
        fn drop(this: Pin<&mut Self>) {
            // Who wants to know asks `clear` before.
            let _ = this.clear();
        }
    }
}

impl<F> Guarded<F> {
    pub(crate) const fn new(future: F) -> Self {
        Self { future: Some(future) }
    }

    /// A place with nothing in it.
    pub(crate) const fn empty() -> Self {
        Self { future: None }
    }

    /// Puts a future into an empty place.
    pub(crate) fn put(self: Pin<&mut Self>, future: F) {
        self.project().future.set(Some(future));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.future.is_none()
    }

    /// Drops the future, if there is one: the place is empty then, panic or
    /// not.
    pub(crate) fn clear(self: Pin<&mut Self>) -> Result<(), Panic> {
        let mut future = self.project().future;
        if future.is_none() { Ok(()) } else { guarded(|| future.set(None)) }
    }
}

impl<F: Future> Guarded<F> {
    /// Polls it. It stays where it is when it has ended, until
    /// [`clear`](Self::clear).
    ///
    /// # Panics
    ///
    /// If the place is empty.
    #[inline]
    pub(crate) fn poll(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<F::Output, Panic>> {
        let future = self.project().future.as_pin_mut().expect("there until it is cleared");
        match guarded(|| future.poll(context)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::panic::panic_any;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Bomb<'c>(&'c AtomicUsize);

    impl Drop for Bomb<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("in drop");
        }
    }

    fn says<T>(result: Result<T, Panic>) -> String {
        result.err().expect("it panics").message().to_owned()
    }

    #[test]
    fn every_value_is_dropped_whichever_panic() {
        let count = AtomicUsize::new(0);
        assert_eq!(says(each([Bomb(&count), Bomb(&count)])), "in drop");
        drop(Each::new(vec![Bomb(&count), Bomb(&count)]));
        assert_eq!(count.into_inner(), 4);
    }

    #[test]
    fn a_payload_that_panics_goes_no_further() {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        struct Chain;
        impl Drop for Chain {
            fn drop(&mut self) {
                COUNT.fetch_add(1, Ordering::Relaxed);
                panic_any(Chain);
            }
        }
        let said = says(guarded(|| panic_any(Chain)));
        assert_eq!(
            (said.as_str(), COUNT.load(Ordering::Relaxed)),
            ("a payload that is not a string", 1)
        );
    }

    #[test]
    fn a_destructor_in_the_middle_of_an_unwinding_aborts_nothing() {
        struct Holder<'c>(Option<Bomb<'c>>);
        impl Drop for Holder<'_> {
            fn drop(&mut self) {
                assert_eq!(says(dropped(self.0.take())), "in drop");
            }
        }
        let count = AtomicUsize::new(0);
        let said = says(guarded(|| {
            let _holder = Holder(Some(Bomb(&count)));
            panic!("first");
        }));
        assert_eq!((said.as_str(), count.into_inner()), ("first", 1));
    }

    #[test]
    fn a_panic_takes_the_place_of_all_but_a_fault_that_came_before() {
        let panic = || Err(Panic::new("late", None));
        let late: Outcome<i32, i32> = Outcome::Panicked(Panic::new("late", None));
        for quiet in [
            Outcome::Ok(1),
            Outcome::Cancelled(crate::outcome::Cancelled::default()),
            Outcome::TimedOut(crate::outcome::TimedOut::new("t", std::time::Duration::ZERO)),
        ] {
            assert_eq!(and_dropped(quiet.clone(), Ok(())), quiet);
            assert_eq!(and_dropped(quiet, panic()), late);
        }
        let early: Outcome<i32, i32> = Outcome::Panicked(Panic::new("early", None));
        for fault in [Outcome::Err(2), early] {
            assert_eq!(and_dropped(fault.clone(), panic()), fault);
        }
    }

    #[test]
    fn a_place_is_empty_after_a_destructor_has_panicked() {
        let count = AtomicUsize::new(0);
        let bomb = Bomb(&count);
        let mut place = std::pin::pin!(Guarded::new(async move {
            let _bomb = bomb;
            std::future::pending::<()>().await;
        }));
        let context = &mut Context::from_waker(Waker::noop());
        assert!(place.as_mut().poll(context).is_pending());
        assert_eq!(says(place.as_mut().clear()), "in drop");
        assert!(place.is_empty());
    }
}
