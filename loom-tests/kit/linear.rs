//! Linearizability of a recorded history against a sequential specification.
//!
//! The definition is Herlihy and Wing's (1990); the search is Wing and Gong's
//! (1993): pick an operation that no other one completely precedes, apply it to
//! the specification, go on with the rest, come back if the results differ.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// One operation as its caller saw it.
#[derive(Debug, Clone)]
pub(crate) struct Event<Op, Ret> {
    called: u64,
    returned: u64,
    op: Op,
    ret: Ret,
}

/// Records operations with a clock that no checker sees: time stamps from a
/// modelled atomic would order the very operations under test.
#[derive(Debug)]
pub(crate) struct History<Op, Ret> {
    clock: Arc<AtomicU64>,
    events: Arc<Mutex<Vec<Event<Op, Ret>>>>,
}

impl<Op, Ret> Clone for History<Op, Ret> {
    fn clone(&self) -> Self {
        Self { clock: Arc::clone(&self.clock), events: Arc::clone(&self.events) }
    }
}

impl<Op: Clone, Ret: Clone + PartialEq> History<Op, Ret> {
    /// An empty history.
    pub(crate) fn new() -> Self {
        Self { clock: Arc::default(), events: Arc::default() }
    }

    /// Runs `call` and records it as one operation.
    pub(crate) fn record(&self, op: Op, call: impl FnOnce() -> Ret) -> Ret {
        let called = self.clock.fetch_add(1, Ordering::SeqCst);
        let ret = call();
        let returned = self.clock.fetch_add(1, Ordering::SeqCst);
        let event = Event { called, returned, op, ret: ret.clone() };
        self.events.lock().expect("no panic while recording").push(event);
        ret
    }

    /// Whether some order of the operations, in which each takes effect
    /// between its call and its return, gives the results that were seen.
    /// `apply` is the specification: a step of a sequential machine.
    pub(crate) fn is_linearizable<S: Clone>(
        &self,
        start: S,
        apply: impl Fn(&mut S, &Op) -> Ret,
    ) -> bool {
        let events = self.events.lock().expect("no panic while recording").clone();
        search(&events, &mut vec![false; events.len()], &start, &apply)
    }
}

fn search<Op, Ret: PartialEq, S: Clone>(
    events: &[Event<Op, Ret>],
    done: &mut [bool],
    state: &S,
    apply: &impl Fn(&mut S, &Op) -> Ret,
) -> bool {
    let open = || (0..events.len()).filter(|i| !done[*i]);
    let Some(first_return) = open().map(|i| events[i].returned).min() else {
        return true;
    };
    let minimal: Vec<usize> = open().filter(|i| events[*i].called < first_return).collect();
    for i in minimal {
        let mut next = state.clone();
        if apply(&mut next, &events[i].op) == events[i].ret {
            done[i] = true;
            if search(events, done, &next, apply) {
                return true;
            }
            done[i] = false;
        }
    }
    false
}
