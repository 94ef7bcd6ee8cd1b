//! Pieces that a model is built from.

use std::fmt::Debug;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// One operation as its caller saw it.
#[derive(Debug, Clone)]
struct Event<Op, Ret> {
    called: u64,
    returned: u64,
    op: Op,
    ret: Ret,
}

/// Operations that were recorded, to be held against a sequential
/// specification.
///
/// Linearizability is Herlihy and Wing's (1990), the search Wing and Gong's
/// (1993): exponential in how many operations overlap, so at most
/// [`History::MOST`] are recorded. The recorder is std's and invisible to a
/// model: one that the model saw would order the very operations under test.
///
/// ```
/// use selvedge_model::kit::History;
///
/// let history = History::new();
/// history.record("push", || None);
/// history.record("pop", || Some(1));
/// history.assert_linearizable(0, |length, op| match *op {
///     "push" => { *length += 1; None }
///     _ => { let had = *length; *length = 0; (had > 0).then_some(had) }
/// });
/// ```
#[derive(Debug)]
pub struct History<Op, Ret>(Arc<Records<Op, Ret>>);

#[derive(Debug)]
struct Records<Op, Ret> {
    clock: AtomicU64,
    events: Mutex<Vec<Event<Op, Ret>>>,
}

impl<Op, Ret> Clone for History<Op, Ret> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Op, Ret> Default for History<Op, Ret> {
    fn default() -> Self {
        Self(Arc::new(Records { clock: AtomicU64::new(0), events: Mutex::default() }))
    }
}

impl<Op: Clone + Debug, Ret: Clone + PartialEq + Debug> History<Op, Ret> {
    /// How many operations a history holds.
    pub const MOST: usize = 64;

    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn events(&self) -> MutexGuard<'_, Vec<Event<Op, Ret>>> {
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `call` and records it as one operation.
    ///
    /// # Panics
    ///
    /// If the history is full.
    #[track_caller]
    pub fn record(&self, op: Op, call: impl FnOnce() -> Ret) -> Ret {
        // ORDERING: SeqCst, so that the numbers are the order of the calls and
        // returns themselves, on real threads too.
        let called = self.0.clock.fetch_add(1, Ordering::SeqCst);
        order(false);
        let ret = call();
        let returned = self.0.clock.fetch_add(1, Ordering::SeqCst);
        order(true);
        let mut events = self.events();
        assert!(events.len() < Self::MOST, "a history holds {} operations", Self::MOST);
        events.push(Event { called, returned, op, ret: ret.clone() });
        ret
    }

    /// Whether some order of the operations, in which each takes effect
    /// between its call and its return, gives what was seen. `apply` is the
    /// specification: a step of a sequential machine.
    pub fn is_linearizable<S: Clone>(&self, start: S, apply: impl Fn(&mut S, &Op) -> Ret) -> bool {
        let events = self.events().clone();
        search(&events, &mut vec![false; events.len()], &start, &apply)
    }

    /// The same as an assertion, which prints the history.
    ///
    /// # Panics
    ///
    /// If there is no such order.
    #[track_caller]
    pub fn assert_linearizable<S: Clone>(&self, start: S, apply: impl Fn(&mut S, &Op) -> Ret) {
        if !self.is_linearizable(start, apply) {
            let mut events = self.events().clone();
            events.sort_by_key(|event| event.called);
            let lines = events.iter().map(|event| {
                let Event { called, returned, op, ret } = event;
                format!("\n  {called:>3} to {returned:>3}: {op:?} -> {ret:?}")
            });
            panic!("not linearizable:{}", lines.collect::<String>());
        }
    }
}

/// Tells of state that a model's steps share and this crate does not know: a
/// channel of tokio's, a counter of std's. It is no step of its own.
///
/// Schedules that differ only in the order of steps which touch nothing in
/// common are tried once. Where a body keeps something in a foreign type,
/// [`touch`](Self::touch) beside each use says that their order matters.
#[derive(Debug, Default)]
pub struct Foreign {
    #[cfg(all(feature = "model", not(loom)))]
    id: crate::engine::Id,
}

impl Foreign {
    /// One for each such thing.
    #[track_caller]
    pub const fn new() -> Self {
        Self {
            #[cfg(all(feature = "model", not(loom)))]
            id: crate::engine::Id::new(),
        }
    }

    /// The step that runs uses it.
    pub fn touch(&self) {
        #[cfg(all(feature = "model", not(loom)))]
        self.access(crate::engine::Access::Write);
    }

    /// The step that runs looks at it, and leaves it as it is.
    pub fn look(&self) {
        #[cfg(all(feature = "model", not(loom)))]
        self.access(crate::engine::Access::Read);
    }

    #[cfg(all(feature = "model", not(loom)))]
    fn access(&self, access: crate::engine::Access) {
        if crate::engine::inside() {
            let index =
                self.id.index("foreign", || crate::engine::object::Data::Value(Box::new(())));
            crate::engine::touched(crate::engine::Key::Object(index), access);
        }
    }
}

/// A call, or a return: whether one returned before another was called is part
/// of what a schedule shows, and in which order two returned is not.
fn order(returned: bool) {
    #[cfg(all(feature = "model", not(loom)))]
    {
        use crate::engine::{Access, Key, touched};
        touched(Key::History, if returned { Access::Call } else { Access::Read });
    }
    #[cfg(not(all(feature = "model", not(loom))))]
    let _ = returned;
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

/// Makes values whose end is watched.
///
/// ```
/// use selvedge_model::kit::Drops;
///
/// let drops = Drops::new();
/// let value = drops.track("a value");
/// assert_eq!(drops.alive(), 1);
/// drop(value);
/// drops.assert_none_leaked();
/// ```
#[derive(Debug, Clone, Default)]
pub struct Drops(Arc<Mutex<Vec<(&'static Location<'static>, u32)>>>);

/// A value made by [`Drops::track`].
#[derive(Debug)]
pub struct Tracked<T> {
    /// The value itself.
    pub value: T,
    number: usize,
    account: Drops,
}

impl Drops {
    /// An account with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    fn values(&self) -> MutexGuard<'_, Vec<(&'static Location<'static>, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A value whose end is watched.
    #[track_caller]
    pub fn track<T>(&self, value: T) -> Tracked<T> {
        let mut values = self.values();
        values.push((Location::caller(), 0));
        Tracked { value, number: values.len() - 1, account: self.clone() }
    }

    /// How many of the values are alive.
    pub fn alive(&self) -> usize {
        self.values().iter().filter(|(_, drops)| *drops == 0).count()
    }

    /// Asserts that every value that was made has been dropped, once.
    ///
    /// # Panics
    ///
    /// If one was not, with the line that made it.
    #[track_caller]
    pub fn assert_none_leaked(&self) {
        for (made, drops) in self.values().iter() {
            assert!(*drops > 0, "leaked: the value made at {made} was never dropped");
            assert!(*drops < 2, "the value made at {made} was dropped {drops} times");
        }
    }
}

impl<T> Drop for Tracked<T> {
    fn drop(&mut self) {
        let drops = {
            let mut values = self.account.values();
            values[self.number].1 += 1;
            values[self.number].1
        };
        assert!(drops == 1 || std::thread::panicking(), "a value was dropped {drops} times");
    }
}

/// Drops the futures of `make` after their first poll, the next after its
/// second, and so on, until one is ready before: a cancel at every point where
/// there can be one. `check` looks at what each left behind.
///
/// The futures are polled with a waker that does nothing, at most 1,000 times:
/// they have to go on with each poll (by `yield_now`, say). How many were
/// dropped.
///
/// ```
/// use selvedge_model::kit::cancel_everywhere;
/// use std::task::Poll;
///
/// let polls = |n: u32| {
///     let mut left = n;
///     std::future::poll_fn(move |_| {
///         left -= 1;
///         if left == 0 { Poll::Ready(()) } else { Poll::Pending }
///     })
/// };
/// assert_eq!(cancel_everywhere(|| polls(3), |_| ()), 2);
/// ```
///
/// # Panics
///
/// If none is ready after 1,000 polls.
#[track_caller]
pub fn cancel_everywhere<F: Future>(make: impl Fn() -> F, check: impl Fn(usize)) -> usize {
    let mut context = Context::from_waker(Waker::noop());
    for polls in 1..=1000 {
        let mut future: Pin<Box<F>> = Box::pin(make());
        for _ in 0..polls {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                drop(output);
                drop(future);
                check(polls);
                return polls - 1;
            }
        }
        drop(future);
        check(polls);
    }
    panic!("the future is not ready after 1,000 polls: what does it wait for?");
}
