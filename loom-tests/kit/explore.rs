//! Exploring a model and holding it to its exact set of outcomes.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// A closure to explore, and how far.
///
/// Under loom: every schedule with at most [`preemptions`](Self::preemptions)
/// preemptions (3 by default), up to what loom 0.7.3 misses. Under shuttle:
/// depth-first over every schedule, or [`pct`](Self::pct) or
/// [`random`](Self::random) where that does not end.
///
/// A model that fails prints how to run the failing schedule again:
/// `SELVEDGE_REPLAY=model:engine:schedule`. Other models run as ever. A replay
/// passes if the schedule does not fail any more, and fails with the step from
/// which the model has become another one that the schedule does not fit.
#[derive(Debug, Clone)]
#[must_use]
pub(crate) struct Model {
    name: &'static str,
    preemptions: usize,
    search: Search,
    engines: Engines,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    /// Every schedule; an error if there are more than this.
    All { at_most: usize },
    /// Probabilistic concurrency testing: executions, and preemptions each.
    Pct { executions: usize, depth: usize },
    /// Any thread at any step, so many times.
    Random { executions: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engines {
    Both,
    LoomOnly,
    ShuttleOnly,
}

/// Every random search starts here, so that a run is the same everywhere.
const SEED: u64 = 0x5e1_7ed6e;

impl Model {
    /// A model named after its claim, `block::claim`.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            preemptions: 3,
            search: Search::All { at_most: 300_000 },
            engines: Engines::Both,
        }
    }

    /// loom: at most this many preemptions in a schedule.
    pub(crate) fn preemptions(mut self, bound: usize) -> Self {
        self.preemptions = bound;
        self
    }

    /// shuttle: `executions` schedules picked by PCT with `depth` preemption
    /// points, for models whose schedules are too many to try all.
    pub(crate) fn pct(mut self, executions: usize, depth: usize) -> Self {
        self.search = Search::Pct { executions, depth };
        self
    }

    /// shuttle: `executions` schedules picked at random, for models that are
    /// too long for PCT's few preemptions to fall everywhere.
    #[cfg_attr(loom, allow(dead_code, reason = "the models that use it have no loom half"))]
    pub(crate) fn random(mut self, executions: usize) -> Self {
        self.search = Search::Random { executions };
        self
    }

    /// What it claims loom cannot show (a deadline, more than five threads).
    pub(crate) fn shuttle_only(mut self) -> Self {
        self.engines = Engines::ShuttleOnly;
        self
    }

    /// What it claims shuttle cannot show (a memory ordering).
    pub(crate) fn loom_only(mut self) -> Self {
        self.engines = Engines::LoomOnly;
        self
    }

    /// Runs `body` under every explored schedule and asserts that its results
    /// are exactly `expected`: nothing else was reached, and each of them was.
    /// Asserts as well that more than one execution ran.
    ///
    /// `body` spawns every actor and only joins, since loom keeps one last
    /// access an atomic and a step of the main thread's own can hide a race.
    pub(crate) fn reaches<O>(
        self,
        expected: impl IntoIterator<Item = O>,
        body: impl Fn() -> O + Send + Sync + 'static,
    ) where
        O: Ord + Debug + Send + 'static,
    {
        let Some((reached, bound)) = self.explore(body) else {
            return;
        };
        let executions: u64 = reached.values().sum();
        let expected: std::collections::BTreeSet<O> = expected.into_iter().collect();
        let never: Vec<_> = expected.iter().filter(|o| !reached.contains_key(o)).collect();
        let beyond: Vec<_> = reached.keys().filter(|o| !expected.contains(o)).collect();
        assert!(
            never.is_empty() && beyond.is_empty(),
            "{}: outcomes over {executions} executions ({bound})\n  \
             expected but never reached: {never:?}\n  reached but not allowed: {beyond:?}",
            self.name
        );
        assert!(executions > 1, "{}: a single execution explores nothing", self.name);
        self.record(executions, reached.len(), &bound);
    }

    /// Runs `body` under every explored schedule; the asserts are inside it.
    pub(crate) fn holds(self, body: impl Fn() + Send + Sync + 'static) {
        self.reaches([()], body);
    }

    /// One line of `BOUNDS.md`, when the tool that makes it asks.
    fn record(&self, executions: u64, outcomes: usize, bound: &str) {
        let Some(path) = std::env::var_os("SELVEDGE_BOUNDS") else {
            return;
        };
        let line = format!("{}\t{ENGINE}\t{bound}\t{executions}\t{outcomes}\n", self.name);
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the file named by SELVEDGE_BOUNDS can be appended to");
    }
}

/// Counts outcomes out of the checker's sight: a std mutex adds no
/// happens-before edge that loom or shuttle could see.
fn counted<O: Ord + Send + 'static>(
    body: impl Fn() -> O + Send + Sync + 'static,
) -> (Arc<Mutex<BTreeMap<O, u64>>>, impl Fn() + Send + Sync + 'static) {
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let into = Arc::clone(&seen);
    (seen, move || {
        let outcome = body();
        *into.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_insert(0) += 1;
    })
}

/// What `SELVEDGE_REPLAY` asks of this model under this engine.
fn replay_of(model: &str) -> Option<String> {
    replay_in(&std::env::var("SELVEDGE_REPLAY").ok()?, model)
}

/// The schedule in `request`, if that is for this model under this engine.
fn replay_in(request: &str, model: &str) -> Option<String> {
    let rest = request.strip_prefix(model)?.strip_prefix(':')?;
    Some(rest.strip_prefix(ENGINE)?.strip_prefix(':')?.to_owned())
}

/// While a model runs: if it panics, says how to run that schedule again.
struct TellsHowToReplay<F: Fn() -> String> {
    model: &'static str,
    schedule: F,
}

impl<F: Fn() -> String> Drop for TellsHowToReplay<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (model, schedule) = (self.model, (self.schedule)());
            eprintln!("that schedule again: SELVEDGE_REPLAY='{model}:{ENGINE}:{schedule}'");
        }
    }
}

fn taken<O: Ord>(seen: &Mutex<BTreeMap<O, u64>>) -> BTreeMap<O, u64> {
    std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(loom)]
const ENGINE: &str = "loom";

#[cfg(loom)]
impl Model {
    fn explore<O: Ord + Send + 'static>(
        &self,
        body: impl Fn() -> O + Send + Sync + 'static,
    ) -> Option<(BTreeMap<O, u64>, String)> {
        if self.engines == Engines::ShuttleOnly {
            return None;
        }
        let (seen, run) = counted(body);
        let began = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = Arc::clone(&began);
        let run = move || {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            run();
        };
        let mut builder = ::loom::model::Builder::new();
        builder.preemption_bound = Some(self.preemptions);
        builder.max_branches = 20_000;
        // loom tries schedules in the same order each time: the number of the
        // one that failed names it.
        let replay = replay_of(self.name);
        if let Some(number) = &replay {
            let number = number.parse().unwrap_or_else(|_| {
                panic!("{}: SELVEDGE_REPLAY: {number:?} is no number of an execution", self.name)
            });
            builder.max_permutations = Some(number);
            builder.location = true;
        }
        {
            let schedule = || began.load(std::sync::atomic::Ordering::Relaxed).to_string();
            let _tells = TellsHowToReplay { model: self.name, schedule };
            builder.check(run);
        }
        if let Some(number) = replay {
            eprintln!("{}: replayed: the first {number} executions do not fail", self.name);
            return None;
        }
        Some((taken(&seen), format!("preemptions <= {}", self.preemptions)))
    }
}

#[cfg(not(loom))]
const ENGINE: &str = "shuttle";

#[cfg(not(loom))]
impl Model {
    fn explore<O: Ord + Send + 'static>(
        &self,
        body: impl Fn() -> O + Send + Sync + 'static,
    ) -> Option<(BTreeMap<O, u64>, String)> {
        use ::shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
        use ::shuttle::{Config, Runner};

        if self.engines == Engines::LoomOnly {
            return None;
        }
        let (seen, run) = counted(body);
        if let Some(schedule) = replay_of(self.name) {
            match replay(run, &schedule) {
                None => eprintln!("{}: replayed: the schedule does not fail any more", self.name),
                Some(step) => panic!(
                    "{}: SELVEDGE_REPLAY: the model has changed: from step {step} on the schedule \
                     does not fit it, and nothing failed until then",
                    self.name
                ),
            }
            return None;
        }
        // shuttle prints the schedule itself.
        let schedule = || "<the schedule above>".to_owned();
        let _tells = TellsHowToReplay { model: self.name, schedule };
        let config = Config::new();
        let bound = match self.search {
            Search::All { at_most } => {
                let ran = Runner::new(DfsScheduler::new(Some(at_most), false), config).run(run);
                assert!(
                    ran < at_most,
                    "{}: more than {at_most} schedules: make the model smaller or use pct()",
                    self.name
                );
                "every schedule".to_owned()
            }
            Search::Pct { executions, depth } => {
                let scheduler = PctScheduler::new_from_seed(SEED, depth, executions);
                Runner::new(scheduler, config).run(run);
                format!("PCT depth {depth}")
            }
            Search::Random { executions } => {
                Runner::new(RandomScheduler::new_from_seed(SEED, executions), config).run(run);
                "random".to_owned()
            }
        };
        Some((taken(&seen), bound))
    }
}

/// Runs one schedule; the step from which it does not fit, if it does not.
#[cfg(not(loom))]
fn replay(run: impl Fn() + Send + Sync + 'static, schedule: &str) -> Option<usize> {
    let scheduler = ::shuttle::scheduler::ReplayScheduler::new_from_encoded(schedule);
    replay_with(run, scheduler, length_of(schedule).unwrap_or(usize::MAX))
}

/// The same, of so many steps.
#[cfg(not(loom))]
fn replay_with(
    run: impl Fn() + Send + Sync + 'static,
    mut inner: ::shuttle::scheduler::ReplayScheduler,
    length: usize,
) -> Option<usize> {
    use ::shuttle::scheduler::{ReplayScheduler, Schedule, Scheduler, Task, TaskId};

    /// Counts steps until the schedule has no answer. Where it has ended, it
    /// has passed the place of the failure: any way to the end will do.
    struct Counting {
        inner: ReplayScheduler,
        steps: usize,
        length: usize,
        lost_at: Arc<Mutex<Option<usize>>>,
    }

    impl Scheduler for Counting {
        fn new_execution(&mut self) -> Option<Schedule> {
            self.inner.new_execution()
        }

        fn next_task(
            &mut self,
            runnable: &[&Task],
            current: Option<TaskId>,
            is_yielding: bool,
        ) -> Option<TaskId> {
            if self.steps >= self.length {
                return runnable.first().map(|task| task.id());
            }
            let next = self.inner.next_task(runnable, current, is_yielding);
            match next {
                Some(_) => self.steps += 1,
                None => {
                    *self.lost_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.steps)
                }
            }
            next
        }

        fn next_u64(&mut self) -> u64 {
            self.steps += 1;
            self.inner.next_u64()
        }
    }

    inner.set_allow_incomplete();
    let lost_at = Arc::new(Mutex::new(None));
    let scheduler = Counting { inner, steps: 0, length, lost_at: Arc::clone(&lost_at) };
    ::shuttle::Runner::new(scheduler, ::shuttle::Config::new()).run(run);
    *lost_at.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many steps there are in a schedule as shuttle writes it: in hexadecimal,
/// a version, then the width of a step and their number, seven bits a byte.
#[cfg(not(loom))]
fn length_of(schedule: &str) -> Option<usize> {
    let digits: Vec<u32> = schedule.chars().filter_map(|c| c.to_digit(16)).collect();
    let mut bytes = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).skip(1);
    let mut number = || {
        let mut number = 0;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = bytes.next()? as usize;
            number |= (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    };
    let _width = number()?;
    number()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_is_for_one_model_and_engine() {
        let request = format!("queue::close:{ENGINE}:91:02");
        assert_eq!(replay_in(&request, "queue::close"), Some("91:02".to_owned()));
        assert_eq!(replay_in(&request, "queue::clos"), None);
        assert_eq!(replay_in(&request, "queue::close_wakes"), None);
        assert_eq!(replay_in("queue::close:another:91", "queue::close"), None);
        assert_eq!(replay_in("9102", "queue::close"), None);
    }

    #[cfg(not(loom))]
    #[test]
    fn a_schedule_says_how_long_it_is() {
        assert_eq!(length_of("91 01 0c 00"), Some(12));
        assert_eq!(length_of("9103ba01\n9bceabbeb38f"), Some(186));
        assert_eq!(length_of("91"), None);
        assert_eq!(length_of("9103ff"), None);
    }

    /// The schedule that fails a naive counter fails it again, passes once the
    /// counter is mended, and is told from one that fits no more.
    #[cfg(not(loom))]
    #[test]
    fn a_replay_fails_passes_or_does_not_fit() {
        use ::shuttle::scheduler::{
            DfsScheduler, ReplayScheduler, Schedule, Scheduler, Task, TaskId,
        };
        use ::shuttle::sync::atomic::{AtomicU64, Ordering};
        use std::panic::{AssertUnwindSafe, catch_unwind};

        /// Notes the steps of the execution that runs.
        struct Recording(DfsScheduler, Arc<Mutex<Vec<TaskId>>>);

        impl Scheduler for Recording {
            fn new_execution(&mut self) -> Option<Schedule> {
                self.1.lock().unwrap_or_else(PoisonError::into_inner).clear();
                self.0.new_execution()
            }

            fn next_task(
                &mut self,
                runnable: &[&Task],
                current: Option<TaskId>,
                is_yielding: bool,
            ) -> Option<TaskId> {
                let next = self.0.next_task(runnable, current, is_yielding);
                self.1.lock().unwrap_or_else(PoisonError::into_inner).extend(next);
                next
            }

            fn next_u64(&mut self) -> u64 {
                self.0.next_u64()
            }
        }

        fn adders(add: fn(&AtomicU64)) -> impl Fn() + Send + Sync + 'static {
            move || {
                let counter = Arc::new(AtomicU64::new(0));
                let actors = [0, 1].map(|_| {
                    let counter = Arc::clone(&counter);
                    ::shuttle::thread::spawn(move || add(&counter))
                });
                actors.into_iter().for_each(|actor| actor.join().expect("no panic of its own"));
                assert_eq!(counter.load(Ordering::SeqCst), 2);
            }
        }
        let naive: fn(&AtomicU64) = |n| n.store(n.load(Ordering::SeqCst) + 1, Ordering::SeqCst);
        let mended: fn(&AtomicU64) = |n| {
            let _ = n.load(Ordering::SeqCst);
            n.fetch_add(1, Ordering::SeqCst);
        };
        let steps = Arc::new(Mutex::new(Vec::new()));
        let scheduler = Recording(DfsScheduler::new(None, false), Arc::clone(&steps));
        let runner = ::shuttle::Runner::new(scheduler, ::shuttle::Config::new());
        assert!(catch_unwind(AssertUnwindSafe(|| runner.run(adders(naive)))).is_err());
        let steps = steps.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let length = steps.len();
        let schedule = || {
            let schedule = Schedule::new_from_task_ids(0, steps.iter().copied());
            ReplayScheduler::new_from_schedule(schedule)
        };

        let again = || replay_with(adders(naive), schedule(), length);
        assert!(catch_unwind(AssertUnwindSafe(again)).is_err(), "the failure comes again");
        assert_eq!(replay_with(adders(mended), schedule(), length), None, "mended: it passes");
        let alone = || (0..50).for_each(|_| ::shuttle::thread::yield_now());
        let step = replay_with(alone, schedule(), length);
        assert!(step.is_some_and(|step| step > 0), "without actors it does not fit: {step:?}");
    }
}
