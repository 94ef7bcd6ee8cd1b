//! A paused clock stands still while a task waits for a thread.
//!
//! tokio moves its paused clock to the next timer whenever no task has
//! anything to do, and knows of no thread but those of its own blocking pool.
//! So one of these waits while a task waits for a thread of ours.

use crate::swap::hint::Spin;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant as StdInstant;
use tokio::runtime::{Handle, Id};
use tokio::time::Instant;

/// Holds the clock of a runtime until it is dropped.
#[derive(Debug, Clone)]
pub struct Hold {
    _holder: Arc<Sender<()>>,
}

/// The thread that holds the clock of each runtime, which ends with the last
/// hold on it: so it never outlasts what is waited for.
static HOLDERS: LazyLock<Mutex<HashMap<Id, Weak<Sender<()>>>>> = LazyLock::new(Mutex::default);

/// Holds the caller's clock if it is paused; `None` if it moves by itself, or
/// there is no runtime.
pub fn hold_clock() -> Option<Hold> {
    let runtime = Handle::try_current().ok()?;
    if !is_paused() {
        return None;
    }
    let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(holder) = holders.get(&runtime.id()).and_then(Weak::upgrade) {
        return Some(Hold { _holder: holder });
    }
    let (holder, ended) = channel();
    let holder = Arc::new(holder);
    holders.retain(|_, holder| holder.strong_count() > 0);
    holders.insert(runtime.id(), Arc::downgrade(&holder));
    drop(holders);
    // The clock stands from this call on, not from when the closure starts.
    drop(runtime.spawn_blocking(move || ended.recv()));
    Some(Hold { _holder: holder })
}

/// Runs a future that waits for a thread, with the clock held while it waits.
pub async fn holding_the_clock<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut hold = None;
    poll_fn(|context| {
        let polled = future.as_mut().poll(context);
        if polled.is_pending() && hold.is_none() {
            hold = hold_clock();
        }
        polled
    })
    .await
}

/// A thread that works for tasks: it holds their clock, but for when it waits
/// for one of them.
///
/// So the clock stands from the moment at which a task hands the thread
/// something, and not from when the thread notices; and it may move once the
/// thread has nothing more that it could do, and once it waits for room.
#[derive(Debug)]
pub struct Working(Arc<Duty>);

#[derive(Debug)]
struct Duty(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Whose clock is held; `None` once nobody waits for the thread.
    runtime: Option<Handle>,
    hold: Option<Hold>,
    thread: Option<Thread>,
    woken: bool,
}

impl Working {
    /// For a thread to be started: it has something to do from now on, for the
    /// caller's runtime.
    pub fn begin() -> Self {
        let (runtime, hold) = (Handle::try_current().ok(), hold_clock());
        Self(Arc::new(Duty(Mutex::new(State { runtime, hold, thread: None, woken: false }))))
    }

    /// What to call once nobody waits any more for what the thread does.
    pub fn over(&self) -> impl FnOnce() + Send + use<> {
        let duty = Arc::clone(&self.0);
        move || duty.end()
    }

    /// Waits for `future`, which somebody else makes ready. The clock may move
    /// while this thread has parked, until its waker is called.
    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        // A model's clock needs no holding, and the waker below is no step of it.
        #[cfg(any(test, feature = "model"))]
        if selvedge_model::private::inside() {
            return crate::swap::future::block_on(future);
        }
        let mut future = pin!(future);
        let waker = Waker::from(Arc::clone(&self.0));
        let mut context = Context::from_waker(&waker);
        self.0.lock().thread.get_or_insert_with(thread::current);
        loop {
            self.0.lock().woken = false;
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            let mut spin = Spin::new();
            while !self.0.lock().woken && spin.again() {}
            if self.0.rests() {
                while !self.0.lock().woken {
                    thread::park();
                }
            }
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Duty {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the clock move, unless there is something to do. One step with the
    /// look at `woken`: so who wakes the thread finds the clock held, or holds it.
    fn rests(&self) -> bool {
        let mut state = self.lock();
        if !state.woken {
            state.hold = None;
        }
        !state.woken
    }

    fn end(&self) {
        let mut state = self.lock();
        let ended = (state.runtime.take(), state.hold.take());
        drop(state);
        // Unlocked: it may be the last of the runtime.
        drop(ended);
    }
}

impl Wake for Duty {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.lock();
        state.woken = true;
        let State { runtime, hold, thread, .. } = &mut *state;
        if let Some(runtime) = runtime
            && hold.is_none()
        {
            // Whoever wakes it may belong to another runtime, or to none.
            let _entered = runtime.enter();
            *hold = hold_clock();
        }
        let thread = thread.clone();
        drop(state);
        if let Some(thread) = thread {
            thread.unpark();
        }
    }
}

/// Whether tokio's clock stands while the system's moves. Exact: a clock that
/// is not paused is read before and after an instant that has passed between.
fn is_paused() -> bool {
    let before = Instant::now();
    let start = StdInstant::now();
    while StdInstant::now() == start {
        std::hint::spin_loop();
    }
    Instant::now() == before
}
