//! Helper threads are not there in a forked child, and the locks that they
//! share may be held for ever by a thread that is not there either.

#![allow(dead_code, reason = "loom leaves out one of its users")]
#![allow(unsafe_code, reason = "a pointer that lives as long as what holds it is read")]

use std::marker::PhantomData;
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A value for each process that asks: made anew in a forked child.
///
/// The parent's value is not touched there: no lock of it is taken. Nor does a
/// value that another thread is making at the fork keep the child waiting: two
/// threads that come first both make one, and one of them is dropped.
#[derive(Debug)]
pub(crate) struct PerProcess<T>(AtomicPtr<Made<T>>, PhantomData<Made<T>>);

#[derive(Debug)]
struct Made<T> {
    process: u32,
    value: T,
    /// Of a child that was forked from this process.
    next: PerProcess<T>,
}

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()), PhantomData)
    }

    /// What was made first.
    fn first(&self) -> Option<&Made<T>> {
        // ORDERING: Acquire, with the Release of `add`: the value is made.
        // NOT CAUGHT: no model forks.
        let made = self.0.load(Ordering::Acquire);
        // SAFETY: null, or from a box that `add` gave up, and freed by `drop`
        // alone, which has `self` to itself.
        unsafe { made.as_ref() }
    }

    /// Adds a value, unless there is one.
    fn add(&self, made: Made<T>) {
        let made = Box::into_raw(Box::new(made));
        // ORDERING: Release, with the Acquire of `first`. The value that is there
        // is not looked at here.
        // NOT CAUGHT: no model forks.
        let added =
            self.0.compare_exchange(ptr::null_mut(), made, Ordering::Release, Ordering::Relaxed);
        if added.is_err() {
            // SAFETY: from a box, above, and seen by nobody else.
            drop(unsafe { Box::from_raw(made) });
        }
    }

    /// The value of this process.
    pub(crate) fn get(&self, make: impl Fn() -> T) -> &T {
        let process = process::id();
        let mut place = self;
        loop {
            match place.first() {
                Some(made) if made.process == process => return &made.value,
                Some(made) => place = &made.next,
                None => place.add(Made { process, value: make(), next: Self::new() }),
            }
        }
    }

    /// The value of this process, if it was made.
    pub(crate) fn made(&self) -> Option<&T> {
        let process = process::id();
        let mut place = self;
        while let Some(made) = place.first() {
            if made.process == process {
                return Some(&made.value);
            }
            place = &made.next;
        }
        None
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let made = *self.0.get_mut();
        if !made.is_null() {
            // SAFETY: from a box that `add` gave up; nobody else has `self`.
            drop(unsafe { Box::from_raw(made) });
        }
    }
}

#[cfg(all(test, target_os = "linux", not(loom)))]
mod tests {
    use super::PerProcess;
    use std::sync::mpsc;
    use std::thread;

    /// Another thread is making the parent's value for ever, in the child's eyes.
    #[test]
    fn a_value_that_is_being_made_at_the_fork_keeps_no_child_waiting() {
        static MADE: PerProcess<u32> = PerProcess::new();
        let (begun, has_begun) = mpsc::channel();
        let (go_on, gone_on) = mpsc::channel::<()>();
        let making = thread::spawn(move || {
            *MADE.get(|| {
                begun.send(()).unwrap();
                gone_on.recv().unwrap();
                1
            })
        });
        has_begun.recv().unwrap();
        // SAFETY: the child touches nothing that another thread of this process
        // may have locked.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: it kills the child if that hangs, and ends it.
            unsafe {
                libc::alarm(15);
                libc::_exit(i32::from(*MADE.get(|| 2) != 2));
            }
        }
        let mut status = 0;
        // SAFETY: our child, and a place for its status.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        go_on.send(()).unwrap();
        assert_eq!((making.join().unwrap(), *MADE.get(|| 3)), (1, 1));
    }

    #[test]
    fn two_that_come_first_get_the_same() {
        for _ in 0..1_000 {
            let made = PerProcess::new();
            let get = |n| std::ptr::from_ref(made.get(|| vec![n]));
            let both = thread::scope(|scope| {
                let other = scope.spawn(|| get(1).addr());
                (get(2).addr(), other.join().unwrap())
            });
            assert_eq!(both.0, both.1);
            assert!(made.made().is_some());
        }
    }
}
