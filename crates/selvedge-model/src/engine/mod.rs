//! What runs inside of a model: one execution at a time, on one OS thread.
//!
//! shuttle gives each task a stack and switches between them; everything else
//! is here. A task says what it is about to do ([`step`]), the scheduler picks
//! one of the tasks whose operation can be done now, and that operation is
//! done in one piece. So what each task waits for is known at every choice,
//! and a deadlock is a choice with nothing to choose from.

mod choose;
mod drive;
mod every;
mod exec;
mod footprint;
mod hook;
pub(crate) mod object;
mod report;
mod sample;
mod shrink;
mod strategy;
mod tasks;
mod whole;

pub(crate) use drive::{Body, Failed, Run, drive};
pub(crate) use every::Every;
pub(crate) use exec::{Event, Settings, note};
pub(crate) use footprint::{Access, Key};
pub(crate) use object::Id;
pub(crate) use report::{Facts, page, text};
pub(crate) use sample::{Mixed, Opening, Sampled};
pub(crate) use shrink::{Deviations, shrink};
pub(crate) use strategy::{Dfs, Guided, Strategy};
pub(crate) use tasks::{
    Kind, current, finished, lane, local, panics_are_values, spawn, take_token, unpark, unwinding,
};
pub use whole::Whole;
pub(crate) use whole::whole;

use exec::{Pending, with};
use std::cell::Cell;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A line of the user's.
pub(crate) type Place = &'static Location<'static>;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether the caller runs inside of a model.
#[inline]
pub(crate) fn inside() -> bool {
    INSIDE.get()
}

/// What has to hold before an operation can be done.
#[derive(Debug, Clone)]
pub(crate) enum Wait {
    /// Nothing.
    Ready,
    /// Nothing; others should run first.
    Yield,
    /// Nobody else has the lock.
    Write(usize),
    /// Nobody writes.
    Read(usize),
    /// This ticket of the condition variable was called, and the lock is free.
    Notified { condvar: usize, ticket: usize, lock: usize },
    /// One of those who wait for the condition variable is picked.
    Pick(usize),
    /// Nothing; one of so many ways to go on is picked.
    OneOf(usize),
    /// The calling task has its token.
    Token,
    /// The task has finished.
    Finished(usize),
    /// Something woke the task.
    Woken(Arc<AtomicBool>),
    /// The barrier has opened.
    Opened { barrier: usize, generation: usize },
    /// There is something to receive, or nobody who could send.
    Item(usize),
    /// There is room, or nobody who would receive.
    Room(usize),
    /// So many items were received, or nobody would.
    Taken { queue: usize, count: u64 },
    /// Nobody runs the closure of the `Once`.
    Idle(usize),
    /// The scope has no running threads.
    Empty(usize),
    /// Only the deadline.
    Never,
    /// The clock's own.
    Clock,
}

/// The alternative that means that the deadline passed.
pub(crate) const EXPIRED: usize = usize::MAX;

/// The calling task is about to do `op`; comes back when it may. Which of the
/// alternatives was chosen: 0, unless `wait` has more, or [`EXPIRED`].
pub(crate) fn step(
    op: &'static str,
    object: Option<usize>,
    wait: Wait,
    deadline: Option<Duration>,
    at: Place,
) -> usize {
    let pending = Pending { op, object, wait, deadline, at };
    if !with(|e| e.announce(pending)) {
        return 0;
    }
    switch();
    with(|e| e.chosen())
}

/// The plain case: an operation that can always be done.
#[inline]
pub(crate) fn touch(op: &'static str, object: usize, at: Place) {
    step(op, Some(object), Wait::Ready, None, at);
}

/// Hands over to the scheduler.
fn switch() {
    shuttle::thread::sleep(Duration::ZERO);
}

/// The index of the calling task.
pub(crate) fn me() -> usize {
    with(|e| e.current)
}

/// Runs `f` with the object's state, which it may change.
pub(crate) fn object<R>(index: usize, f: impl FnOnce(&mut object::Data) -> R) -> R {
    with(|e| {
        e.touched(Key::Object(index), Access::Write);
        f(&mut e.objects[index].data)
    })
}

/// Runs `f`, which says as well whether it changed the state.
pub(crate) fn told<R>(index: usize, f: impl FnOnce(&mut object::Data) -> (R, bool)) -> R {
    with(|e| {
        let (result, changed) = f(&mut e.objects[index].data);
        let access = if changed { Access::Write } else { Access::Read };
        e.touched(Key::Object(index), access);
        result
    })
}

/// The same, with nothing that two who do so could tell from each other.
pub(crate) fn shared<R>(index: usize, f: impl FnOnce(&mut object::Data) -> R) -> R {
    with(|e| {
        e.touched(Key::Object(index), Access::Read);
        f(&mut e.objects[index].data)
    })
}

/// The lock is taken, by this step.
pub(crate) fn takes(index: usize) {
    with(|e| e.step.takes.push(Key::Object(index)));
}

/// Nobody else can have it from now on.
pub(crate) fn holds(index: usize) {
    with(|e| e.step.holds.push(Key::Object(index)));
}

/// The lock is given up: who waits for it could not have had it before. Whether
/// others can tell that it was taken, whatever was done with it.
pub(crate) fn gives_up(index: usize) -> bool {
    with(|e| {
        let key = Key::Object(index);
        let told = !e.step.holds.contains(&key) || e.unwinding();
        e.step.release(key);
        told
    })
}

/// Whether all that the tasks share is told of.
pub(crate) fn closed() -> bool {
    with(|e| e.settings.closed)
}

/// Something other than an object is touched, inside of a model.
pub(crate) fn touched(key: Key, access: Access) {
    if inside() {
        let _ = try_with(|e| e.touched(key, access));
    }
}

/// Writes down what the operation that was just done gave.
#[inline]
pub(crate) fn done(at: Place, object: Option<usize>, text: impl FnOnce() -> String) {
    if with(|e| e.recording && !e.over) {
        // The text may ask the execution for names.
        let text = text();
        with(|e| e.event(at, object, text));
    }
}

/// Whether a task waits for an item of the queue.
pub(crate) fn receives(queue: usize) -> bool {
    with(|e| {
        // It looks at what others wait for.
        e.step.world = true;
        let waits = |task: &exec::Pending| matches!(task.wait, Wait::Item(q) if q == queue);
        e.tasks.iter().any(|task| !task.finished && waits(&task.pending))
    })
}

/// Somebody tries a lock.
pub(crate) fn tries() {
    with(|e| e.tried = true);
}

/// Whether to give a lock up is a step of its own.
pub(crate) fn unlocks_are_steps() -> bool {
    with(|e| e.settings.unlock_steps)
}

/// How often the real clock was waited for, outside of models.
static CLOCKED: AtomicU64 = AtomicU64::new(0);

/// The real clock is waited for.
pub(crate) fn clocked() {
    // ORDERING: a count that orders nothing.
    CLOCKED.fetch_add(1, Ordering::Relaxed);
}

/// How often it was, in all of the process.
pub(crate) fn clocked_so_far() -> u64 {
    CLOCKED.load(Ordering::Relaxed)
}

/// When all executions of this process begin.
pub(crate) fn began() -> std::time::Instant {
    static BEGAN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    *BEGAN.get_or_init(std::time::Instant::now)
}

/// The modelled time, since the execution began.
pub(crate) fn now() -> Duration {
    with(|e| {
        e.touched(Key::Clock, Access::Read);
        e.clock
    })
}

/// When something that lasts `duration` ends.
pub(crate) fn ends(duration: Duration) -> Option<Duration> {
    now().checked_add(duration)
}

#[cfg(feature = "tokio")]
mod futures;
#[cfg(feature = "tokio")]
pub(crate) use futures::{awaited, awaits, awaits_nothing, returned, timer_drop, timer_set};
#[cfg(feature = "tokio")]
pub(crate) use sample::Random;

pub(crate) use exec::try_with;
