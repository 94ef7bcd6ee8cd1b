//! What only async tasks need.

use super::exec::{Timer, try_with, with};
use super::{Access, Key, Place};
use std::task::Waker;
use std::time::Duration;

/// What the running task's future returned `Pending` for, if the model knows.
pub(crate) fn awaits(what: &'static str, at: Place) {
    with(|e| {
        let me = e.current;
        e.tasks[me].awaits = Some((what, at));
    });
}

/// Before a poll.
pub(crate) fn awaits_nothing() {
    with(|e| {
        let me = e.current;
        e.tasks[me].awaits = None;
    });
}

/// After it.
pub(crate) fn awaited() -> Option<(&'static str, Place)> {
    with(|e| e.tasks[e.current].awaits)
}

/// Whether the body has returned.
pub(crate) fn returned() -> bool {
    with(|e| {
        e.touched(Key::Body, Access::Read);
        e.returned
    })
}

/// Registers a timer; the number to take it back by.
pub(crate) fn timer_set(at: Duration, waker: Waker, place: Place) -> u64 {
    with(|e| {
        e.next_timer += 1;
        let number = e.next_timer;
        e.timers.insert(number, Timer { at, waker, place });
        e.touched(Key::Timer(number as usize), Access::Write);
        number
    })
}

/// Takes a timer back.
pub(crate) fn timer_drop(number: u64) {
    let timer = try_with(|e| {
        e.touched(Key::Timer(number as usize), Access::Write);
        e.timers.remove(&number)
    });
    drop(timer);
}
