//! Executions, one after the other, until one fails or the strategy ends.

use super::exec::{Decision, Event, Exec, Failure, Settings, put, take, with};
use super::object::{Data, Object};
use super::strategy::Strategy;
use super::tasks::{Kind, Task};
use super::{EXPIRED, Place, hook};
use shuttle::scheduler::{Schedule, Scheduler, Task as Stack, TaskId};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Runs the body once. An error is an outcome that is not allowed.
pub(crate) type Body = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What a run did.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) executions: u64,
    /// The most tasks that an execution had, the body's among them.
    pub(crate) tasks: usize,
    /// Whether some choice had more than one alternative.
    pub(crate) chose: bool,
    pub(crate) marks: BTreeSet<&'static str>,
    pub(crate) failed: Option<Failed>,
    pub(crate) complete: bool,
    pub(crate) cut: bool,
    /// The executions that walked the tree.
    pub(crate) walked: u64,
    pub(crate) longest: usize,
    /// Somebody tried a lock.
    pub(crate) tried: bool,
    /// How many of the choices that were told there was no place for.
    pub(crate) unfollowed: usize,
    /// A task went outside of the model and did not come back: which, and the
    /// line of its last step.
    pub(crate) hung: Option<(usize, Place)>,
    /// What the last execution did, if that was recorded.
    pub(crate) events: Vec<Event>,
}

/// Where the execution is, for who watches it.
struct Beat {
    steps: AtomicU64,
    last: Mutex<Option<(usize, Place)>>,
}

/// An execution that failed.
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    pub(crate) decisions: Vec<Decision>,
    pub(crate) events: Vec<Event>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) objects: Vec<Object>,
    pub(crate) panics: Vec<(usize, String, Option<String>)>,
    pub(crate) steps: usize,
}

#[allow(unsafe_code)]
// SAFETY: what a failed execution leaves is handed to the thread that waits
// for the run, after the run's thread has ended. The states of the objects,
// which are of any type, are emptied before (see `Exec::leave`), and so are
// the thread-locals of the tasks.
unsafe impl Send for Failed {}

struct Shared {
    strategy: Box<dyn Strategy>,
    run: Run,
    most: u64,
    until: Option<Instant>,
    recording: bool,
    settings: Settings,
}

#[derive(Clone)]
struct Handle(Arc<(Mutex<Shared>, Beat)>);

impl Handle {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last step, if there was none in all of `patience` and the run is
    /// not over.
    fn watch(&self, over: &Receiver<()>, patience: Duration) -> Option<(usize, Place)> {
        let beat = &self.0.1;
        // ORDERING: a count that is compared with itself.
        let mut steps = beat.steps.load(Ordering::Relaxed);
        while let Err(RecvTimeoutError::Timeout) = over.recv_timeout(patience) {
            let now = beat.steps.load(Ordering::Relaxed);
            if now == steps {
                return *beat.last.lock().unwrap_or_else(PoisonError::into_inner);
            }
            steps = now;
        }
        None
    }
}

/// Thrown through shuttle when an execution has failed: the stacks of its
/// tasks are never unwound, since their destructors might panic or wait.
struct Stop;

impl Scheduler for Handle {
    fn new_execution(&mut self) -> Option<Schedule> {
        let mut shared = self.lock();
        if shared.run.failed.is_some() || shared.run.executions >= shared.most {
            return None;
        }
        if shared.until.is_some_and(|until| Instant::now() >= until) {
            return None;
        }
        shared.strategy.next().then(|| Schedule::new(0))
    }

    fn next_task(&mut self, stacks: &[&Stack], current: Option<TaskId>, _: bool) -> Option<TaskId> {
        let mut shared = self.lock();
        let strategy = &mut *shared.strategy;
        let next = super::try_with(|e| {
            let alive = |task| stacks.iter().any(|stack| usize::from(stack.id()) == task);
            let next = e.choose(strategy, alive);
            let beat = &self.0.1;
            // ORDERING: see `watch`.
            beat.steps.fetch_add(1, Ordering::Relaxed);
            let last = (next, e.tasks[next].pending.at);
            *beat.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
            next
        });
        drop(shared);
        let next = next.map(TaskId::from);
        match next {
            Some(next) if stacks.iter().any(|stack| stack.id() == next) => Some(next),
            // Before the first task, and when the clock's has nothing to do
            // any more.
            _ => match current.filter(|id| stacks.iter().any(|stack| stack.id() == *id)) {
                Some(current) => Some(current),
                None if current.is_none() => stacks.first().map(|stack| stack.id()),
                None => resume_unwind(Box::new(Stop)),
            },
        }
    }

    fn next_u64(&mut self) -> u64 {
        0
    }
}

/// Runs `body` on the schedules of `strategy`.
pub(crate) fn drive(
    strategy: Box<dyn Strategy>,
    settings: &Settings,
    recording: bool,
    (most, until): (u64, Option<Instant>),
    body: &Body,
) -> Run {
    hook::install();
    let run = Run::default();
    let shared = Shared { strategy, run, most, until, recording, settings: settings.clone() };
    let beat = Beat { steps: AtomicU64::new(0), last: Mutex::new(None) };
    let handle = Handle(Arc::new((Mutex::new(shared), beat)));
    let (ends, over) = channel::<()>();
    // A thread of its own: a failed execution may leave a panic that is never
    // unwound to its end, and std counts those by thread.
    let name = std::thread::current().name().unwrap_or("model").to_owned();
    let thread = std::thread::Builder::new().name(name).spawn({
        let (handle, body) = (handle.clone(), Arc::clone(body));
        move || {
            let _ends = ends;
            let into = handle.clone();
            let runner = shuttle::Runner::new(handle, hook::quiet());
            let ended = catch_unwind(AssertUnwindSafe(|| {
                runner.run(move || execute(&into, &body));
            }));
            ended.err().filter(|payload| !payload.is::<Stop>())
        }
    });
    let thread = thread.expect("a thread for the run");
    if let Some(hung) = handle.watch(&over, settings.patience) {
        let executions = handle.lock().run.executions + 1;
        return Run { hung: Some(hung), executions, ..Run::default() };
    }
    if let Some(payload) = thread.join().unwrap_or_else(Some) {
        resume_unwind(payload);
    }
    let mut shared = handle.lock();
    shared.run.complete = shared.strategy.complete();
    shared.run.cut = shared.strategy.cut();
    shared.run.unfollowed = shared.strategy.unfollowed();
    shared.run.walked = shared.strategy.walked().unwrap_or(shared.run.executions);
    std::mem::take(&mut shared.run)
}

/// One execution, from the stack of its clock.
fn execute(handle: &Handle, body: &Body) {
    let here = std::panic::Location::caller();
    {
        let shared = handle.lock();
        let tracing = shared.strategy.traces();
        put(Exec::new(shared.settings.clone(), shared.recording, tracing));
    }
    let body = Arc::clone(body);
    super::spawn(
        Kind::Thread,
        Some("main".to_owned()),
        here,
        Box::new(move || {
            if let Err(outcome) = body() {
                with(|e| {
                    e.returned = true;
                    e.fail(Failure::Outcome(outcome));
                });
            }
        }),
    );
    loop {
        super::switch();
        let over = with(|e| e.over || e.tasks.iter().skip(1).all(|task| task.finished));
        if over {
            break;
        }
        let timer = with(|e| {
            let number = e.tasks[0].alternative;
            (number != EXPIRED).then(|| e.timers.remove(&(number as u64))).flatten()
        });
        if let Some(timer) = timer {
            super::done(timer.place, None, || "time passes: timer".to_owned());
            let _ = catch_unwind(AssertUnwindSafe(|| timer.waker.wake()));
            with(|e| e.tasks[0].pending.wait = super::Wait::Clock);
        }
    }
    let last = with(|e| {
        e.step.over();
        e.tracing.then(|| std::mem::take(&mut e.step))
    });
    if let Some(step) = last {
        handle.lock().strategy.stepped(step);
    }
    let strayed = !handle.lock().strategy.ended();
    let failed = with(|e| {
        if strayed && e.failure.is_none() {
            e.fail(Failure::Nondeterministic);
        }
        e.failure.is_some()
    });
    if !failed {
        // Statics and what tasks left: their destructors find the model there,
        // and nothing that they would wait for.
        let left = with(|e| {
            e.over = true;
            std::mem::take(&mut e.objects)
        });
        let ended = catch_unwind(AssertUnwindSafe(|| drop(left)));
        if let Err(payload) = ended {
            let message = super::tasks::message(&*payload);
            std::mem::forget(payload);
            with(|e| e.failure = Some(Failure::Panic { task: 0, message, at: None }));
        }
    }
    let exec = take();
    let mut shared = handle.lock();
    let run = &mut shared.run;
    run.executions += 1;
    run.tasks = run.tasks.max(exec.tasks.len() - 1);
    run.longest = run.longest.max(exec.steps);
    run.tried |= exec.tried;
    run.chose |= exec.decisions.iter().any(|decision| decision.deviates);
    run.marks.extend(exec.marks.iter().copied());
    if exec.failure.is_none() {
        run.events = exec.events;
    } else {
        run.failed = Some(exec.leave());
        if !failed {
            drop(shared);
            resume_unwind(Box::new(Stop));
        }
    }
}

impl Exec {
    /// What the report needs. What users' types left is never dropped: the
    /// stacks that may still look at it are not unwound.
    fn leave(mut self) -> Failed {
        for object in &mut self.objects {
            match &mut object.data {
                Data::Value(value) => {
                    std::mem::forget(std::mem::replace(value, Box::new(())));
                }
                Data::Once { value, .. } => std::mem::forget(value.take()),
                _ => {}
            }
        }
        for task in &mut self.tasks {
            task.forget_locals();
        }
        std::mem::forget(std::mem::take(&mut self.timers));
        std::mem::forget(std::mem::take(&mut self.numbers));
        Failed {
            failure: self.failure.take().expect("it has failed"),
            decisions: self.decisions,
            events: self.events,
            tasks: self.tasks,
            objects: self.objects,
            panics: self.panics,
            steps: self.steps,
        }
    }
}
