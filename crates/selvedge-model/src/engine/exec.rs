//! The state of one execution.

use super::footprint::{Access, Key, Step, actor};
use super::object::{Data, Numbers, Object};
use super::tasks::{Kind, Task};
use super::{Place, Wait};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

/// What a run is told.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Steps before an execution counts as endless.
    pub(crate) steps: usize,
    /// Whether deadlines pass in their order, once nothing else can run.
    pub(crate) ordered: bool,
    /// Whether a panic of a task is its `join`'s result and no failure.
    pub(crate) panics_are_values: bool,
    /// Whether to give a lock up is a step: it has to be where others try.
    pub(crate) unlock_steps: bool,
    /// Whether all that futures share is this crate's.
    pub(crate) closed: bool,
    /// The blocks of which each operation is one step.
    pub(crate) trusted: Vec<&'static str>,
    /// How long a task may go without a step of the model.
    pub(crate) patience: Duration,
}

/// Why an execution failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A task panicked.
    Panic { task: usize, message: String, at: Option<String> },
    /// The body's result is none of those allowed.
    Outcome(String),
    /// Every task waits.
    Deadlock { foreign: bool },
    /// No end in sight.
    Steps(usize),
    /// The body does other things on the same schedule.
    Nondeterministic,
}

impl Failure {
    /// Whether the other is the same kind of failure: what shrinking keeps.
    pub(crate) fn resembles(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Panic { at: a, .. }, Self::Panic { at: b, .. }) => a == b,
            (Self::Outcome(a), Self::Outcome(b)) => a == b,
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }
}

/// What a task is about to do.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) op: &'static str,
    pub(crate) object: Option<usize>,
    pub(crate) wait: Wait,
    pub(crate) deadline: Option<Duration>,
    pub(crate) at: Place,
}

/// A line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) task: usize,
    pub(crate) text: String,
    pub(crate) object: Option<usize>,
    pub(crate) at: Place,
    pub(crate) clock: Duration,
}

/// A choice that was made: before `task` did its `nth` step, or when it could
/// not, `(to, alternative)` went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) task: u32,
    pub(crate) nth: u32,
    pub(crate) to: u32,
    pub(crate) alternative: usize,
    /// Whether the default would have been another.
    pub(crate) deviates: bool,
    /// Whether a task that could have gone on was stopped.
    pub(crate) preempts: bool,
}

pub(crate) struct Timer {
    pub(crate) at: Duration,
    pub(crate) waker: Waker,
    pub(crate) place: Place,
}

pub(crate) struct Exec {
    pub(crate) settings: Settings,
    pub(crate) tasks: Vec<Task>,
    pub(crate) current: usize,
    pub(crate) objects: Vec<Object>,
    pub(crate) numbers: Numbers,
    pub(crate) first_number: u64,
    pub(crate) clock: Duration,
    pub(crate) timers: BTreeMap<u64, Timer>,
    #[cfg(feature = "tokio")]
    pub(crate) next_timer: u64,
    pub(crate) steps: usize,
    pub(crate) decisions: Vec<Decision>,
    pub(crate) events: Vec<Event>,
    pub(crate) recording: bool,
    pub(crate) failure: Option<Failure>,
    /// No choices any more: the execution has failed, or is being put away.
    pub(crate) over: bool,
    /// The running task stays: what shuttle asks is none of the model's choices.
    pub(crate) pinned: bool,
    /// The body has returned: async tasks end.
    pub(crate) returned: bool,
    /// The task that unwinds, while it lets others run.
    pub(crate) unwinds: Option<usize>,
    pub(crate) panics: Vec<(usize, String, Option<String>)>,
    pub(crate) marks: Vec<&'static str>,
    /// Somebody tried a lock.
    pub(crate) tried: bool,
    /// Whether steps are kept track of.
    pub(crate) tracing: bool,
    /// The step that runs.
    pub(crate) step: Step,
}

thread_local! {
    static EXEC: RefCell<Option<Exec>> = const { RefCell::new(None) };
}

/// Runs `f` with the state of this execution.
///
/// # Panics
///
/// Outside of one.
pub(crate) fn with<R>(f: impl FnOnce(&mut Exec) -> R) -> R {
    EXEC.with(|exec| f(exec.borrow_mut().as_mut().expect("inside of a model")))
}

/// The same, if there is one and nobody has it.
pub(crate) fn try_with<R>(f: impl FnOnce(&mut Exec) -> R) -> Option<R> {
    EXEC.try_with(|exec| exec.try_borrow_mut().ok()?.as_mut().map(f)).ok().flatten()
}

pub(super) fn put(exec: Exec) {
    EXEC.with(|slot| *slot.borrow_mut() = Some(exec));
    super::INSIDE.set(true);
}

pub(super) fn take() -> Exec {
    super::INSIDE.set(false);
    EXEC.with(|slot| slot.borrow_mut().take()).expect("the execution that was put there")
}

/// Marks that a line was reached.
pub(crate) fn note(name: &'static str) {
    with(|e| {
        if !e.marks.contains(&name) {
            e.marks.push(name);
        }
    });
}

impl Exec {
    pub(super) fn new(settings: Settings, recording: bool, tracing: bool) -> Self {
        let here = std::panic::Location::caller();
        let mut clock = Task::new(Kind::Clock, None, here);
        clock.pending.wait = Wait::Clock;
        Self {
            settings,
            tasks: vec![clock],
            current: 0,
            objects: Vec::new(),
            numbers: Numbers::default(),
            first_number: super::object::first_number(),
            clock: Duration::ZERO,
            timers: BTreeMap::new(),
            #[cfg(feature = "tokio")]
            next_timer: 0,
            steps: 0,
            decisions: Vec::new(),
            events: Vec::new(),
            recording,
            failure: None,
            over: false,
            pinned: false,
            returned: false,
            unwinds: None,
            panics: Vec::new(),
            marks: Vec::new(),
            tried: false,
            tracing,
            step: Step::default(),
        }
    }

    /// The step that runs touches this.
    pub(crate) fn touched(&mut self, key: Key, access: Access) {
        if self.tracing {
            self.step.touch(key, access);
        }
    }

    /// The step of `task` begins.
    pub(super) fn begins(&mut self, task: usize, alternative: usize, late: bool) {
        #[cfg(feature = "tokio")]
        let timers = self.next_timer as usize;
        #[cfg(not(feature = "tokio"))]
        let timers = 0;
        let known = (self.objects.len(), timers);
        // In its order a deadline passes once nobody else can do anything.
        let world = late && self.settings.ordered;
        let actor = actor(task, alternative);
        let mut step = Step { task: actor, known, late, world, ..Step::default() };
        if late {
            step.touch(Key::Clock, Access::Call);
        }
        if task == 0 {
            step.touch(Key::Timer(alternative), Access::Write);
            step.touch(Key::Body, Access::Read);
        }
        let waits = match &self.tasks[task].pending.wait {
            Wait::Ready | Wait::Never | Wait::Pick(_) | Wait::OneOf(_) => Vec::new(),
            Wait::Yield => {
                step.world = true;
                Vec::new()
            }
            Wait::Clock => vec![Key::Timer(alternative)],
            Wait::Notified { condvar, lock, .. } => {
                vec![Key::Object(*condvar), Key::Object(*lock)]
            }
            Wait::Token => {
                step.touch(Key::Token(task), Access::Write);
                vec![Key::Token(task)]
            }
            Wait::Finished(other) => vec![Key::End(*other)],
            Wait::Woken(_) => {
                // What futures share with others is known if all of it is ours.
                step.unknown = !self.settings.closed;
                step.touch(Key::Wake(task), Access::Write);
                match self.tasks[task].kind {
                    Kind::Task => vec![Key::Wake(task), Key::Body],
                    _ => vec![Key::Wake(task)],
                }
            }
            Wait::Write(object)
            | Wait::Read(object)
            | Wait::Item(object)
            | Wait::Room(object)
            | Wait::Idle(object)
            | Wait::Empty(object)
            | Wait::Opened { barrier: object, .. }
            | Wait::Taken { queue: object, .. } => vec![Key::Object(*object)],
        };
        for key in &waits {
            step.touch(*key, Access::Read);
        }
        step.waits = waits;
        self.step = step;
        if let Wait::Read(lock) = self.tasks[task].pending.wait {
            // It looks at what others wait for.
            self.step.world |= self.reads(task, lock);
        }
    }

    /// Takes down what the running task is about to do. Whether there is
    /// anything to choose.
    pub(crate) fn announce(&mut self, pending: Pending) -> bool {
        if self.over {
            return false;
        }
        let me = self.current;
        let unwinding = self.unwinding();
        // When it began to let others go first can be told.
        self.step.world |= matches!(pending.wait, Wait::Yield);
        self.tasks[me].pending = pending;
        // A destructor while a panic unwinds, and an operation that is one step:
        // no choices, unless it waits.
        !((unwinding || self.tasks[me].whole > 0) && self.enabled(me) > 0)
    }

    /// Whether the running task unwinds. All tasks share one OS thread, and so
    /// its count of panics: the first to be seen unwinding is the one.
    pub(crate) fn unwinding(&mut self) -> bool {
        if !std::thread::panicking() {
            self.unwinds = None;
            return false;
        }
        *self.unwinds.get_or_insert(self.current) == self.current
    }

    /// What was chosen for the running task.
    pub(crate) fn chosen(&mut self) -> usize {
        self.tasks[self.current].alternative
    }

    pub(crate) fn event(&mut self, at: Place, object: Option<usize>, text: String) {
        self.events.push(Event { task: self.current, text, object, at, clock: self.clock });
    }

    /// The first failure counts.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
        self.over = true;
    }

    /// Whether the task reads already, and somebody waits to write: std's lock
    /// may let the writer go before the second read, and then neither goes.
    pub(super) fn reads_twice(&self, task: usize, lock: usize) -> bool {
        let writes = |other: &Task| {
            !other.finished && matches!(other.pending.wait, Wait::Write(l) if l == lock)
        };
        self.reads(task, lock) && self.tasks.iter().any(writes)
    }

    fn reads(&self, task: usize, lock: usize) -> bool {
        matches!(&self.objects[lock].data, Data::Lock { readers, .. }
            if readers.iter().any(|(reader, _)| *reader == task))
    }

    /// How many alternatives the task has that need no deadline to pass.
    pub(crate) fn enabled(&self, me: usize) -> usize {
        let task = &self.tasks[me];
        let free = |lock: usize| match &self.objects[lock].data {
            Data::Lock { writer, readers } => writer.is_none() && readers.is_empty(),
            _ => true,
        };
        let holds = match &task.pending.wait {
            Wait::Ready | Wait::Yield => true,
            Wait::Write(lock) => free(*lock),
            Wait::Read(lock) => {
                let written =
                    matches!(&self.objects[*lock].data, Data::Lock { writer: Some(_), .. });
                !written && !self.reads_twice(me, *lock)
            }
            Wait::Notified { condvar, ticket, lock } => {
                free(*lock)
                    && matches!(&self.objects[*condvar].data, Data::Condvar { waiting, .. }
                        if waiting.iter().any(|(t, called)| t == ticket && *called))
            }
            Wait::Pick(condvar) => match &self.objects[*condvar].data {
                Data::Condvar { waiting, .. } => {
                    return waiting.iter().filter(|(_, called)| !called).count().max(1);
                }
                _ => true,
            },
            Wait::OneOf(ways) => return *ways,
            Wait::Token => task.token,
            Wait::Finished(other) => self.tasks[*other].finished,
            // ORDERING: a waker outside of the model sets it with Release.
            Wait::Woken(flag) => {
                flag.load(std::sync::atomic::Ordering::Acquire)
                    || (self.returned && task.kind == Kind::Task)
            }
            Wait::Opened { barrier, generation } => {
                matches!(&self.objects[*barrier].data, Data::Barrier { generation: now, .. }
                    if now != generation)
            }
            Wait::Item(queue) => {
                matches!(&self.objects[*queue].data, Data::Queue { length, senders, .. }
                    if *length > 0 || *senders == 0)
            }
            Wait::Room(queue) => {
                matches!(&self.objects[*queue].data, Data::Queue { length, room, receiver, .. }
                    if !receiver || room.is_none_or(|room| *length < room))
            }
            Wait::Taken { queue, count } => {
                matches!(&self.objects[*queue].data, Data::Queue { taken, receiver, .. }
                    if !receiver || taken >= count)
            }
            Wait::Idle(once) => {
                matches!(&self.objects[*once].data, Data::Once { runs, .. } if runs.is_none())
            }
            Wait::Empty(scope) => {
                matches!(&self.objects[*scope].data, Data::Scope { running } if *running == 0)
            }
            Wait::Never | Wait::Clock => false,
        };
        usize::from(holds)
    }
}
