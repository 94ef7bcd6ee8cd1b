//! A paused clock stands still while a task waits for a thread.
//!
//! tokio moves its paused clock to the next timer whenever no task has
//! anything to do, and knows of no thread but those of its own blocking pool.
//! So one of these waits while a task waits for a thread of ours.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
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
