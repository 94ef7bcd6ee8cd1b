//! The tasks of an execution: threads, async tasks, and the clock.

use super::exec::{Failure, Pending, with};
use super::{Access, Key, Place, Wait};
use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// What a task stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The virtual clock, which wakes whose time has come.
    Clock,
    /// A thread, and the body.
    Thread,
    /// An async task, which ends with the body.
    Task,
}

pub(crate) struct Task {
    pub(crate) kind: Kind,
    pub(crate) name: Option<String>,
    pub(crate) made: Place,
    pub(crate) pending: Pending,
    pub(crate) alternative: usize,
    pub(crate) finished: bool,
    pub(crate) panicked: bool,
    /// What `unpark` leaves.
    pub(crate) token: bool,
    /// How many operations of trusted blocks it is in, one in the other.
    pub(crate) whole: usize,
    /// The choices made while this task was the last to have run.
    pub(crate) choices: u32,
    /// The step at which it last ran, and how many it has run in a row.
    pub(crate) ran: usize,
    pub(crate) streak: usize,
    /// The step at which it let others go first.
    pub(crate) yielded: Option<usize>,
    /// What its future waits for.
    #[cfg(feature = "tokio")]
    pub(crate) awaits: Option<(&'static str, Place)>,
    locals: HashMap<usize, Rc<dyn Any>>,
    order: Vec<usize>,
}

impl Task {
    pub(super) fn new(kind: Kind, name: Option<String>, made: Place) -> Self {
        Self {
            kind,
            name,
            made,
            pending: Pending {
                op: START,
                object: None,
                wait: Wait::Ready,
                deadline: None,
                at: made,
            },
            alternative: 0,
            finished: false,
            panicked: false,
            token: false,
            whole: 0,
            choices: 0,
            ran: 0,
            streak: 0,
            yielded: None,
            #[cfg(feature = "tokio")]
            awaits: None,
            locals: HashMap::new(),
            order: Vec::new(),
        }
    }
}

/// What a task does before it does anything.
pub(super) const START: &str = "start";

/// Starts a task; its number. No choice is made here.
pub(crate) fn spawn(
    kind: Kind,
    name: Option<String>,
    made: Place,
    body: Box<dyn FnOnce() + Send>,
) -> usize {
    let id = with(|e| {
        e.tasks.push(Task::new(kind, name, made));
        e.pinned = true;
        let id = e.tasks.len() - 1;
        e.touched(Key::Tasks, Access::Write);
        e.step.started.push(super::footprint::actor(id, 0));
        id
    });
    drop(shuttle::thread::spawn(move || run(id, body)));
    with(|e| e.pinned = false);
    id
}

/// The whole of a task.
fn run(id: usize, body: Box<dyn FnOnce() + Send>) {
    let ended = catch_unwind(AssertUnwindSafe(body));
    // Thread-locals in the order they were made; each may make more.
    let locals = catch_unwind(AssertUnwindSafe(|| {
        while let Some(local) = with(|e| {
            let task = &mut e.tasks[id];
            if task.order.is_empty() {
                return None;
            }
            let key = task.order.remove(0);
            Some(task.locals.remove(&key))
        }) {
            drop(local);
        }
    }));
    if let Err(payload) = ended.and(locals) {
        let message = message(&*payload);
        // Dropping the payload is foreign code.
        std::mem::forget(payload);
        with(|e| {
            let seen = e.panics.iter().rev().find(|(task, ..)| *task == id).cloned();
            let (message, at) = match seen {
                Some((_, message, at)) => (message, at),
                None => (message, None),
            };
            e.tasks[id].panicked = true;
            e.fail(Failure::Panic { task: id, message, at });
        });
    }
    with(|e| {
        if id == 1 {
            e.returned = true;
            e.touched(Key::Body, Access::Write);
        }
        e.tasks[id].finished = true;
        e.touched(Key::End(id), Access::Write);
        e.step.release(Key::End(id));
        e.unwinds = None;
        // shuttle asks once more before it ends the task.
        e.pinned = true;
    });
}

/// What a panic said.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        return (*text).to_owned();
    }
    match payload.downcast_ref::<String>() {
        Some(text) => text.clone(),
        None => "a panic whose payload is no text".to_owned(),
    }
}

/// Whether the task has finished.
pub(crate) fn finished(task: usize) -> bool {
    with(|e| {
        e.touched(Key::End(task), Access::Read);
        e.tasks[task].finished
    })
}

/// Whether a panic of a thread is the result of its `join`.
pub(crate) fn panics_are_values() -> bool {
    with(|e| e.settings.panics_are_values)
}

/// The number and the name of the calling task.
pub(crate) fn current() -> (usize, Option<String>) {
    with(|e| (e.current, e.tasks[e.current].name.clone()))
}

/// How the tables call a task.
pub(crate) fn lane(task: usize) -> String {
    with(|e| e.tasks[task].lane(task))
}

/// Leaves the task its token.
pub(crate) fn unpark(task: usize) {
    with(|e| {
        e.touched(Key::Token(task), Access::Call);
        e.tasks[task].token = true;
    });
}

/// Takes the calling task's token.
pub(crate) fn take_token() {
    with(|e| {
        let me = e.current;
        e.tasks[me].token = false;
    });
}

/// Whether the calling task unwinds.
pub(crate) fn unwinding() -> bool {
    with(|e| e.unwinding())
}

/// The calling task's value under `key`, made by `make` on first use.
pub(crate) fn local<T: 'static>(key: usize, make: impl FnOnce() -> T) -> Rc<T> {
    let found = with(|e| e.tasks[e.current].locals.get(&key).cloned());
    let value = found.unwrap_or_else(|| {
        let value: Rc<dyn Any> = Rc::new(make());
        with(|e| {
            let task = &mut e.tasks[e.current];
            task.locals.insert(key, Rc::clone(&value));
            task.order.push(key);
        });
        value
    });
    value.downcast::<T>().expect("a key has one type")
}

impl Task {
    /// Leaves the thread-locals where they are, for ever.
    pub(super) fn forget_locals(&mut self) {
        std::mem::forget(std::mem::take(&mut self.locals));
    }
}

impl Task {
    /// How the tables call it.
    pub(crate) fn lane(&self, number: usize) -> String {
        match (&self.name, self.kind) {
            (Some(name), _) => name.clone(),
            (None, Kind::Thread) => format!("thread {}", number - 1),
            (None, Kind::Task) => format!("task {}", number - 1),
            (None, Kind::Clock) => "clock".to_owned(),
        }
    }
}
