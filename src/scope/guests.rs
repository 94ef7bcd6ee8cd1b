//! What a scope waits for beside its children: scopes and gathers that were
//! begun inside and dropped, and whose end goes on without their callers.
//!
//! The scope that a future is inside of is known while it is polled, as its
//! deadline is. It is looked up at the first poll and kept: whoever drops the
//! future later does so from anywhere.

use crate::guard;
use crate::swap::{Arc, Mutex, local_key};
use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// How many there are, and who waits until there are none.
#[derive(Debug, Default)]
pub(crate) struct Guests(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    count: usize,
    waiter: Option<Waker>,
}

/// One of them, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Guest(Arc<Guests>);

impl Guests {
    /// One more. The caller holds the scope open by other means until then:
    /// it is in a child or a cleanup that has not been dropped.
    pub(crate) fn enter(this: &Arc<Self>) -> Guest {
        this.0.lock().count += 1;
        Guest(Arc::clone(this))
    }

    pub(super) fn are_gone(&self) -> bool {
        self.0.lock().count == 0
    }

    /// Ready when there are none.
    pub(super) fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        // Cloned, and dropped, unlocked: that is foreign code.
        let waker = context.waker().clone();
        let mut state = self.0.lock();
        let before = if state.count == 0 { Some(waker) } else { state.waiter.replace(waker) };
        let gone = state.count == 0;
        drop(state);
        let _ = guard::dropped(before);
        if gone { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.count -= 1;
        let waiter = if state.count == 0 { state.waiter.take() } else { None };
        drop(state);
        waiter.into_iter().for_each(guard::wake);
    }
}

local_key! {
    static CURRENT: RefCell<Option<Arc<Guests>>> = RefCell::new(None)
}

/// Of the scope that the caller is inside of.
pub(crate) fn current() -> Option<Arc<Guests>> {
    CURRENT.with(|current| current.borrow().clone())
}

pin_project_lite::pin_project! {
    /// The future of [`inside`].
    pub(crate) struct Inside<F> {
        #[pin]
        future: F,
        guests: Option<Arc<Guests>>,
    }
}

/// Polls `future` inside of a scope.
pub(crate) fn inside<F>(guests: Option<Arc<Guests>>, future: F) -> Inside<F> {
    Inside { future, guests }
}

impl<F: Future> Future for Inside<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        struct Back(Option<Arc<Guests>>);
        impl Drop for Back {
            fn drop(&mut self) {
                CURRENT.with(|current| current.replace(self.0.take()));
            }
        }
        let this = self.project();
        if this.guests.is_none() {
            return this.future.poll(context);
        }
        let before = CURRENT.with(|current| current.replace(this.guests.clone()));
        let _back = Back(before);
        this.future.poll(context)
    }
}
